"""A light graph network: propagation over the whole graph, trained with a softmax over items.

One propagation over the whole graph serves every pair of a step, which costs a small fraction of propagating anew
for each mini-batch of pairs. This file needs torch; import it only where a network is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec._util.device import best_device
from kgrec._util.progress import track
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.graph.adjacency import Adjacency, propagated
from kgrec.signals.sampled_softmax import batch_size, batches, csr_tensor, softmax_loss, sparse_product

INIT_DEVIATION: Final = 0.1
"""Standard deviation of the first vectors; the cosine makes the result insensitive to it."""
LEARNING_RATE: Final = 0.05


class Propagation(torch.autograd.Function):
    """Vectors plus their neighborhoods of 1 … `layers` steps, with no weights of its own: x + A x + A² x + …

    He et al., "LightGCN", SIGIR 2020. It is computed as x + A (x + A (x + …)), which stores no layer, and messages are
    never stored by edge. The gradient is the same sum over Aᵀ, which a symmetric A is itself.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, layers: int, x: Tensor) -> Tensor:
        """Return the sums, float32 [n, d], of x [n, d] over a sparse CSR A [n, n] that comes with Aᵀ."""
        ctx.transposed, ctx.layers = transposed, layers
        return _sums(matrix, layers, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, Tensor]:
        """Return the sums over Aᵀ of the gradient [n, d] of the result."""
        return None, None, None, _sums(ctx.transposed, ctx.layers, gradients[0].contiguous())


def _sums(matrix: Tensor, layers: int, x: Tensor) -> Tensor:
    total = x
    # On a CPU the sum is part of the product, which needs one array less.
    for _ in range(layers):
        total = x + sparse_product(matrix, total) if x.is_cuda else torch.addmm(x, matrix, total)
    return total


class Network(nn.Module):
    """Learned vectors, plus projected text vectors, averaged with their neighborhoods of 1 … `layers` steps."""

    text_nodes: Tensor
    text: Tensor

    def __init__(self, first: Tensor, text_nodes: Tensor, text: Tensor, layers: int) -> None:
        """Start from first vectors [n_nodes, d] and text vectors [t, d] of the nodes text_nodes [t]."""
        super().__init__()
        self.learned = nn.Parameter(first)
        self.projection = nn.Parameter(torch.eye(first.shape[1]))
        self.register_buffer("text_nodes", text_nodes)
        self.register_buffer("text", text)
        self.layers = layers

    def first(self) -> Tensor:
        """Return the vectors of all nodes before propagation, float32 [n_nodes, d]."""
        return self.learned.index_add(0, self.text_nodes, self.text @ self.projection)

    def forward(self, adjacency: Tensor) -> Tensor:
        """Return the vectors of all nodes, float32 [n_nodes, d], of any length."""
        result: Tensor = Propagation.apply(adjacency, adjacency, self.layers, self.first())  # type: ignore[no-untyped-call]
        return result


@dataclass(frozen=True)
class LearnedVectors:
    """What training a network gives.

    Attributes:
        first: float32 [n_nodes, d], the vectors of all nodes, projected text included, before propagation.
        projection: float32 [d, d], from a text's features to its part of `first`.
        vectors: float32 [n_nodes, d], after propagation, of length 1 or 0.
    """

    first: FloatArray
    projection: FloatArray
    vectors: FloatArray


def train_network(
    train: GraphSnapshot, text_nodes: IntArray, text: FloatArray, settings: Any, seed: int
) -> LearnedVectors:
    """Train a network on a snapshot.

    Args:
        train: the graph to learn from.
        text_nodes: graph-wide numbers of the nodes with text, int64 [t].
        text: their text vectors, float32 [t, d].
        settings: `LightGCNSettings`.
        seed: makes the result repeat.
    """
    random = np.random.default_rng(seed)
    first = torch.from_numpy(first_vectors(train, settings.dim, random))
    scaled = torch.from_numpy(text * np.float32(INIT_DEVIATION))
    network = Network(first, torch.from_numpy(text_nodes), scaled, settings.layers).to(best_device("cuda"))
    adjacency = Adjacency.from_snapshot(train, settings.kg_weight, settings.relation_balance)
    _optimize(network, train, adjacency, settings, random)
    with torch.no_grad():
        learned, projection = network.first().cpu().numpy(), network.projection.cpu().numpy()
    return LearnedVectors(
        learned, projection * np.float32(INIT_DEVIATION), propagated(adjacency.matrix, learned, settings.layers)
    )


def first_vectors(train: GraphSnapshot, dim: int, random: np.random.Generator) -> FloatArray:
    """Return the vectors that training starts from, float32 [n_nodes, dim].

    A user starts as nothing but the neighborhood; without one the scores stay 0 instead of random. Of an item nobody
    chose nothing is known but its neighborhood and its text.
    """
    first = random.normal(0, INIT_DEVIATION, (train.n_nodes, dim)).astype(np.float32)
    first[train.user_nodes] = 0
    first[train.item_nodes[np.bincount(train.interactions.indices, minlength=train.n_items) == 0]] = 0
    return first


def _optimize(
    network: Network, train: GraphSnapshot, adjacency: Adjacency, settings: Any, random: np.random.Generator
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    device = network.learned.device
    user_nodes, item_nodes = (torch.from_numpy(nodes).to(device) for nodes in (train.user_nodes, train.item_nodes))
    size = batch_size(train.n_items)
    drawn = batches(train.interactions, settings.steps, size, random)
    for batch in track(drawn, "Training the graph network", total=settings.steps):
        batch = batch.to(device)
        vectors = network(_dropped(adjacency, settings.edge_dropout, random).to(device))
        users = functional.normalize(vectors.index_select(0, user_nodes[batch.user_nums]))
        items = functional.normalize(vectors.index_select(0, item_nodes))
        loss = softmax_loss(users / settings.temperature, items, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _dropped(adjacency: Adjacency, dropout: float, random: np.random.Generator) -> Tensor:
    """Return the adjacency without a random part of its edges, the rest scaled up to keep the expected sum."""
    keep = random.random(len(adjacency.weight), dtype=np.float32) >= dropout
    return _sparse(adjacency, adjacency.weight * keep / np.float32(1 - dropout))


def _sparse(adjacency: Adjacency, weight: FloatArray) -> Tensor:
    n = len(adjacency.indptr) - 1
    return csr_tensor(adjacency.indptr, adjacency.indices, weight[adjacency.edge], (n, n))
