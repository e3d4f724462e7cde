"""How much each relationship type says about who chooses what, read off the train graph."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import DoubleArray
from kgrec.data.schema_parts import EdgeType
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.graph.metapath_matrices import MetaPath, single_metapaths

MAX_LIFT_BEHAVIORS: Final = 500_000
"""Behaviors that lift is measured on; of more, random users' (or items') are taken."""
PRIOR_PAIRS: Final = 10.0
"""Pairs at chance level that every relationship type is credited with, so that two or three pairs prove little."""
LIFT_BOUNDS: Final = (0.1, 10.0)


def relation_weights(train: GraphSnapshot, kg_weight: float, balance: float) -> dict[EdgeType, float]:
    """Return the weight of an edge of every type that is no behavior.

    Args:
        train: the graph.
        kg_weight: the mean weight of these edges.
        balance: 0 gives all types the same weight, 1 makes it proportional to `informativeness`.
    """
    if balance == 0 or not train.relations:
        return dict.fromkeys(train.relations, kg_weight)
    factor = {edge_type: known**balance for edge_type, known in informativeness(train).items()}
    counts = [len(source) for source, _ in train.relations.values()]
    mean = float(np.average(list(factor.values()), weights=counts)) if sum(counts) else 1.0
    return {edge_type: kg_weight * value / mean for edge_type, value in factor.items()}


def informativeness(train: GraphSnapshot) -> dict[EdgeType, float]:
    """Return how many times likelier than by chance items are chosen together if a relationship type relates them.

    Between users: how many times likelier they choose the same. Chance is what the popularity of items and the
    activity of users alone would give. A type that relates neither items nor users with one another has 1; all values
    are within `LIFT_BOUNDS`.
    """
    lifts: dict[EdgeType, list[float]] = {edge_type: [] for edge_type in train.relations}
    history = train.interactions
    sides = {"items": _Choices(history.T.tocsr()), "users": _Choices(history)}
    for path in single_metapaths(train, degree_exponent=1.0):
        lifts[path.edge_types[0]].append(sides[path.side].lift(path))
    return {edge_type: float(np.mean(values or [1.0])) for edge_type, values in lifts.items()}


class _Choices:
    """Cosines between rows of a history, and what chance alone would make of them.

    Chance is the configuration model: rows of a and b entries share a · b · Σ c (c − 1) / (Σ c)² columns, c being the
    columns' entries. The cosine divides by √(a · b), so its expectation is a product of one number of each row.
    """

    def __init__(self, history: sp.csr_matrix) -> None:
        """Take which row chose which column, CSR [n, m]."""
        chosen = _sample(history)
        columns = np.bincount(chosen.indices, minlength=chosen.shape[1]).astype(float)
        root = np.sqrt(np.diff(chosen.indptr))
        rows = np.repeat(1 / np.maximum(root, 1), np.diff(chosen.indptr))
        self.cosines = sp.csr_matrix((rows, chosen.indices, chosen.indptr), chosen.shape)
        total = max(columns.sum(), 1)
        self.expected: DoubleArray = root * np.sqrt(columns @ np.maximum(columns - 1, 0)) / total

    def lift(self, path: MetaPath) -> float:
        """Return the mean cosine of related rows over the one expected, weighted by relatedness."""
        left, right = path.left.T.tocsr(), path.right.T.tocsr()
        observed = (left @ self.cosines).multiply(right @ self.cosines).sum()
        observed -= path.itself @ np.sign(self.expected)
        chance = (left @ self.expected) @ (right @ self.expected) - path.itself @ self.expected**2
        prior = PRIOR_PAIRS * self.expected.mean() ** 2
        return float(np.clip((observed + prior) / (chance + prior), *LIFT_BOUNDS)) if prior > 0 else 1.0


def _sample(history: sp.csr_matrix) -> sp.csr_matrix:
    """Return a history with at most `MAX_LIFT_BEHAVIORS` entries, of random columns: CSR [n, columns kept]."""
    if history.nnz <= MAX_LIFT_BEHAVIORS:
        return history
    columns = history.tocsc()
    order = np.random.default_rng(0).permutation(history.shape[1])
    kept = order[np.cumsum(np.diff(columns.indptr)[order]) <= MAX_LIFT_BEHAVIORS]
    return columns[:, kept].tocsr()
