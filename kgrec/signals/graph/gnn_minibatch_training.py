"""Mini-batch training of LightGCN on sampled subgraphs, for graphs that do not fit in device memory.

The parameters and Adam's moments of all nodes stay in main memory; the device holds one subgraph at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional

from kgrec._util.device import best_device
from kgrec._util.progress import track
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.graph.adjacency import Adjacency, propagated
from kgrec.signals.graph.gnn_memory import ENTRY_BYTES, LOGIT_BYTES, node_bytes
from kgrec.signals.graph.gnn_training import INIT_DEVIATION, LearnedVectors, Propagation, first_vectors
from kgrec.signals.graph.neighbor_sampling import Subgraph, sample_subgraph
from kgrec.signals.sampled_softmax import SAMPLED_CANDIDATES, Batch, csr_tensor, draw_candidates, softmax_loss
from kgrec.signals.step_limits import MAX_LOGITS

NEIGHBOR_FANOUT: Final = 10
"""Neighbors sampled for a node."""
SEED_SHARE: Final = 0.5
"""Share of seeds, which the loss is computed on, among a subgraph's nodes; the others are their neighborhoods."""
SUBGRAPHS_PER_STEP: Final = 4
"""One step of the settings is replaced by as many subgraphs as have this many times the graph's nodes in all."""
LEARNING_RATE: Final = 0.02
"""Initial learning rate; it decays linearly to 0, since the gradients of samples stay noisy."""


