"""Typed paths: how two items, or two users, are related through one type of relationship.

A path joins two items (or two users) either directly (film - SEQUEL - film, user - FRIEND - user) or through a node
that both have (film - DIRECTED_BY - person - DIRECTED_BY - film). From a user to an item that gives

    user → item of the history → (shared node) → item          side "items"
    user → (shared node) → other user → item                   side "users"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.schema import EdgeType
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray

Side = Literal["items", "users"]


@dataclass(frozen=True)
class TypedPath:
    """Relatedness of items, or of users, through one edge type, as a product of two sparse matrices.

    Attributes:
        edge_type: the relationship.
        side: what it relates.
        left, right: float32 CSR [n, k]; relatedness is left @ rightᵀ without its diagonal. n is n_items or n_users,
            k the number of shared nodes, or n for direct relationships.
    """

    edge_type: EdgeType
    side: Side
    left: sp.csr_matrix
    right: sp.csr_matrix

    @property
    def itself(self) -> FloatArray:
        """Return the diagonal of left @ rightᵀ, float32 [n], which is no relation to another."""
        return _row_sums(self.left.multiply(self.right))

    def related(self, num: int, others: IntArray) -> FloatArray:
        """Return the relatedness of `others` [n others] to `num`, float32 [n others]; 0 to itself."""
        ends = (
            (self.left[others], self.right[[num]]) if self.side == "items" else (self.right[others], self.left[[num]])
        )
        return np.asarray((ends[0] @ ends[1].T).toarray()[:, 0] * (others != num))


def typed_paths(train: GraphSnapshot, rarity: float) -> list[TypedPath]:
    """Return the paths through every relationship type that touches items or users, in the order of the types.

    Relatedness through shared nodes is the cosine of what two have, each node weighted by degree^-rarity. Between
    users it is scaled to sum to 1 over all others, so that a path to an item is the share of like users who chose
    it: else a large group would count for its size. Direct relatedness is 1 / √(degrees of both).

    Args:
        train: the graph.
        rarity: 0 makes all shared nodes count the same, 1 makes a node's weight fall as its degree rises.
    """
    paths = []
    for edge_type, ends in train.relations.items():
        paths += _paths_between("items", edge_type, ends, train.item_nodes, train.n_nodes, rarity)
        paths += _paths_between("users", edge_type, ends, train.user_nodes, train.n_nodes, rarity)
    return paths


def shared_nodes(train: GraphSnapshot, edge_type: EdgeType, a: int, b: int) -> IntArray:
    """Return the nodes that `edge_type` links to both nodes a and b, int64 graph-wide numbers, rarest first."""
    source, target = train.relations[edge_type]
    found = np.intersect1d(_linked(source, target, a), _linked(source, target, b))
    degree = np.bincount(np.r_[source, target], minlength=train.n_nodes)
    return np.asarray(found[np.argsort(degree[found], kind="stable")])


def _linked(source: IntArray, target: IntArray, node: int) -> IntArray:
    return np.union1d(target[source == node], source[target == node])


def _paths_between(
    side: Side, edge_type: EdgeType, ends: tuple[IntArray, IntArray], members: IntArray, n_nodes: int, rarity: float
) -> list[TypedPath]:
    """Return the path of one edge type between `members` (graph-wide numbers of items or users), if there is one."""
    number = np.full(n_nodes, -1)
    number[members] = np.arange(len(members))
    source, target = ends
    inside = (number[source] >= 0).astype(int) + (number[target] >= 0)
    both = inside == 2
    if np.any(both):
        left = _links(number[source[both]], number[target[both]], len(members))
        right = sp.identity(len(members), dtype=np.float32, format="csr")
    else:
        one = inside == 1
        from_source = number[source[one]] >= 0
        own = np.where(from_source, source[one], target[one])
        other = np.where(from_source, target[one], source[one])
        left = right = _rarity_weighted(number[own], other, (len(members), n_nodes), rarity)
    if left.nnz == 0:
        return []
    path = TypedPath(edge_type, side, left, right)
    return [_mean_over_others(path) if side == "users" and not np.any(both) else path]


def _links(a: IntArray, b: IntArray, n: int) -> sp.csr_matrix:
    """Return direct links, the same both ways, divided by the root of both degrees: float32 CSR [n, n]."""
    a, b = a[a != b], b[a != b]
    links = _ones(np.r_[a, b], np.r_[b, a], (n, n))
    scale = sp.diags(_row_sums(links).clip(min=1) ** -0.5)
    return sp.csr_matrix(scale @ links @ scale, dtype=np.float32)


def _rarity_weighted(own: IntArray, other: IntArray, shape: tuple[int, int], rarity: float) -> sp.csr_matrix:
    """Return links to shared nodes, weighted by rarity, rows of length 1: float32 CSR [n, shared nodes]."""
    links = _ones(own, other, shape).tocsc()
    degree = np.diff(links.indptr)
    links, degree = links[:, degree > 1], degree[degree > 1]
    weighted = links @ sp.diags(degree ** (-rarity / 2), shape=(len(degree), len(degree)))
    length = np.sqrt(_row_sums(weighted.multiply(weighted)))
    return sp.csr_matrix(sp.diags(1 / np.where(length > 0, length, 1)) @ weighted, dtype=np.float32)


def _mean_over_others(path: TypedPath) -> TypedPath:
    """Scale a path's relatedness to sum to 1 over the others of each row; rows without others become 0."""
    total = path.left @ (path.right.T @ np.ones(path.right.shape[0], np.float32)) - path.itself
    # Below this, what is left after the subtraction is rounding.
    scale = np.where(total > 1e-5, 1 / np.maximum(total, 1e-5), 0).astype(np.float32)
    return TypedPath(path.edge_type, path.side, (sp.diags(scale) @ path.left).tocsr(), path.right)


def _ones(row: IntArray, column: IntArray, shape: tuple[int, int]) -> sp.csr_matrix:
    links = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)
    links.sum_duplicates()
    links.data[:] = 1
    return links


def _row_sums(matrix: sp.csr_matrix) -> npt.NDArray[np.float32]:
    return np.asarray(matrix.sum(axis=1), dtype=np.float32).ravel()
