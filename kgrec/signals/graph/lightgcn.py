"""LightGCN over the typed graph: one vector for each node, learned from interactions, relationships and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Array, Layout
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta, remap_rows
from kgrec.data.histories import user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, HalfLifeItems, LogRange, OutOfDomainWeight, Signal, SignalSettings
from kgrec.signals.domain_weighting import DomainHistories
from kgrec.signals.graph.adjacency import Adjacency, layers_before, propagated
from kgrec.signals.graph.gnn_memory import given_memory, whole_graph_bytes
from kgrec.signals.relevance import RelevantIf, has_relations, several_relations
from kgrec.signals.step_limits import MAX_LOGITS
from kgrec.signals.whitening import centered_rows, mean_row, part_widths

SUBGRAPH_SLOWDOWN: Final = 4
"""Assumed slowdown of training on sampled subgraphs; 1.4 to 6 were measured."""


class LightGCNSettings(SignalSettings):
    """Settings of LightGCN."""

    dim: int = Field(64, ge=2, description="Dimensions of the node vectors.")
    layers: int = Field(2, ge=1, le=6, description="Propagation steps.")
    temperature: float = Field(0.2, ge=0.02, le=2, description="Temperature of the softmax: it divides the cosines.")
    kg_weight: Annotated[float, RelevantIf(has_relations)] = Field(
        0.3, ge=0, description="Mean weight of relationships other than behaviors; behaviors have 1."
    )
    relation_balance: Annotated[float, RelevantIf(several_relations)] = Field(
        0.0, ge=0, le=2, description="Exponent of a type's informativeness in its weight; 0: the same weight for all."
    )
    edge_dropout: float = Field(0.2, ge=0, lt=1, description="Share of the edges dropped in each training step.")
    steps: int = Field(40, ge=1, description="Training steps; a batch has all users, or as many as memory allows.")
    half_life_items: HalfLifeItems = None
    out_of_domain_weight: OutOfDomainWeight = 0.3
    members: int = Field(1, ge=1, description="Networks from different seeds whose cosines are averaged.")
    memory: int | None = Field(
        None, gt=0, description="Bytes that training may use on the device; none: half of its memory."
    )


class LightGCN(Signal):
    """Cosine of the vectors of a user and an item after propagation over users, items and entities.

    Layers are averaged without weights or activations (He et al., "LightGCN", SIGIR 2020). The loss is a softmax over
    items with a temperature (Wu et al., "On the Effectiveness of Sampled Softmax Loss", TOIS 2024).

    With time decay or domain weighting, a user's vector is the weighted mean of the vectors of their items instead of
    that of their node.
    """

    name: ClassVar[str] = "lightgcn"
    group: ClassVar[Group] = "graph"
    tuning_order: ClassVar[int] = 120
    supports_cold_items: ClassVar[bool] = True
    Settings = LightGCNSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items", "out_of_domain_weight"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(4.0, 0.5, 64),
        "out_of_domain_weight": (0.1, 0.0, 1.0),
        "kg_weight": (1.0, 0.0),
        "dim": LogRange(2.0, 32, 256),
        "steps": LogRange(2.0, 10, 320),
        "temperature": LogRange(1.4, 0.05, 1),
        "relation_balance": (0.5, 1.0),
        "layers": (1, 3),
        "edge_dropout": (0.5,),
        "members": (3,),
    }

    _train: GraphSnapshot
    _users: FloatArray
    _items: FloatArray
    _histories: DomainHistories
    _learned: dict[str, FloatArray]

    node_vectors: FloatArray
    """Vectors of all nodes of the graph, float32 [n_nodes, members · dim], numbered graph-wide, of length 1 or 0."""

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate duration of a fit, in seconds; see `Signal`."""
        logits = min(train.n_users * train.n_items, MAX_LOGITS)
        edges = train.interactions.nnz + sum(len(source) for source, _ in train.relations.values())
        of_logits, of_nodes = logits * (4.5e-9 + 2e-11 * settings.dim), train.n_nodes * 8e-9 * settings.dim
        of_edges = edges * settings.layers * (1e-8 + 9e-10 * settings.dim)
        seconds = float((of_logits + of_nodes + of_edges) * settings.steps * settings.members)
        return seconds if whole_graph_bytes(train, settings) <= given_memory(settings) else seconds * SUBGRAPH_SLOWDOWN

    @classmethod
    def low_fidelity(cls, settings: Any) -> Any | None:
        """Return the settings with half the training steps; see `Signal`."""
        return settings.model_copy(update={"steps": settings.steps // 2}) if settings.steps > 1 else None

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Train the network; nodes with a text vector start from it."""
        from kgrec.signals.graph.gnn_minibatch_training import train_on_subgraphs
        from kgrec.signals.graph.gnn_training import train_network

        settings: LightGCNSettings = self.settings
        text_nodes, text = text_rows(train, vectors)
        widths = part_widths(train, text.shape[1])
        mean, axes = principal_axes(text, settings.dim, widths)
        features = np.asarray(centered_rows(text, mean, widths) @ axes, dtype=np.float32)
        seeds = range(seed, seed + settings.members)
        memory = given_memory(settings)
        if whole_graph_bytes(train, settings) <= memory:
            parts = [train_network(train, text_nodes, features, settings, member) for member in seeds]
        else:
            parts = [train_on_subgraphs(train, text_nodes, features, settings, member, memory) for member in seeds]
        learned = {
            "first": np.concatenate([part.first for part in parts], axis=1),
            "text_mean": mean,
            "text_axes": axes @ np.concatenate([part.projection for part in parts], axis=1),
        }
        return self._bind(train, _side_by_side([part.vectors for part in parts]), learned)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return cosines, float32 [n users, n_items]."""
        users = self._users[user_nums]
        if not self._histories.differ_by_domain:
            return np.asarray(users @ self._items.T)
        return self._histories.scores(user_nums, self._items, partial(_unit_or, otherwise=users))

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users, as if each were a node linked to their items."""
        history = user_histories(users, half_life_items=self.settings.half_life_items)
        as_nodes = self._as_nodes(users.interactions)
        vectors = _unit_or(np.asarray(history @ self._items), as_nodes) if self._histories.fades else as_nodes
        if not self._histories.differ_by_domain:
            return np.asarray(vectors @ self._items.T)
        histories = replace(self._histories, profiles=history)
        return histories.scores(np.arange(len(vectors)), self._items, partial(_unit_or, otherwise=vectors))

    def _as_nodes(self, chosen: sp.csr_matrix) -> FloatArray:
        """Return the vectors of new nodes that are linked to items, CSR [n, n_items]; float32 [n, members · dim]."""
        parts = np.split(np.asarray(chosen @ self._reach), self.settings.members, axis=1)
        return _side_by_side([_unit_or(part, otherwise=part) for part in parts])

    @cached_property
    def _reach(self) -> FloatArray:
        """What an item passes on to its users, divided by √degree, float32 [n_items, members · dim]."""
        settings, items = self.settings, self._train.item_nodes
        graph = Adjacency.from_snapshot(self._train, settings.kg_weight, settings.relation_balance)
        passed = layers_before(graph.matrix, self._learned["first"], settings.layers)[items]
        return np.asarray(passed / np.sqrt(np.maximum(graph.degree, 1e-12))[items, None], dtype=np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the node vectors after and before propagation, and the projection of text vectors.

        `node_vectors` and `first`: float32 [n_nodes, members · dim], `text_mean` [t], `text_axes` [t, members · dim].
        """
        return {"node_vectors": self.node_vectors, **self._learned}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        d = self.settings.dim * self.settings.members
        of_nodes, of_text = Array((train.n_nodes, d)), {"text_mean": Array(("text",)), "text_axes": Array(("text", d))}
        return ({"node_vectors": of_nodes, "first": of_nodes, **of_text},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        learned = {name: state[name] for name in ("first", "text_mean", "text_axes")}
        return self._bind(train, state["node_vectors"], learned)

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal with its parameters propagated over the updated graph; new nodes start from their text."""
        train, settings, learned = delta.new, self.settings, self._learned
        first = remap_rows(learned["first"], delta.nodes)
        nodes, text = text_rows(train, delta.vectors)
        new = delta.nodes[nodes] < 0
        if new.any() and len(learned["text_mean"]):
            widths = part_widths(train, text.shape[1])
            first[nodes[new]] = centered_rows(text[new], learned["text_mean"], widths) @ learned["text_axes"]
        graph = Adjacency.from_snapshot(train, settings.kg_weight, settings.relation_balance).matrix
        parts = [propagated(graph, part, settings.layers) for part in np.split(first, settings.members, axis=1)]
        return type(self)(settings)._bind(train, _side_by_side(parts), {**learned, "first": first})

    @property
    def user_vectors(self) -> FloatArray:
        """Vectors of users, float32 [n_users, members · dim]."""
        return self._users

    @property
    def item_vectors(self) -> FloatArray:
        """Vectors of items, float32 [n_items, members · dim]."""
        return self._items

    def _bind(self, train: GraphSnapshot, node_vectors: FloatArray, learned: dict[str, FloatArray]) -> Self:
        self._train, self.node_vectors, self._learned = train, node_vectors, learned
        vars(self).pop("_reach", None)  # of an earlier fit
        self._users = node_vectors[train.user_nodes]
        self._items = node_vectors[train.item_nodes]
        self._histories = DomainHistories.from_snapshot(
            train, self.settings.half_life_items, self.settings.out_of_domain_weight
        )
        if self._histories.fades:
            self._users = _unit_or(np.asarray(self._histories.profiles @ self._items), self._users)
        return self


def _unit_or(sums: FloatArray, otherwise: FloatArray) -> FloatArray:
    """Return user vectors [n, d]: sums of their items' vectors, of length 1, or `otherwise` where the sum is 0."""
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(length > 0, sums / np.maximum(length, 1e-12), otherwise)


def text_rows(train: GraphSnapshot, vectors: Vectors) -> tuple[IntArray, FloatArray]:
    """Return the nodes that have text, int64 [t], and their text vectors, float32 [t, d]."""
    nodes, rows = [np.empty(0, np.int64)], [np.empty((0, 0), np.float32)]
    for label in (label for label in train.offsets if label in vectors):
        has_text = np.flatnonzero(np.any(vectors[label], axis=1))
        nodes.append(has_text + train.offsets[label])
        rows.append(vectors[label][has_text])
    return np.concatenate(nodes), np.concatenate(rows[1:] or rows)


def principal_axes(x: FloatArray, dim: int, widths: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Return the mean [d] of text vectors [t, d] and their `dim` principal axes, float32 [d, dim], zero-padded.

    Axes are scaled such that components have a mean square of 1. Most of the hundreds of dimensions of a text model are
    noise here; the network learns a projection of the main ones. `widths` are those of the parts of a vector; see
    `part_widths`.
    """
    if not len(x):
        return np.zeros(x.shape[1], np.float32), np.zeros((x.shape[1], dim), np.float32)
    mean = mean_row(x, widths)
    centered = centered_rows(x, mean, widths)
    _, axes = np.linalg.eigh(centered.T @ centered)
    main = axes[:, ::-1][:, :dim]
    scale = np.sqrt(np.mean((centered @ main) ** 2)) or 1
    return mean, np.pad(main / scale, ((0, 0), (0, dim - main.shape[1]))).astype(np.float32)


def _side_by_side(parts: list[FloatArray]) -> FloatArray:
    """Return concatenated vectors, float32 [n, parts · dim], whose dot products are the means of the parts'."""
    return np.concatenate(parts, axis=1) / np.float32(len(parts) ** 0.5)
