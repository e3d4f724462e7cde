"""The complete typed graph as one undirected, weighted, normalized adjacency, and propagation over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.graph.relation_weights import relation_weights


@dataclass(frozen=True)
class Adjacency:
    """A symmetric adjacency in CSR form; the two entries of an edge share one weight.

    Attributes:
        indptr: int32 [n_nodes + 1], row pointers.
        indices: int32 [2 · n_edges], columns.
        edge: int64 [2 · n_edges], the edge of each entry.
        weight: float32 [n_edges], w_ab / √(d_a · d_b) for the weighted degrees d.
        degree: float64 [n_nodes], weighted degree: the sum of w over a node's edges.
    """

    indptr: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]
    edge: IntArray
    weight: FloatArray
    degree: npt.NDArray[Any]

    @property
    def matrix(self) -> sp.csr_matrix:
        """The adjacency as a float32 CSR matrix [n_nodes, n_nodes]."""
        n = len(self.indptr) - 1
        return sp.csr_matrix((self.weight[self.edge], self.indices, self.indptr), shape=(n, n))

    @classmethod
    def from_snapshot(cls, train: GraphSnapshot, kg_weight: float, balance: float = 0.0) -> Adjacency:
        """Return the adjacency of all behaviors (weight 1) and other relationships (see `relation_weights`).

        Relationships between the same two nodes become one edge with the sum of their weights. Self-loops are left out.

        Args:
            train: the train snapshot.
            kg_weight: mean weight of relationships other than behaviors; 0 leaves them out.
            balance: see `relation_weights`.
        """
        n = train.n_nodes
        graph = sp.triu(_directed(train, kg_weight, balance), k=1).tocoo()
        a, b = graph.row, graph.col
        degree = np.bincount(a, graph.data, n) + np.bincount(b, graph.data, n)
        weight = (graph.data / np.sqrt(degree[a] * degree[b])).astype(np.float32)
        # Edge numbers start at 1 because a sparse matrix may drop an explicit 0.
        number = np.tile(np.arange(1, len(a) + 1), 2)
        both = sp.csr_matrix((number, (np.r_[a, b], np.r_[b, a])), shape=(n, n))
        return cls(both.indptr.astype(np.int32), both.indices.astype(np.int32), both.data - 1, weight, degree)


def propagated(graph: sp.csr_matrix, first: FloatArray, layers: int) -> FloatArray:
    """Return initial vectors [n_nodes, d] averaged with their propagation over 1 … `layers` steps, of length 1 or 0.

    Memory holds a few vectors per node, and none per edge.
    """
    x, total = first, first.copy()
    for _ in range(layers):
        x = graph @ x
        total += x
    length = np.sqrt(np.einsum("nd,nd->n", total, total))
    total /= np.where(length > 0, length, 1)[:, None]
    return np.asarray(total)


def layers_before(graph: sp.csr_matrix, first: FloatArray, layers: int) -> FloatArray:
    """Return the sum of the inputs of all layers, float32 [n_nodes, d]: what a node passes on to its neighbors."""
    x, total = first, first.copy()
    for _ in range(layers - 1):
        x = graph @ x
        total += x
    return np.asarray(total)


def _directed(train: GraphSnapshot, kg_weight: float, balance: float) -> sp.csr_matrix:
    """Return the summed weights of node pairs, smaller number first: upper triangular, float32 [n_nodes, n_nodes]."""
    pairs = train.interactions.tocoo()
    parts = [(train.user_nodes[pairs.row], train.item_nodes[pairs.col])]
    weights = [1.0]
    if kg_weight > 0:
        parts += train.relations.values()
        weights += relation_weights(train, kg_weight, balance).values()
    source, target = (np.concatenate(ends) for ends in zip(*parts, strict=True))
    weight = np.repeat(np.array(weights, np.float32), [len(ends[0]) for ends in parts])
    weight[: pairs.nnz] *= pairs.data  # below 1 for interactions down-weighted as noise
    ends = (np.minimum(source, target), np.maximum(source, target))
    return sp.csr_matrix((weight, ends), shape=(train.n_nodes, train.n_nodes))
