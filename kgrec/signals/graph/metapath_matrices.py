"""Meta-paths as matrices: relatedness of items, or of users, through one relationship type or a pair of types.

A meta-path connects two items (or two users)

    directly                          film - SEQUEL - film, user - FRIEND - user
    through a shared node             film - DIRECTED_BY - person - DIRECTED_BY - film
    by two relationship types         film - DIRECTED_BY - person - STARRING - film
    or through a more distant node    film - DIRECTED_BY - person - FROM - country - FROM - person - DIRECTED_BY - film

It leads from a user to an item as

    user → item of the history → (shared node) → item          side "items"
    user → (shared node) → other user → item                   side "users"

"Members" are the items or the users that a path connects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
from kgrec.data.schema_parts import EdgeType
from kgrec.data.snapshot import GraphSnapshot

MAX_SEGMENT_LINKS: Final = 2_000_000
"""A segment of two relationships is left out if it has more links than this (24 MB)."""
MAX_RELATED_MEMBERS: Final = 5_000_000
"""Two segments are not joined if they relate more pairs of members than this, since they discriminate little."""
MAX_SEGMENT_PAIRS: Final = 100
"""Pairs of segments that are joined, at most."""

Side = Literal["items", "users"]


@dataclass(frozen=True)
class MetaPath:
    """Relatedness of items, or of users, along a meta-path, as a product of two sparse matrices.

    Attributes:
        edge_types: the relationship types from one end to the other; the shared node is half-way.
        side: what the path relates, "items" or "users".
        left, right: float32 CSR [n, k]; relatedness is left @ rightᵀ without its diagonal. n is n_items or n_users; k
            is the number of shared nodes (twice that for a pair of types, which is walked in both directions), or n
            for direct relationships.
    """

    edge_types: tuple[EdgeType, ...]
    side: Side
    left: sp.csr_matrix
    right: sp.csr_matrix

    @property
    def itself(self) -> FloatArray:
        """The diagonal of left @ rightᵀ, float32 [n]: relatedness of a member to itself, to be subtracted."""
        return _row_sums(self.left.multiply(self.right))

    def related(self, num: int, others: IntArray) -> FloatArray:
        """Return the relatedness of members `others` [n others] to member `num`, float32 [n others]; 0 to itself."""
        ends = (
            (self.left[others], self.right[[num]]) if self.side == "items" else (self.right[others], self.left[[num]])
        )
        return np.asarray((ends[0] @ ends[1].T).toarray()[:, 0] * (others != num))


def build_metapaths(train: GraphSnapshot, degree_exponent: float, *, pairs: bool = False) -> list[MetaPath]:
    """Return the meta-paths of every relationship type of items or users, and of pairs of types.

    Relatedness through shared nodes is the cosine of the nodes of two members, weighted by degree^-degree_exponent.
    Between users it is scaled to sum to 1 over all other users, so that a path to an item is the share of related users
    who chose it, independent of the size of the group. Direct relatedness is 1 / √(degrees of both). Types with the
    same links (a relationship and its inverse) give one path.

    Args:
        train: the train snapshot.
        degree_exponent: 0 gives all shared nodes the same weight; 1 divides a node's weight by its degree.
        pairs: whether to include paths of two relationship types.
    """
    return [
        *_paths_between("items", train, train.item_nodes, degree_exponent, pairs),
        *_paths_between("users", train, train.user_nodes, degree_exponent, pairs),
    ]


def single_metapaths(train: GraphSnapshot, degree_exponent: float) -> list[MetaPath]:
    """Return the meta-path of every single relationship type of items or users, without removing duplicates."""
    sides: tuple[tuple[Side, IntArray], ...] = (("items", train.item_nodes), ("users", train.user_nodes))
    return [
        _single(side, segment, members, degree_exponent)
        for side, members in sides
        for segment in segments(train, members)
    ]


def shared_nodes(train: GraphSnapshot, edge_types: Sequence[EdgeType], a: int, b: int) -> IntArray:
    """Return the nodes half-way between nodes a and b, int64 graph-wide numbers, by degree; none for a direct path."""
    half = len(edge_types) // 2
    if half == 0:
        return np.empty(0, np.int64)
    shared = np.intersect1d(_reached(train, edge_types[:half], a), _reached(train, edge_types[: half - 1 : -1], b))
    ends = np.concatenate([end for edge_type in edge_types[half - 1 : half + 1] for end in train.relations[edge_type]])
    degree = np.bincount(ends, minlength=train.n_nodes)
    return np.asarray(shared[np.argsort(degree[shared], kind="stable")])


def _reached(train: GraphSnapshot, edge_types: Sequence[EdgeType], node: int) -> IntArray:
    nodes = np.array([node])
    for edge_type in edge_types:
        source, target = train.relations[edge_type]
        nodes = np.union1d(target[np.isin(source, nodes)], source[np.isin(target, nodes)])
    return nodes


def _paths_between(
    side: Side, train: GraphSnapshot, members: IntArray, degree_exponent: float, pairs: bool
) -> list[MetaPath]:
    """Return the meta-paths between `members` (graph-wide numbers of items or users)."""
    near = distinct(segments(train, members))
    paths = [_single(side, segment, members, degree_exponent) for segment in near]
    if pairs:
        paths += [_through(side, segment, degree_exponent) for segment in extend(train, members, near)]
        paths += [_across(side, a, b, degree_exponent) for a, b in joinable(near)]
    return [path for path in paths if _relates_others(path)]


def _relates_others(path: MetaPath) -> bool:
    every = np.ones(path.left.shape[0])
    total = (every @ path.left) @ (every @ path.right)
    # The tolerance covers rounding of the subtraction.
    return bool(total - path.itself.sum(dtype=np.float64) > 1e-5 * total)


def _single(side: Side, segment: Segment, members: IntArray, degree_exponent: float) -> MetaPath:
    return _direct(side, segment, members) if segment.direct else _through(side, segment, degree_exponent)


def _direct(side: Side, segment: Segment, members: IntArray) -> MetaPath:
    """Return the path between members that are linked directly."""
    links = segment.links[:, members]
    scale = sp.diags(_row_sums(links).clip(min=1) ** -0.5)
    left = sp.csr_matrix(scale @ links @ scale, dtype=np.float32)
    return MetaPath(segment.edge_types, side, left, sp.identity(len(members), dtype=np.float32, format="csr"))


def _through(side: Side, segment: Segment, degree_exponent: float) -> MetaPath:
    """Return the path between members that a segment leads to the same node."""
    links = _degree_weighted(segment.links, degree_exponent)
    path = MetaPath((*segment.edge_types, *segment.edge_types[::-1]), side, links, links)
    return _mean_over_others(path) if side == "users" else path


def _across(side: Side, a: Segment, b: Segment, degree_exponent: float) -> MetaPath:
    """Return the path between members that two different segments lead to the same node, in both directions."""
    both = _degree_weighted(sp.vstack([a.links, b.links], format="csr"), degree_exponent)
    first, second = both[: a.links.shape[0]], both[a.links.shape[0] :]
    met = (np.diff(first.tocsc().indptr) > 0) & (np.diff(second.tocsc().indptr) > 0)
    first, second = first[:, met], second[:, met]
    left, right = sp.hstack([first, second], format="csr"), sp.hstack([second, first], format="csr")
    path = MetaPath((*a.edge_types, *b.edge_types), side, left, right)
    return _mean_over_others(path) if side == "users" else path


def _degree_weighted(every: sp.csr_matrix, degree_exponent: float) -> sp.csr_matrix:
    """Return links to shared nodes, weighted by degree, with rows of length 1: float32 CSR [n, shared nodes]."""
    links = every.tocsc()
    degree = np.diff(links.indptr)
    links, degree = links[:, degree > 1], degree[degree > 1]
    weighted = links @ sp.diags(degree ** (-degree_exponent / 2), shape=(len(degree), len(degree)))
    length = np.sqrt(_row_sums(weighted.multiply(weighted)))
    return sp.csr_matrix(sp.diags(1 / np.where(length > 0, length, 1)) @ weighted, dtype=np.float32)


def _mean_over_others(path: MetaPath) -> MetaPath:
    """Return the path with relatedness scaled to sum to 1 over the others of each row; rows without others are 0."""
    total = path.left @ (path.right.T @ np.ones(path.right.shape[0], np.float32)) - path.itself
    # A total below 1e-5 is rounding error of the subtraction.
    scale = np.where(total > 1e-5, 1 / np.maximum(total, 1e-5), 0).astype(np.float32)
    return replace(path, left=(sp.diags(scale) @ path.left).tocsr())


def _row_sums(matrix: sp.csr_matrix) -> FloatArray:
    return np.asarray(matrix.sum(axis=1), dtype=np.float32).ravel()


@dataclass(frozen=True)
class Segment:
    """Meta-path segment: half of a meta-path, from members (items or users) to the node in its middle.

    Attributes:
        edge_types: the relationship types, in order.
        links: float32 CSR [n members, n_nodes] of ones: the nodes that each member reaches.
        direct: whether the segment leads to other members.
    """

    edge_types: tuple[EdgeType, ...]
    links: sp.csr_matrix
    direct: bool = False

    @property
    def degree(self) -> IntArray:
        """The number of members that reach each node, int64 [n_nodes]."""
        return np.bincount(self.links.indices, minlength=self.links.shape[1])


def segments(train: GraphSnapshot, members: IntArray) -> list[Segment]:
    """Return the segment of each relationship type of `members` (graph-wide numbers)."""
    number = np.full(train.n_nodes, -1)
    number[members] = np.arange(len(members))
    candidates = [_segment(edge_type, ends, number, len(members)) for edge_type, ends in train.relations.items()]
    return [segment for segment in candidates if segment.links.nnz]


def extend(train: GraphSnapshot, members: IntArray, near: list[Segment]) -> list[Segment]:
    """Return the segments in `near` extended by each relationship type that no member has."""
    extended = []
    for edge_type, (source, target) in train.relations.items():
        if np.isin(source, members).any() or np.isin(target, members).any():
            continue
        step = _ones(np.r_[source, target], np.r_[target, source], (train.n_nodes, train.n_nodes))
        onward = np.diff(step.indptr)
        for segment in near:
            if 0 < segment.degree @ onward <= MAX_SEGMENT_LINKS:
                links = segment.links @ step
                links.data[:] = 1
                extended.append(Segment((*segment.edge_types, edge_type), links))
    return distinct(extended)


def joinable(near: list[Segment]) -> list[tuple[Segment, Segment]]:
    """Return the pairs of segments with shared end nodes, those with the most first, at most `MAX_SEGMENT_PAIRS`."""
    if len(near) < 2:
        return []
    degree = sp.csr_matrix(np.stack([segment.degree for segment in near]).astype(np.float64))
    related = sp.triu(degree @ degree.T, 1).toarray()
    nodes = (degree.sign() @ degree.sign().T).toarray()
    first, second = np.nonzero((related > 0) & (related <= MAX_RELATED_MEMBERS))
    order = np.argsort(-nodes[first, second], kind="stable")[:MAX_SEGMENT_PAIRS]
    return [(near[a], near[b]) for a, b in zip(first[order], second[order], strict=True)]


def _segment(edge_type: EdgeType, ends: tuple[IntArray, IntArray], number: IntArray, n: int) -> Segment:
    """Return the segment of a relationship type: links between members if there are any, else to other nodes."""
    own, other = np.concatenate(ends), np.concatenate(ends[::-1])
    own, other = own[own != other], other[own != other]
    direct = bool(np.any((number[own] >= 0) & (number[other] >= 0)))
    kept = (number[own] >= 0) & ((number[other] >= 0) == direct)
    return Segment((edge_type,), _ones(number[own[kept]], other[kept], (n, len(number))), direct)


def distinct(candidates: list[Segment]) -> list[Segment]:
    """Return the segments without duplicates: of segments with the same links, the first one."""
    first: dict[tuple[bytes, bytes], Segment] = {}
    for segment in candidates:
        first.setdefault((segment.links.indptr.tobytes(), segment.links.indices.tobytes()), segment)
    return list(first.values())


def _ones(row: IntArray, column: IntArray, shape: tuple[int, int]) -> sp.csr_matrix:
    links = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)
    links.sum_duplicates()
    links.data[:] = 1
    return links
