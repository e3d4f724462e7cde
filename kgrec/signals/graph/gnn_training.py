"""Full-graph training of LightGCN with a softmax loss over items.

A step propagates once over the complete graph for all its users, which costs a small fraction of a propagation for each
mini-batch of pairs. This module imports torch; import it in functions that train only.
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
"""Standard deviation of the initial vectors; the result is insensitive to it, since scores are cosines."""
LEARNING_RATE: Final = 0.05


class Propagation(torch.autograd.Function):
    """LightGCN propagation, x + A x + A² x + … over `layers` steps, without parameters.

    He et al., "LightGCN", SIGIR 2020. It is computed as x + A (x + A (x + …)), which stores neither layers nor messages
    of edges. The gradient is the same sum over Aᵀ, which equals A if A is symmetric.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, layers: int, x: Tensor) -> Tensor:
        """Return the sums, float32 [n, d], for x [n, d], a sparse CSR A [n, n] and its transpose."""
        ctx.transposed, ctx.layers = transposed, layers
        return _sums(matrix, layers, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, Tensor]:
        """Return the gradient of x: the sums over Aᵀ of the gradient [n, d] of the result."""
        return None, None, None, _sums(ctx.transposed, ctx.layers, gradients[0].contiguous())


def _sums(matrix: Tensor, layers: int, x: Tensor) -> Tensor:
    total = x
    # On a CPU, addmm adds within the product, which saves an array.
    for _ in range(layers):
        total = x + sparse_product(matrix, total) if x.is_cuda else torch.addmm(x, matrix, total)
    return total


class Network(nn.Module):
    """LightGCN: node parameters plus projected text vectors, propagated over 1 … `layers` steps."""

    text_nodes: Tensor
    text: Tensor

    def __init__(self, first: Tensor, text_nodes: Tensor, text: Tensor, layers: int) -> None:
        """Initialize the parameters.

        Args:
            first: initial vectors, float32 [n_nodes, d].
            text_nodes: numbers of the nodes with text, int64 [t].
            text: their text vectors, float32 [t, d].
            layers: propagation steps.
        """
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
        """Return the vectors of all nodes after propagation, float32 [n_nodes, d], not normalized."""
        result: Tensor = Propagation.apply(adjacency, adjacency, self.layers, self.first())  # type: ignore[no-untyped-call]
        return result


@dataclass(frozen=True)
class LearnedVectors:
    """Result of training.

    Attributes:
        first: float32 [n_nodes, d], the vectors of all nodes before propagation, including the projected text.
        projection: float32 [d, d], projection of text features that is included in `first`.
        vectors: float32 [n_nodes, d], the vectors after propagation, of length 1 or 0.
    """

    first: FloatArray
    projection: FloatArray
    vectors: FloatArray


def train_network(
    train: GraphSnapshot, text_nodes: IntArray, text: FloatArray, settings: Any, seed: int
) -> LearnedVectors:
    """Return the vectors that full-graph training learns.

    Args:
        train: the train snapshot.
        text_nodes: graph-wide numbers of the nodes with text, int64 [t].
        text: their text features, float32 [t, d].
        settings: `LightGCNSettings`.
        seed: seed of initialization, batches and dropout.
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
    """Return the initial vectors, float32 [n_nodes, dim]: random, but 0 for users and cold items.

    A user's vector then comes from the neighborhood alone, and users without one have the score 0 instead of noise. A
    cold item's vector comes from its neighborhood and its text.
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
    for batch in track(drawn, "Training LightGCN", total=settings.steps):
        batch = batch.to(device)
        vectors = network(_dropped(adjacency, settings.edge_dropout, random).to(device))
        users = functional.normalize(vectors.index_select(0, user_nodes[batch.user_nums]))
        items = functional.normalize(vectors.index_select(0, item_nodes))
        loss = softmax_loss(users / settings.temperature, items, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _dropped(adjacency: Adjacency, dropout: float, random: np.random.Generator) -> Tensor:
    """Return the adjacency with edge dropout; the other edges are scaled up to keep the expected sum."""
    keep = random.random(len(adjacency.weight), dtype=np.float32) >= dropout
    return _sparse(adjacency, adjacency.weight * keep / np.float32(1 - dropout))


def _sparse(adjacency: Adjacency, weight: FloatArray) -> Tensor:
    n = len(adjacency.indptr) - 1
    return csr_tensor(adjacency.indptr, adjacency.indices, weight[adjacency.edge], (n, n))
