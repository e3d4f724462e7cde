"""Softmax regression over all items on features that are sparse but for a part that is the same for all users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.signals.graph.held_out_cases import Cases

MAX_ITERATIONS: Final = 50
"""Iterations of L-BFGS-B, at most."""
MAX_LOG_ODDS: Final = 20.0
"""The largest value of a feature multiplies the odds of an item by at most e to this power (5e8)."""
MAX_EXPONENT: Final = 500.0
"""Bound of exponents, against overflow."""


class SparseSoftmax:
    """Features of the (case, item) cells at which any differs from its base, and the withheld items.

    A score is base[item] @ weights, plus values @ weights in a cell. Items that a case has seen do not compete.

    Attributes:
        base: float64 [n_items, f], the part of the features that is the same in all cases.
        values: float64 CSR [cells, f], what a cell adds to it.
        row, item: int64 [cells], case and item of each cell, in ascending order.
        wanted, seen: bool [cells], withheld items, and items that are left; every one is a cell.
    """

    base: DoubleArray
    values: sp.csr_matrix
    row: IntArray
    item: IntArray
    wanted: BoolArray
    seen: BoolArray

    def __init__(self, base: DoubleArray, features: Sequence[sp.csr_matrix], cases: Cases) -> None:
        """Collect the cells.

        Args:
            base: float64 [n_items, f].
            features: for each feature what it adds to its base, CSR [cases, n_items].
            cases: the cases.
        """
        self.base, n_items = base, len(base)
        parts = [_cells(matrix, n_items) for matrix in (*features, cases.wanted, cases.seen)]
        cell, place = np.unique(np.concatenate(parts), return_inverse=True)
        ends = np.cumsum([len(part) for part in parts])
        self.row, self.item = np.divmod(cell, n_items)
        self.wanted, self.seen = (np.zeros(len(cell), bool) for _ in range(2))
        self.wanted[place[ends[-3] : ends[-2]]] = True
        self.seen[place[ends[-2] :]] = True
        column = np.repeat(np.arange(len(features)), [matrix.nnz for matrix in features])
        data = np.concatenate([np.empty(0), *(matrix.data for matrix in features)])
        shape = (len(cell), len(features))
        self.values = sp.csr_matrix((data, (place[: len(data)], column)), shape=shape, dtype=np.float64)
        self._weight = cases.weights.astype(np.float64)
        self._row_weight = self._weight * np.diff(cases.wanted.indptr)

    @property
    def bounds(self) -> DoubleArray:
        """The largest weight of each feature, float64 [f]; 0 for a feature that is 0 everywhere."""
        added = self.values.tocsc()
        largest = abs(added).max(axis=0).toarray()[0] + np.abs(self.base).max(axis=0)
        return np.where(largest > 0, MAX_LOG_ODDS / np.maximum(largest, 1e-30), 0)

    def learn(self, regularization: float) -> DoubleArray:
        """Return the weights, float64 [f] from 0 to `bounds`, that maximize the likelihood of the withheld items.

        Args:
            regularization: strength of the L2 penalty on weight · standard deviation of the feature.
        """
        from scipy.optimize import Bounds, minimize

        # Features differ by orders of magnitude; without scaling the optimizer stops before the optimum.
        scale = 1 / np.maximum(self._deviation, 1e-12)
        wanted = self.wanted_sums

        def objective(scaled: DoubleArray) -> tuple[float, DoubleArray]:
            loss, gradient = self._loss(scaled * scale, wanted)
            return loss + regularization / 2 * float(scaled @ scaled), gradient * scale + regularization * scaled

        bounds = self.bounds / scale
        start = np.minimum(0.01, bounds)
        found = minimize(
            objective, start, jac=True, method="L-BFGS-B", bounds=Bounds(0, bounds), options={"maxiter": MAX_ITERATIONS}
        )
        return np.asarray(found.x * scale)

    def scores(self, weights: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the scores of items by their base, float64 [n_items], and of the cells, float64 [cells]."""
        base = self.base @ weights
        return base, base[self.item] + self.values @ weights

    def _loss(self, weights: DoubleArray, wanted: DoubleArray) -> tuple[float, DoubleArray]:
        """Return the cross-entropy of the withheld items and its gradient [f]."""
        base, cells = self.scores(weights)
        top = base.max()
        by_base = np.exp(base - top)
        by_cell = np.where(self.seen, 0, np.exp(np.minimum(cells - top, MAX_EXPONENT)))
        more = by_cell - by_base[self.item]
        n_cases = len(self._weight)
        total = np.maximum(by_base.sum() + np.bincount(self.row, more, n_cases), 1e-300)
        share = self._row_weight / total
        loss = self._row_weight @ (np.log(total) + top) - wanted @ weights
        of_item = by_base * share.sum() + np.bincount(self.item, more * share[self.row], len(base))
        return float(loss), self.values.T @ (by_cell * share[self.row]) + of_item @ self.base - wanted

    @property
    def wanted_sums(self) -> DoubleArray:
        """The weighted sum of the features over the withheld items, float64 [f]."""
        weight = self.wanted * self._weight[self.row]
        return np.asarray(self.values.T @ weight + np.bincount(self.item, weight, len(self.base)) @ self.base)

    @property
    def _deviation(self) -> DoubleArray:
        """The standard deviation of each feature over all cases and items, about, float64 [f]."""
        squares = np.asarray(self.values.power(2).sum(axis=0)).ravel() / (len(self.base) * max(len(self._weight), 1))
        return np.asarray(np.sqrt(self.base.var(axis=0) + squares))


def _cells(matrix: sp.csr_matrix, n_items: int) -> IntArray:
    """Return the number row · n_items + column of each entry, int64 [nnz]."""
    return np.repeat(np.arange(matrix.shape[0]) * n_items, np.diff(matrix.indptr)) + matrix.indices
