"""Weights of relationship types by their informativeness about interactions, measured on the train graph."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import DoubleArray
from kgrec.data.schema_parts import EdgeType
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.graph.metapath_matrices import MetaPath, single_metapaths

MAX_LIFT_BEHAVIORS: Final = 500_000
"""Interactions that lift is measured on, at most; of more, those of random users (or items) are used."""
PRIOR_PAIRS: Final = 10.0
"""Prior of a lift, in pairs at chance level, so that the lift of a type with few pairs stays near 1."""
LIFT_BOUNDS: Final = (0.1, 10.0)
"""Smallest and largest lift of a path."""


def relation_weights(train: GraphSnapshot, kg_weight: float, balance: float) -> dict[EdgeType, float]:
    """Return the edge weight of every relationship type other than behaviors.

    Args:
        train: the train snapshot.
        kg_weight: the mean weight of these edges.
        balance: exponent of `informativeness` in the weight; 0 gives all types the same weight.
    """
    if balance == 0 or not train.relations:
        return dict.fromkeys(train.relations, kg_weight)
    factor = {edge_type: known**balance for edge_type, known in informativeness(train).items()}
    counts = [len(source) for source, _ in train.relations.values()]
    mean = float(np.average(list(factor.values()), weights=counts)) if sum(counts) else 1.0
    return {edge_type: kg_weight * value / mean for edge_type, value in factor.items()}


def informativeness(train: GraphSnapshot) -> dict[EdgeType, float]:
    """Return the lift of every relationship type: how much likelier than chance related items are chosen together.

    For users: how much likelier related users choose the same items. Chance follows from the popularity of items and
    the activity of users. A type that relates neither items nor users has the lift 1. All values are within
    `LIFT_BOUNDS`.
    """
    lifts: dict[EdgeType, list[float]] = {edge_type: [] for edge_type in train.relations}
    history = train.interactions
    sides = {"items": _Choices(history.T.tocsr()), "users": _Choices(history)}
    for path in single_metapaths(train, degree_exponent=1.0):
        lifts[path.edge_types[0]].append(sides[path.side].lift(path))
    return {edge_type: float(np.mean(values or [1.0])) for edge_type, values in lifts.items()}


class _Choices:
    """Cosines between rows of a history, and their expectation by chance.

    Chance is the configuration model: rows with a and b entries share a · b · Σ c (c − 1) / (Σ c)² columns, where c are
    the numbers of entries of the columns. The cosine divides by √(a · b), so its expectation is a product of one number
    per row.
    """

    def __init__(self, history: sp.csr_matrix) -> None:
        """Compute the cosines of a history, CSR [n, m] of rows and the columns they chose."""
        chosen = _sample(history)
        columns = np.bincount(chosen.indices, minlength=chosen.shape[1]).astype(float)
        root = np.sqrt(np.diff(chosen.indptr))
        rows = np.repeat(1 / np.maximum(root, 1), np.diff(chosen.indptr))
        self.cosines = sp.csr_matrix((rows, chosen.indices, chosen.indptr), chosen.shape)
        total = max(columns.sum(), 1)
        self.expected: DoubleArray = root * np.sqrt(columns @ np.maximum(columns - 1, 0)) / total

    def lift(self, path: MetaPath) -> float:
        """Return the mean cosine of related rows, weighted by relatedness, divided by its expectation."""
        left, right = path.left.T.tocsr(), path.right.T.tocsr()
        observed = (left @ self.cosines).multiply(right @ self.cosines).sum()
        observed -= path.itself @ np.sign(self.expected)
        chance = (left @ self.expected) @ (right @ self.expected) - path.itself @ self.expected**2
        prior = PRIOR_PAIRS * self.expected.mean() ** 2
        return float(np.clip((observed + prior) / (chance + prior), *LIFT_BOUNDS)) if prior > 0 else 1.0


def _sample(history: sp.csr_matrix) -> sp.csr_matrix:
    """Return a history sampled by columns to at most `MAX_LIFT_BEHAVIORS` entries: CSR [n, columns kept]."""
    if history.nnz <= MAX_LIFT_BEHAVIORS:
        return history
    columns = history.tocsc()
    order = np.random.default_rng(0).permutation(history.shape[1])
    kept = order[np.cumsum(np.diff(columns.indptr)[order]) <= MAX_LIFT_BEHAVIORS]
    return columns[:, kept].tocsr()
