"""Learning weights of signals from validation lists: by listwise likelihood, then by direct search on NDCG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from kgrec.rank import top_k
from kgrec.snapshot import FloatArray, IntArray

DEPTH: Final = 60
"""Items of each signal, from its best down, that weights are learnt on: deeper ones hardly reach a short list."""
STEPS: Final = (0.3, 0.15, 0.07, 0.03)
"""Changes of a weight tried by the search, as shares of the sum of weights."""
GROUP_RIDGE: Final = 0.003
"""Pull of a group's weights towards the global ones."""
HALVES: Final = 3
"""Searches for NDCG that are averaged."""
DRAWN: Final = 200
"""Other unseen items of each user, drawn at random to stand for all of them."""
NEGATIVES: Final = 10
"""Unseen items drawn for each relevant one by the logistic regression."""

DoubleArray = npt.NDArray[np.float64]


def standardise(scores: FloatArray, seen: sp.csr_matrix) -> FloatArray:
    """Return z-scores by user: mean 0 and deviation 1 over the items not seen, float32 [n, n_items].

    A user whose items all have one score gets zeros.
    """
    row = np.repeat(np.arange(len(scores)), np.diff(seen.indptr))
    n_unseen = np.maximum(scores.shape[1] - np.diff(seen.indptr), 1)
    held = np.bincount(row, scores[row, seen.indices], minlength=len(scores))
    mean = (scores.sum(axis=1, dtype=np.float64) - held) / n_unseen
    z = scores - mean[:, None].astype(np.float32)
    held = np.bincount(row, z[row, seen.indices].astype(np.float64) ** 2, minlength=len(scores))
    deviation = np.sqrt(np.maximum(np.einsum("ij,ij->i", z, z) - held, 0) / n_unseen)
    flat = deviation <= 1e-5 * np.abs(mean) + 1e-12
    z *= np.where(flat, 0, 1 / np.where(flat, 1, deviation)).astype(np.float32)[:, None]
    return np.asarray(z)


@dataclass(frozen=True)
class Lists:
    """The items that can reach the top of a user's list and a sample of the others, one row a user, padded at the end.

    Attributes:
        item_num: int64 [n, m] in ascending order, -1 for padding.
        z: float32 [signals, n, m], standardised scores.
        stands_for: float32 [n, m], how many unseen items an item stands for: 1, more if it was drawn, 0 for padding.
        relevant: bool [n, m].
        n_relevant: int64 [n].
        cell: int64 [n, m], which group of weights a (user, item) belongs to.
        n_cells: number of groups of weights.
    """

    item_num: IntArray
    z: FloatArray
    stands_for: FloatArray
    relevant: npt.NDArray[np.bool_]
    n_relevant: IntArray
    cell: IntArray
    n_cells: int

    @classmethod
    def make(cls, scores: Sequence[FloatArray], seen: sp.csr_matrix, relevant: sp.csr_matrix, seed: int) -> Self:
        """Gather the best items of every signal, the relevant ones and a sample, as z-scores in one group of weights.

        Args:
            scores: one float32 [n, n_items] for each signal.
            seen, relevant: CSR [n, n_items].
            seed: makes the sample repeat.
        """
        item_num, stands_for = _candidates(scores, seen, relevant, seed)
        row = np.arange(len(item_num))[:, None]
        wanted = np.isin(row * relevant.shape[1] + item_num, _keys_of(relevant)) & (item_num >= 0)
        return cls(
            item_num,
            np.stack([standardise(part, seen)[row, item_num] for part in scores]),
            stands_for,
            wanted,
            np.diff(relevant.indptr).astype(np.int64),
            np.zeros(item_num.shape, dtype=np.int64),
            1,
        )

    def raw(self, scores: Sequence[FloatArray]) -> tuple[Lists, DoubleArray]:
        """Return the same lists with the signals' scores as they are, each divided by its deviation over all lists.

        A signal's own scale says how sure it is of a user, which z-scores take away.

        Returns:
            Lists, and the deviations, float64 [signals].
        """
        row, listed = np.arange(len(self.item_num))[:, None], self.item_num >= 0
        parts = [part[row, self.item_num] for part in scores]
        deviation = np.array([max(float(part[listed].std(dtype=np.float64)), 1e-12) for part in parts])
        scaled = [part / np.float32(d) for part, d in zip(parts, deviation, strict=True)]
        return replace(self, z=np.stack(scaled)), deviation

    def grouped(self, by_user: IntArray, by_item: IntArray) -> Lists:
        """Return the same lists with weights by group of user [n] and of item [n_items]."""
        n_item_groups = int(by_item.max(initial=0)) + 1
        cell = by_user[:, None] * n_item_groups + by_item[self.item_num]
        return replace(self, cell=cell, n_cells=(int(by_user.max(initial=0)) + 1) * n_item_groups)

    def ndcg(self, weights: npt.NDArray[Any], k: int) -> DoubleArray:
        """Return NDCG@k of every user under weights [cells or 1, signals], float64 [n]."""
        return self.ndcg_of(self.blended(weights), k)

    def of(self, users: npt.NDArray[np.bool_]) -> Lists:
        """Return the lists of the users that a mask [n] marks."""
        arrays = {name: value for name, value in vars(self).items() if name not in ("z", "n_cells")}
        return replace(self, z=self.z[:, users], **{name: array[users] for name, array in arrays.items()})

    def blended(self, weights: npt.NDArray[Any]) -> FloatArray:
        """Return scores under weights [cells or 1, signals], float32 [n, m]; -inf for padding."""
        total = np.zeros(self.item_num.shape, dtype=np.float32)
        for part, weight in zip(self.z, weights.T.astype(np.float32), strict=True):
            total += part * (weight[self.cell] if len(weight) > 1 else weight[0])
        total[self.item_num < 0] = -np.inf
        return total

    def ndcg_of(self, scores: FloatArray, k: int) -> DoubleArray:
        """Return NDCG@k of every user under scores [n, m], float64 [n]."""
        k = min(k, scores.shape[1])
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(self.relevant, np.take_along_axis(best, order, axis=1), axis=1)
        discounts = 1 / np.log2(np.arange(2, k + 2))
        return np.asarray(hits @ discounts / discounts.cumsum()[np.clip(self.n_relevant, 1, k) - 1])