@dataclass(frozen=True)
class Limits:
    """Size limits of a training step.

    Attributes:
        nodes: nodes of a subgraph.
        behaviors: positive interactions of a step.
        candidates: candidate items of the softmax.
    """

    nodes: int
    behaviors: int
    candidates: int

    @classmethod
    def from_memory(cls, settings: Any, memory: int) -> Self:
        """Return the limits for `memory` bytes, divided between the subgraph and the logits."""
        nodes = max(16, int(memory / 2 / (node_bytes(settings) + NEIGHBOR_FANOUT * ENTRY_BYTES)))
        seeds = int(nodes * SEED_SHARE)
        candidates = min(seeds // 2, SAMPLED_CANDIDATES)
        logits = min(MAX_LOGITS, memory // (2 * LOGIT_BYTES))
        return cls(nodes, max(1, min(seeds // 4, logits // candidates)), candidates)


class _Table:
    """Parameters of all nodes, in main memory; a step reads and updates those of its subgraph."""

    def __init__(self, first: FloatArray, text_nodes: IntArray, text: FloatArray, device: str) -> None:
        self.learned = torch.nn.Parameter(torch.from_numpy(first))
        self.projection = torch.nn.Parameter(torch.eye(first.shape[1], device=device))
        self.text = torch.from_numpy(text)
        self.text_row = np.full(len(first), -1)
        self.text_row[text_nodes] = np.arange(len(text_nodes))
        self.device = device
        self.optimizers = (
            torch.optim.SparseAdam([self.learned], lr=LEARNING_RATE),
            torch.optim.Adam([self.projection], lr=LEARNING_RATE),
        )

    def rows(self, nodes: IntArray) -> tuple[Tensor, Tensor]:
        """Return the parameters of nodes [m]: as a leaf tensor for the gradient, and with the projected text added."""
        leaf = self.learned.detach()[torch.from_numpy(nodes)].to(self.device).requires_grad_()
        row = self.text_row[nodes]
        has_text = torch.from_numpy(np.flatnonzero(row >= 0)).to(self.device)
        text = self.text[torch.from_numpy(row[row >= 0])].to(self.device)
        return leaf, leaf.index_add(0, has_text, text @ self.projection)

    def first(self) -> FloatArray:
        """Add the projected text to the parameters in place and return them, float32 [n_nodes, d]."""
        with torch.no_grad():
            nodes = np.flatnonzero(self.text_row >= 0)
            x: FloatArray = self.learned.numpy()
            x[nodes] += (self.text[torch.from_numpy(self.text_row[nodes])] @ self.projection.cpu()).numpy()
        return x

    def update(self, nodes: IntArray, gradient: Tensor, rate: float) -> None:
        """Take an optimizer step: gradient [m, d] of the parameters of nodes [m], and that of the projection."""
        index, shape = torch.from_numpy(nodes)[None], self.learned.shape
        self.learned.grad = torch.sparse_coo_tensor(index, gradient.cpu(), shape, check_invariants=False)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()  # type: ignore[no-untyped-call]
            optimizer.zero_grad()


def train_on_subgraphs(
    train: GraphSnapshot, text_nodes: IntArray, text: FloatArray, settings: Any, seed: int, memory: int
) -> LearnedVectors:
    """Return the vectors that mini-batch training learns; see `train_network`.

    Args:
        train, text_nodes, text, settings, seed: see `train_network`.
        memory: approximate bytes of a step, at most. Main memory holds the parameters of all nodes with Adam's
            moments, and the adjacency, in addition.
    """
    random = np.random.default_rng(seed)
    graph = Adjacency.from_snapshot(train, settings.kg_weight, settings.relation_balance).matrix
    scaled = text * np.float32(INIT_DEVIATION)
    table = _Table(first_vectors(train, settings.dim, random), text_nodes, scaled, best_device("cuda"))
    limits = Limits.from_memory(settings, memory)
    popularity = np.bincount(train.interactions.indices, minlength=train.n_items)
    steps = settings.steps * -(-SUBGRAPHS_PER_STEP * train.n_nodes // limits.nodes)
    for step in track(range(steps), "Training LightGCN on subgraphs", total=steps):
        seeds, batch = _batch(train, popularity, limits, random)
        part = sample_subgraph(graph, seeds, settings.layers, NEIGHBOR_FANOUT, limits.nodes, random)
        gradient = _gradient(table, _dropped(part, settings.edge_dropout, random), batch.to(table.device), settings)
        table.update(part.nodes, gradient, LEARNING_RATE * (1 - step / steps))
    first = table.first()
    projection = table.projection.detach().cpu().numpy() * np.float32(INIT_DEVIATION)
    return LearnedVectors(first, projection, propagated(graph, first, settings.layers))


def _dropped(part: Subgraph, dropout: float, random: np.random.Generator) -> Subgraph:
    """Return the subgraph with edge dropout; the other edges are scaled up to keep the expected sum."""
    matrix = part.matrix.copy()
    matrix.data *= (random.random(matrix.nnz, dtype=np.float32) >= dropout) / np.float32(1 - dropout)
    return Subgraph(part.nodes, matrix)


def _gradient(table: _Table, part: Subgraph, batch: Batch, settings: Any) -> Tensor:
    """Return the gradient of the parameters of a subgraph's nodes, [m, d]; that of the projection stays in it."""
    leaf, x = table.rows(part.nodes)
    seeds = batch.positives.shape[1]
    vectors = functional.normalize(_sums(part, x, settings.layers)[:seeds])
    loss = softmax_loss(vectors[batch.user_nums] / settings.temperature, vectors, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return leaf.grad


def _sums(part: Subgraph, x: Tensor, layers: int) -> Tensor:
    """Return x [m, d] plus its propagation over 1 … `layers` steps."""
    matrix, transposed = (
        csr_tensor(m.indptr, m.indices, m.data, m.shape).to(x.device) for m in (part.matrix, part.matrix.T.tocsr())
    )
    result: Tensor = Propagation.apply(matrix, transposed, layers, x)  # type: ignore[no-untyped-call]
    return result


def _batch(
    train: GraphSnapshot, popularity: IntArray, limits: Limits, random: np.random.Generator
) -> tuple[IntArray, Batch]:
    """Sample positives and candidates; return their nodes and a batch whose users and items are indices of these."""
    user, item = _draw_behaviors(train.interactions, limits.behaviors, random)
    candidates, correction = draw_candidates(popularity, limits.candidates, limits.candidates, random)
    ends = (train.user_nodes[user], train.item_nodes[item], train.item_nodes[candidates.numpy()])
    seeds, place = np.unique(np.concatenate(ends), return_inverse=True)
    users, items, others = np.split(place, np.cumsum([len(user), len(user)]))
    weight = np.full(len(user), 1 / len(user))
    positives = csr_tensor(np.arange(len(user) + 1), items, weight, (len(user), len(seeds)))
    return seeds, Batch(torch.from_numpy(users), positives, torch.from_numpy(others), correction)


def _draw_behaviors(history: sp.csr_matrix, n: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Return the users and items of n sampled interactions; a user with k interactions has the weight √k."""
    counts = np.diff(history.indptr)
    share = np.sqrt(counts)
    user = random.choice(len(counts), n, p=share / share.sum())
    entry = history.indptr[user] + (random.random(n) * counts[user]).astype(np.int64)
    return user, history.indices[entry].astype(np.int64)
