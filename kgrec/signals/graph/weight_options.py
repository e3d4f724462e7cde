"""Learned weights of features against multiples of them and against each feature by itself, by the ranks they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.metrics.ranking import K
from kgrec.signals.graph.held_out_cases import Cases
from kgrec.signals.graph.sparse_softmax import SparseSoftmax

CHECKED_OF: Final = 3
"""Of so many users one is kept to check the best option on; weights are learned from the others."""
MIN_CHECKED: Final = 20
"""Minimum number of cases to check an option on."""
FACTORS: Final = (0.5, 2.0, 4.0, 8.0)
"""Multiples of the learned weights, of all features but popularity, that are tried."""
SINGLE_SHARES: Final = (0.15, 0.3, 0.6, 1.0)
"""Weights of a single feature that are tried, as shares of its largest one."""
MAX_SINGLES: Final = 5
"""Features that are tried by themselves, at most: those with the largest learned weights relative to their bounds."""
MAX_RANKED_ITEMS: Final = 3
"""Withheld items of a case that are ranked, at most."""
MAX_COMPARED: Final = 800_000
"""Pairs of a withheld item and a cell of its case that are compared for each option, at most."""


def best_weights(
    base: DoubleArray, added: Sequence[sp.csr_matrix], cases: Cases, regularization: float
) -> tuple[FloatArray, str]:
    """Return the weights of the best option, float32 [f], and a note on it; empty if it is the learned weights.

    The learned weights maximize the likelihood. For short lists they can be too small or too large: what few items have
    in common may have to outweigh all differences of popularity. The option that ranks the withheld items highest
    replaces them unless it ranks those of other users lower, by more than a standard error.

    Args:
        base: float64 [n_items, f], the part of the features that is the same in all cases; popularity is the last one.
        added: for each feature what it adds to its base, CSR [cases, n_items].
        cases: the cases.
        regularization: strength of the L2 penalty.
    """
    checked = cases.user_num % CHECKED_OF == 0
    learn, check = (
        SparseSoftmax(base, [matrix[rows] for matrix in added], cases.take(rows))
        for rows in (np.flatnonzero(~checked), np.flatnonzero(checked))
    )
    learned = learn.learn(regularization)
    options = [learned, *_multiples(learned, learn.bounds), *_singles(learned, learn)]
    ranks = Ranks(learn)
    best = int(np.argmax([ranks.gains(weights).mean() for weights in options]))
    other = Ranks(check)
    gain = other.gains(options[best]) - other.gains(learned)
    if best and len(gain) >= MIN_CHECKED and gain.mean() > -gain.std() / np.sqrt(len(gain)):
        return options[best].astype(np.float32), _described(best, options[best])
    return learned.astype(np.float32), ""


def _multiples(learned: DoubleArray, bounds: DoubleArray) -> list[DoubleArray]:
    """Return the learned weights with those of all features but popularity multiplied, up to the bounds."""
    multiples = [np.minimum(learned * factor, bounds) for factor in FACTORS]
    return [np.append(weights[:-1], learned[-1]) for weights in multiples]


def _singles(learned: DoubleArray, softmax: SparseSoftmax) -> list[DoubleArray]:
    """Return weights of each feature beside popularity, or raised beside all; of many, of the most informative."""
    worth = (softmax.wanted_sums * learned)[:-1]
    masks = np.eye(len(learned), dtype=bool)[np.argsort(-worth, kind="stable")[:MAX_SINGLES]]
    popularity = np.append(np.zeros(len(worth)), 1.0)
    singles = [popularity + share * softmax.bounds * mask for mask in masks for share in SINGLE_SHARES]
    return [*singles, *(np.where(mask, softmax.bounds, learned) for mask in masks)]


def _described(option: int, weights: DoubleArray) -> str:
    """Return the note on an option that replaces the learned weights."""
    if option <= len(FACTORS):
        return f"paths have {FACTORS[option - 1]:g} times their learned weights, since they rank better so"
    if np.count_nonzero(weights[:-1]) > 1:
        return "one path has more than its learned weight, since it ranks better so"
    return "a single path is used beside popularity, since it ranks better than all with learned weights"


class Ranks:
    """Ranks of withheld items among all items that their cases have not seen, by any weights."""

    def __init__(self, softmax: SparseSoftmax) -> None:
        self._softmax = softmax
        rng, row = np.random.default_rng(0), softmax.row
        item = _some_of_each(softmax.wanted, row, rng)
        start, end = (np.searchsorted(row, row[item], side=side) for side in ("left", "right"))
        kept = np.cumsum(end - start) <= max(MAX_COMPARED, end[0] - start[0]) if len(item) else slice(0)
        self._item, self._n_cells = item[kept], (end - start)[kept]
        self._first = np.cumsum(self._n_cells) - self._n_cells
        self._cell = np.arange(self._n_cells.sum()) + np.repeat(start[kept] - self._first, self._n_cells)
        self._case = np.unique(row[self._item], return_inverse=True)[1]
        # Equal scores are ranked in random order.
        self._jitter = rng.random(len(softmax.base)) * 1e-6

    def gains(self, weights: DoubleArray) -> DoubleArray:
        """Return the mean of 1 / log2(1 + rank), 0 from rank `K` + 1, of the items of each case, float64 [cases]."""
        base, cells = self._softmax.scores(weights)
        base, cells = base + self._jitter, cells + self._jitter[self._softmax.item]
        target = cells[self._item]
        by_base = self._above(base[self._softmax.item], target)
        cells[self._softmax.seen] = -np.inf
        higher = len(base) - np.searchsorted(np.sort(base), target, side="right")
        rank = 1 + higher + self._above(cells, target) - by_base
        gain = np.where(rank <= K, 1 / np.log2(1 + rank), 0)
        return np.asarray(np.bincount(self._case, gain) / np.bincount(self._case))

    def _above(self, scores: DoubleArray, target: DoubleArray) -> IntArray:
        """Return how many cells of each item's case have higher scores than the item, int64 [items]."""
        higher = scores[self._cell] > np.repeat(target, self._n_cells)
        return np.asarray(np.add.reduceat(higher, self._first, dtype=np.int64))


def _some_of_each(wanted: BoolArray, row: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the cells of at most `MAX_RANKED_ITEMS` random withheld items of each case, int64, by case."""
    shuffled = rng.permutation(np.flatnonzero(wanted))
    by_case = shuffled[np.argsort(row[shuffled], kind="stable")]
    _, first, case = np.unique(row[by_case], return_index=True, return_inverse=True)
    return np.asarray(by_case[np.arange(len(by_case)) - first[case] < MAX_RANKED_ITEMS])