def likely_weights(lists: Lists) -> DoubleArray:
    """Learn one weight for each signal, float64 [1, signals], that makes the relevant items likeliest."""
    return _likeliest(lists, np.full((1, len(lists.z)), 1 / len(lists.z)), ridge=0.0)


def discriminating_weights(lists: Lists) -> DoubleArray:
    """Learn one weight of either sign for each signal, float64 [1, signals]: logistic regression on the lists.

    It discriminates the relevant items from the drawn ones. What some signal ranks high and the user did not take
    (yet) counts for nothing: it is more often right than wrong.
    """
    drawn = lists.stands_for > 1
    if not drawn.any():
        drawn = ~lists.relevant & (lists.item_num >= 0)
    drawn &= ~lists.relevant
    features = np.concatenate([lists.z[:, lists.relevant], lists.z[:, drawn]], axis=1).T.astype(np.float64)
    is_relevant = np.repeat([True, False], [int(lists.relevant.sum()), int(drawn.sum())])
    return fusion_weights(features, is_relevant)[None]


def searched_weights(lists: Lists, start: DoubleArray, k: int, seed: int) -> DoubleArray:
    """Search for the NDCG@k of half the users, from `start` [1, signals], and average over several halves.

    NDCG is a step function: a single search fits its noise, the mean of a few does not (bagging, Breiman 1996).
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(HALVES):
        weights = _search(lists.of(rng.random(len(lists.n_relevant)) < 0.5), start, k)
        found.append(weights / max(np.abs(weights).sum(), 1e-12))
    return np.asarray(np.mean(found, axis=0) * np.abs(start).sum())


def grouped_weights(lists: Lists, around: DoubleArray) -> DoubleArray:
    """Learn weights for each group, float64 [cells, signals], held near the global ones [1, signals]."""
    return _likeliest(lists, np.repeat(around, lists.n_cells, axis=0), ridge=GROUP_RIDGE)


def fusion_weights(features: DoubleArray, is_relevant: npt.NDArray[np.bool_]) -> DoubleArray:
    """Fit σ(w · scores + b), logistic regression, and return w, float64 [signals].

    Args:
        features: float64 [pairs, signals], scores as the signals give them.
        is_relevant: bool [pairs].
    """
    deviation = np.maximum(features.std(axis=0), 1e-12)
    x = np.column_stack([(features - features.mean(axis=0)) / deviation, np.ones(len(features))])
    sign = np.where(is_relevant, 1.0, -1.0)

    def loss(w: DoubleArray) -> tuple[float, DoubleArray]:
        margin = sign * (x @ w)
        return float(np.logaddexp(0, -margin).mean()), -(sign * expit(-margin)) @ x / len(x)

    fitted = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(fitted.x[:-1] / deviation)


def draw_pairs(seen: sp.csr_matrix, relevant: sp.csr_matrix, seed: int) -> tuple[IntArray, IntArray, npt.NDArray[Any]]:
    """Draw unseen items at random beside the relevant ones: rows, items (int64 [pairs]) and which are relevant."""
    rng = np.random.default_rng(seed)
    row = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr))
    rows = np.tile(row, NEGATIVES)
    items = rng.integers(relevant.shape[1], size=len(rows))
    taken = np.asarray((seen + relevant)[rows, items]).ravel() > 0
    is_relevant = np.repeat([True, False], [len(row), int((~taken).sum())])
    return np.r_[row, rows[~taken]], np.r_[relevant.indices, items[~taken]].astype(np.int64), is_relevant


def _candidates(
    scores: Sequence[FloatArray], seen: sp.csr_matrix, relevant: sp.csr_matrix, seed: int
) -> tuple[IntArray, FloatArray]:
    """Each user's best items of every signal, relevant and drawn ones: numbers, and how many items each stands for."""
    n, n_items = relevant.shape
    best = np.concatenate([top_k(part, DEPTH, seen).item_num for part in scores], axis=1)
    listed = np.union1d(_keys(best, n_items), _keys_of(relevant))
    drawn = _keys(np.random.default_rng(seed).integers(n_items, size=(n, min(DRAWN, n_items))), n_items)
    drawn = np.setdiff1d(drawn, np.union1d(listed, _keys_of(seen)))
    n_others = n_items - np.diff(seen.indptr) - np.bincount(listed // n_items, minlength=n)
    n_drawn = np.bincount(drawn // n_items, minlength=n)
    keys = np.union1d(listed, drawn)
    row, item = np.divmod(keys, n_items)
    stands_for = np.where(np.isin(keys, drawn), (n_others / np.maximum(n_drawn, 1))[row], 1)
    count = np.bincount(row, minlength=n)
    shape, place = (n, int(count.max(initial=1))), np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return _filled(shape, -1, row, place, item), _filled(shape, 0.0, row, place, stands_for).astype(np.float32)


def _keys(item_num: IntArray, n_items: int) -> IntArray:
    """Number every (row, item) of lists [n, k] through; padding (-1) is left out."""
    row = np.arange(len(item_num))[:, None]
    return np.asarray((row * n_items + item_num)[item_num >= 0])


def _keys_of(matrix: sp.csr_matrix) -> IntArray:
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.asarray(row * matrix.shape[1] + matrix.indices)


def _filled(
    shape: tuple[int, int], empty: float, row: IntArray, column: IntArray, values: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    filled = np.full(shape, empty, dtype=values.dtype)
    filled[row, column] = values
    return filled


def _likeliest(lists: Lists, start: DoubleArray, ridge: float) -> DoubleArray:
    """Weights [cells or 1, signals], never negative, that make the relevant items likely: listwise softmax.

    Cross-entropy of a softmax over the list (ListNet, Cao et al., ICML 2007), each user counting once.
    """
    share = lists.relevant / np.maximum(lists.n_relevant, 1)[:, None] / len(lists.relevant)
    flat_cell, n_cells = lists.cell.ravel(), len(start)
    sampling = np.log(np.maximum(lists.stands_for, 1))  # makes a drawn item weigh as much as those it stands for

    def loss(flat: DoubleArray) -> tuple[float, DoubleArray]:
        weights = flat.reshape(start.shape)
        log_p = log_softmax(lists.blended(weights) + sampling, axis=1)
        slope = (np.exp(log_p) * share.sum(axis=1, keepdims=True) - share).ravel()
        value = -(log_p[lists.relevant] * share[lists.relevant]).sum() + ridge * ((weights - start) ** 2).sum()
        gradient = [_by_cell(slope, part.ravel(), flat_cell, n_cells) for part in lists.z]
        return float(value), (np.stack(gradient, axis=1) + 2 * ridge * (weights - start)).ravel()

    bounds = [(0, None)] * start.size
    fitted = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50})
    return np.asarray(fitted.x.reshape(start.shape))


def _by_cell(slope: DoubleArray, z: FloatArray, cell: IntArray, n_cells: int) -> DoubleArray:
    """Sum slope × z over the pairs of each group of weights, float64 [n_cells]."""
    if n_cells == 1:
        return np.array([slope @ z])
    return np.bincount(cell, slope * z, minlength=n_cells).astype(np.float64)


def _search(lists: Lists, weights: DoubleArray, k: int) -> DoubleArray:
    """Change one weight [1, signals] at a time, by ever smaller steps, while NDCG@k rises."""
    weights, scores = weights.copy(), lists.blended(weights)
    best, total = lists.ndcg_of(scores, k).mean(), np.abs(weights).sum()
    changes = [(step * sign, signal) for step in STEPS for signal in range(weights.shape[1]) for sign in (1, -1)]
    for change, signal in changes:
        tried = scores + np.float32(change * total) * lists.z[signal]
        if (reached := lists.ndcg_of(tried, k).mean()) > best:
            best, scores = reached, tried
            weights[0, signal] += change * total
    return weights
