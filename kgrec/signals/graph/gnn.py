"""The graph network: vectors of all nodes, learnt over the whole typed graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kgrec.signals.base import Grid, Group, Ladder, Recent, Signal, SignalSettings
from kgrec.signals.graph.memory import MAX_LOGITS, given_memory, whole_graph_bytes
from kgrec.signals.history import has_times, history
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors

SUBGRAPHS_SLOWER: Final = 4
"""How many times longer training on sampled sub-graphs takes; 1.4 to 6 times were measured."""


class GNNSettings(SignalSettings):
    """Settings of the graph network."""

    dim: int = Field(64, ge=2, description="Length of a node's vector.")
    layers: int = Field(2, ge=1, le=6, description="How many relationships far a node sees.")
    temperature: float = Field(0.2, ge=0.02, le=2, description="Divides the cosines in the softmax.")
    kg_weight: float = Field(0.3, ge=0, description="Weight of a relationship that is no behaviour; behaviours have 1.")
    relation_balance: float = Field(
        0.0, ge=0, le=2, description="How far a relationship's weight follows what its type says of choices; 0: alike."
    )
    edge_dropout: float = Field(0.2, ge=0, lt=1, description="Share of the edges left out in each training step.")
    steps: int = Field(40, ge=1, description="Training steps; each holds all users, or as many as memory allows.")
    recent: Recent = None
    members: int = Field(1, ge=1, description="Networks from different seeds whose cosines are averaged.")
    memory: int | None = Field(
        None, gt=0, description="Bytes that training may take on the device; none: half of what it has."
    )


class GNN(Signal):
    """Cosine of a user's and an item's vector after propagation over users, items and entities.

    Where late items tell more, a user is the mean of the items' vectors, faded, instead of a node.

    Layers are averaged without weights or activations (He et al., "LightGCN", SIGIR 2020); the loss is a softmax over
    items with a temperature (Wu et al., "On the Effectiveness of Sampled Softmax Loss", TOIS 2024).
    """

    name: ClassVar[str] = "gnn"
    group: ClassVar[Group] = "graph"
    Settings = GNNSettings
    scoring: ClassVar[frozenset[str]] = frozenset({"recent"})
    grid: ClassVar[Grid] = {
        "recent": Ladder(4.0, 0.5, 64),
        "dim": Ladder(2.0, 32, 256),
        "steps": Ladder(2.0, 10, 320),
        "temperature": Ladder(1.4, 0.05, 1),
        "kg_weight": (0.0, 1.0),
        "relation_balance": (0.5, 1.0),
        "layers": (1, 3),
        "edge_dropout": (0.5,),
        "members": (3,),
    }

    _users: FloatArray
    _items: FloatArray

    node_vectors: FloatArray
    """Vectors of all nodes of the graph, float32 [n_nodes, members · dim], numbered graph-wide, of length 1 or 0."""

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return roughly how many seconds a fit takes; see `Signal`."""
        logits = min(train.n_users * train.n_items, MAX_LOGITS)
        edges = train.interactions.nnz + sum(len(source) for source, _ in train.relations.values())
        step = logits * (6e-9 + 5e-11 * settings.dim) + edges * settings.layers * (2e-8 + 6e-10 * settings.dim)
        seconds = float(step * settings.steps * settings.members)
        return seconds if whole_graph_bytes(train, settings) <= given_memory(settings) else seconds * SUBGRAPHS_SLOWER

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Train the network; nodes that have a text vector start from it."""
        from kgrec.signals.graph.network import train_network
        from kgrec.signals.graph.subgraph_training import train_on_subgraphs

        settings: GNNSettings = self.settings
        text_nodes, text = text_features(train, vectors, settings.dim)
        seeds = range(seed, seed + settings.members)
        memory = given_memory(settings)
        if whole_graph_bytes(train, settings) <= memory:
            parts = [train_network(train, text_nodes, text, settings, member) for member in seeds]
        else:
            parts = [train_on_subgraphs(train, text_nodes, text, settings, member, memory) for member in seeds]
        return self._take(train, np.concatenate(parts, axis=1) / np.float32(settings.members**0.5))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return cosines, float32 [n users, n_items]."""
        return np.asarray(self._users[user_nums] @ self._items.T)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the vectors of all nodes as `node_vectors`, float32 [n_nodes, dim]."""
        return {"node_vectors": self.node_vectors}

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._take(train, state["node_vectors"])

    @property
    def user_vectors(self) -> FloatArray:
        """Vectors of users, float32 [n_users, dim]."""
        return self._users

    @property
    def item_vectors(self) -> FloatArray:
        """Vectors of items, float32 [n_items, dim]."""
        return self._items

    def _take(self, train: GraphSnapshot, node_vectors: FloatArray) -> Self:
        self.node_vectors = node_vectors
        self._users = node_vectors[train.user_nodes]
        self._items = node_vectors[train.item_nodes]
        if self.settings.recent and has_times(train):
            towards = np.asarray(history(train, recent=self.settings.recent) @ self._items)
            length = np.linalg.norm(towards, axis=1, keepdims=True)
            self._users = np.where(length > 0, towards / np.maximum(length, 1e-12), self._users)
        return self


def text_features(train: GraphSnapshot, vectors: Vectors, dim: int) -> tuple[IntArray, FloatArray]:
    """Return the nodes that have text, int64 [t], and their text vectors cut to `dim` principal components.

    Components are scaled to a mean square of 1. A text model's vectors have hundreds of dimensions, most of them
    noise for a graph of this kind; the network learns a projection of the main ones.
    """
    nodes, rows = [np.empty(0, np.int64)], []
    for label in (label for label in train.offsets if label in vectors):
        has_text = np.flatnonzero(np.any(vectors[label], axis=1))
        nodes.append(has_text + train.offsets[label])
        rows.append(vectors[label][has_text])
    if not rows or not len(np.concatenate(nodes)):
        return np.empty(0, np.int64), np.empty((0, dim), np.float32)
    return np.concatenate(nodes), _principal(np.concatenate(rows), dim)


def _principal(x: FloatArray, dim: int) -> FloatArray:
    """Return the `dim` principal components of x [n, d], float32 [n, dim], filled up with zeros where d < dim."""
    centred = x - x.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    components = centred @ axes[:, ::-1][:, :dim]
    scale = np.sqrt(np.mean(components**2)) or 1
    return np.pad(components / scale, ((0, 0), (0, dim - components.shape[1]))).astype(np.float32)
