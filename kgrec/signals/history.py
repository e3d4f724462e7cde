"""What a user holds with: how strongly, in which order, how long ago. Every signal reads histories from here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.signals.worth import shares, worth
from kgrec.snapshot import GraphSnapshot, IntArray


def history(train: GraphSnapshot, influence: float = 0.0, recent: float | None = None) -> sp.csr_matrix:
    """Return what every user holds with and how much it counts, float32 CSR [n_users, n_items].

    Args:
        train: the graph to learn from.
        influence: how far a behaviour counts for what it is worth; see `strengths`.
        recent: number of later items after which an item counts half; None, or behaviours without a time: no fading.
    """
    strength = strengths(train, influence)
    if recent is None or not has_times(train):
        return strength
    user_num, item_num, time = sequences(train)
    ago = steps_ago(user_num, time)
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


def sequences(train: GraphSnapshot) -> tuple[IntArray, IntArray, npt.NDArray[np.float64]]:
    """Return the distinct (user, item) pairs, users together and each user's items by their latest time, oldest first.

    Returns:
        User numbers and item numbers, int64 [n pairs] each, and times, float64 [n pairs], -inf where there is none.
    """
    behaviours = train.behaviours
    latest = sp.coo_matrix(train.interactions)
    time = np.full(latest.nnz, -np.inf)
    cell = np.ravel_multi_index((latest.row, latest.col), latest.shape)
    at = np.searchsorted(cell, np.ravel_multi_index((behaviours.user_num, behaviours.item_num), latest.shape))
    np.maximum.at(time, at, np.nan_to_num(behaviours.time, nan=-np.inf))
    by_time = np.lexsort((time, latest.row))
    return latest.row[by_time].astype(np.int64), latest.col[by_time].astype(np.int64), time[by_time]


def steps_ago(user_num: IntArray, time: npt.NDArray[np.float64]) -> IntArray:
    """Return how many items the user chose later than that at each place of `sequences`, int64 [n pairs].

    Items of one time are as old as one another.
    """
    n = len(user_num)
    is_last = np.r_[(user_num[1:] != user_num[:-1]) | (time[1:] != time[:-1]), True][:n]
    last_alike = np.flatnonzero(is_last)[np.cumsum(is_last) - is_last]
    end_of_user = np.cumsum(np.bincount(user_num, minlength=1))
    return np.asarray(end_of_user[user_num] - 1 - last_alike)


def mean_count(interactions: sp.csr_matrix) -> float:
    """Return the mean number of interactions of a row or column of the matrix; at least 1."""
    return max(1.0, float(2 * interactions.nnz / max(sum(interactions.shape), 1)))


def row_means(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return rows divided by their sum, so that a product with them is a mean over the history; float32 CSR."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    values = matrix.data / np.repeat(np.where(total > 0, total, 1), np.diff(matrix.indptr))
    return sp.csr_matrix((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
