"""Legs of typed paths: what relationships lead an item, or a user, to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec.data.schema import EdgeType
from kgrec.data.snapshot import GraphSnapshot, IntArray

MAX_LINKS: Final = 2_000_000
"""A leg through two relationships that leads to more nodes than this in all is left out (24 MB)."""
MAX_RELATED: Final = 5_000_000
"""Two legs that relate more members than this say little of any."""
MAX_PAIRS: Final = 100


@dataclass(frozen=True)
class Leg:
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


def legs(train: GraphSnapshot, members: IntArray) -> list[Leg]:
    """Return the leg of each relationship type that touches `members` (graph-wide numbers)."""
    number = np.full(train.n_nodes, -1)
    number[members] = np.arange(len(members))
    found = [_leg(edge_type, ends, number, len(members)) for edge_type, ends in train.relations.items()]
    return [leg for leg in found if leg.links.nnz]


def further_legs(train: GraphSnapshot, members: IntArray, near: list[Leg]) -> list[Leg]:
    """Return the legs that lead on from `near` by a relationship type that touches no member."""
    found = []
    for edge_type, (source, target) in train.relations.items():
        if np.isin(source, members).any() or np.isin(target, members).any():
            continue
        step = _ones(np.r_[source, target], np.r_[target, source], (train.n_nodes, train.n_nodes))
        onward = np.diff(step.indptr)
        for leg in near:
            if 0 < leg.degree @ onward <= MAX_LINKS:
                links = leg.links @ step
                links.data[:] = 1
                found.append(Leg((*leg.edge_types, edge_type), links))
    return distinct(found)


def meeting(near: list[Leg]) -> list[tuple[Leg, Leg]]:
    """Return the pairs of legs that meet in a node, at most `MAX_PAIRS`, those that meet in most nodes first."""
    if len(near) < 2:
        return []
    degree = sp.csr_matrix(np.stack([leg.degree for leg in near]).astype(np.float64))
    related = sp.triu(degree @ degree.T, 1).toarray()
    nodes = (degree.sign() @ degree.sign().T).toarray()
    first, second = np.nonzero((related > 0) & (related <= MAX_RELATED))
    order = np.argsort(-nodes[first, second], kind="stable")[:MAX_PAIRS]
    return [(near[a], near[b]) for a, b in zip(first[order], second[order], strict=True)]


def _leg(edge_type: EdgeType, ends: tuple[IntArray, IntArray], number: IntArray, n: int) -> Leg:
    """Return the links between members if there are any, else those to other nodes."""
    own, other = np.concatenate(ends), np.concatenate(ends[::-1])
    own, other = own[own != other], other[own != other]
    direct = bool(np.any((number[own] >= 0) & (number[other] >= 0)))
    kept = (number[own] >= 0) & ((number[other] >= 0) == direct)
    return Leg((edge_type,), _ones(number[own[kept]], other[kept], (n, len(number))), direct)


def distinct(found: list[Leg]) -> list[Leg]:
    """Return the first leg of those with the same links."""
    first: dict[tuple[bytes, bytes], Leg] = {}
    for leg in found:
        first.setdefault((leg.links.indptr.tobytes(), leg.links.indices.tobytes()), leg)
    return list(first.values())


def _ones(row: IntArray, column: IntArray, shape: tuple[int, int]) -> sp.csr_matrix:
    links = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)
    links.sum_duplicates()
    links.data[:] = 1
    return links
