"""Legs of typed paths: what relationships lead an item, or a user, to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import IntArray
from kgrec.data.schema import EdgeType
from kgrec.data.snapshot import GraphSnapshot

MAX_SEGMENT_LINKS: Final = 2_000_000
"""A leg through two relationships that leads to more nodes than this in all is left out (24 MB)."""
MAX_RELATED_MEMBERS: Final = 5_000_000
"""Two legs that relate more members than this say little of any."""
MAX_SEGMENT_PAIRS: Final = 100


@dataclass(frozen=True)
class Segment:
    """Members (items or users) and the nodes that relationships lead them to.

    Attributes:
        edge_types: the relationships, one after the other.
        links: float32 CSR [n members, n_nodes] of ones.
        direct: whether it leads to other members.
    """

    edge_types: tuple[EdgeType, ...]
    links: sp.csr_matrix
    direct: bool = False

    @property
    def degree(self) -> IntArray:
        """Return how many members the leg leads to each node, int64 [n_nodes]."""
        return np.bincount(self.links.indices, minlength=self.links.shape[1])


def segments(train: GraphSnapshot, members: IntArray) -> list[Segment]:
    """Return the leg of each relationship type that touches `members` (graph-wide numbers)."""
    number = np.full(train.n_nodes, -1)
    number[members] = np.arange(len(members))
    candidates = [_segment(edge_type, ends, number, len(members)) for edge_type, ends in train.relations.items()]
    return [segment for segment in candidates if segment.links.nnz]


def extend(train: GraphSnapshot, members: IntArray, near: list[Segment]) -> list[Segment]:
    """Return the legs that lead on from `near` by a relationship type that touches no member."""
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
    """Return the pairs of segments that meet in a node, those that meet in most first, at most `MAX_SEGMENT_PAIRS`."""
    if len(near) < 2:
        return []
    degree = sp.csr_matrix(np.stack([segment.degree for segment in near]).astype(np.float64))
    related = sp.triu(degree @ degree.T, 1).toarray()
    nodes = (degree.sign() @ degree.sign().T).toarray()
    first, second = np.nonzero((related > 0) & (related <= MAX_RELATED_MEMBERS))
    order = np.argsort(-nodes[first, second], kind="stable")[:MAX_SEGMENT_PAIRS]
    return [(near[a], near[b]) for a, b in zip(first[order], second[order], strict=True)]


def _segment(edge_type: EdgeType, ends: tuple[IntArray, IntArray], number: IntArray, n: int) -> Segment:
    """Return the links between members if there are any, else those to other nodes."""
    own, other = np.concatenate(ends), np.concatenate(ends[::-1])
    own, other = own[own != other], other[own != other]
    direct = bool(np.any((number[own] >= 0) & (number[other] >= 0)))
    kept = (number[own] >= 0) & ((number[other] >= 0) == direct)
    return Segment((edge_type,), _ones(number[own[kept]], other[kept], (n, len(number))), direct)


def distinct(candidates: list[Segment]) -> list[Segment]:
    """Return the first leg of those with the same links."""
    first: dict[tuple[bytes, bytes], Segment] = {}
    for segment in candidates:
        first.setdefault((segment.links.indptr.tobytes(), segment.links.indices.tobytes()), segment)
    return list(first.values())


def _ones(row: IntArray, column: IntArray, shape: tuple[int, int]) -> sp.csr_matrix:
    links = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)
    links.sum_duplicates()
    links.data[:] = 1
    return links
