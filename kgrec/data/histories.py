"""What a user holds with: how strongly, in which order, how long ago. Every signal reads histories from here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.data.feedback_weights import shares, worth
from kgrec.data.snapshot import GraphSnapshot, IntArray


def history(train: GraphSnapshot, influence: float = 0.0, recent: float | None = None) -> sp.csr_matrix:
    """Return what every user holds with and how much it counts, float32 CSR [n_users, n_items].

    Args:
        train: the graph to learn from.
        influence: how far a behaviour counts for what it is worth; see `strengths`.
        recent: number of later items of its domain after which an item counts half; None, or behaviours without a time:
            no fading.
    """
    strength = strengths(train, influence)
    if recent is None or not has_times(train):
        return strength
    series, user_num, item_num, time = sequences(train)
    ago = steps_ago(series, time)
    fading = sp.csr_matrix((0.5 ** (ago / recent), (user_num, item_num)), shape=strength.shape)
    return strength.multiply(fading).tocsr().astype(np.float32)


def strengths(train: GraphSnapshot, influence: float) -> sp.csr_matrix:
    """Return how strongly users hold with what they have a behaviour with, float32 CSR [n_users, n_items].

    Args:
        train: the graph to learn from.
        influence: 0: every pair has 1; 1: the mean of what its behaviours are worth; between and beyond: in proportion.
    """
    if not influence or not behaviours_differ(train):
        return train.interactions
    behaviours = train.behaviours
    strength = shares(behaviours) * (1 + influence * (worth(train) - 1))
    cells = (behaviours.user_num, behaviours.item_num)
    return sp.csr_matrix((strength.astype(np.float32), cells), shape=train.interactions.shape)


def has_times(train: GraphSnapshot) -> bool:
    """Say whether any behaviour has a time."""
    return bool(np.isfinite(train.behaviours.time).any())


def behaviours_differ(train: GraphSnapshot) -> bool:
    """Say whether there are several types or weights of behaviours, so that some may be worth more than others."""
    behaviours = train.behaviours
    return bool(len(behaviours)) and bool(np.ptp(behaviours.weight) or np.ptp(behaviours.type_num))


def sequences(train: GraphSnapshot) -> tuple[IntArray, IntArray, IntArray, npt.NDArray[np.float64]]:
    """Return the distinct (user, item) pairs in series, one for what a user did in a domain, oldest first.

    Pairs of one time are in the order of `GraphSnapshot.tie_breaks`, so that no id counts as earlier than another.

    What somebody did last in one domain says most of what comes next in it, however much they did in another since. And
    where time is a place in an order, each domain may count its own.

    Returns:
        Series from 0 on, users and items, int64 [n pairs] each, and the latest times, float64 [n pairs], -inf where
        there is none.
    """
    behaviours = train.behaviours
    latest = sp.coo_matrix(train.interactions)
    time = np.full(latest.nnz, -np.inf)
    cell = np.ravel_multi_index((latest.row, latest.col), latest.shape)
    at = np.searchsorted(cell, np.ravel_multi_index((behaviours.user_num, behaviours.item_num), latest.shape))
    np.maximum.at(time, at, np.nan_to_num(behaviours.time, nan=-np.inf))
    names, of_item = np.unique(train.item_domains.astype(str), return_inverse=True)
    series = np.unique(latest.row * np.int64(len(names)) + of_item[latest.col], return_inverse=True)[1]
    user_num, item_num = latest.row.astype(np.int64), latest.col.astype(np.int64)
    order = np.lexsort((train.tie_breaks(user_num, item_num), time, series))
    return series[order], user_num[order], item_num[order], time[order]


def steps_ago(series: IntArray, time: npt.NDArray[np.float64]) -> IntArray:
    """Return how many items come later in the same series than that at each place of `sequences`, int64 [n pairs].

    Items of one time are as old as one another.
    """
    n = len(series)
    is_last = np.r_[(series[1:] != series[:-1]) | (time[1:] != time[:-1]), True][:n]
    last_alike = np.flatnonzero(is_last)[np.cumsum(is_last) - is_last]
    end_of_series = np.cumsum(np.bincount(series, minlength=1))
    return np.asarray(end_of_series[series] - 1 - last_alike)


def mean_count(interactions: sp.csr_matrix) -> float:
    """Return the mean number of interactions of a row or column of the matrix; at least 1."""
    return max(1.0, float(2 * interactions.nnz / max(sum(interactions.shape), 1)))


def row_means(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return rows divided by their sum, so that a product with them is a mean over the history; float32 CSR."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    values = matrix.data / np.repeat(np.where(total > 0, total, 1), np.diff(matrix.indptr))
    return sp.csr_matrix((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
