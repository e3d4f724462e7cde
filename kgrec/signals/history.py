"""What a user holds with: how strongly, in which order, how long ago. Every signal reads histories from here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import rankdata

from kgrec.snapshot import GraphSnapshot, IntArray


def history(train: GraphSnapshot, influence: float = 0.0, recent: float | None = None) -> sp.csr_matrix:
    """Return what every user holds with and how much it counts, float32 CSR [n_users, n_items].

    Args:
        train: the graph to learn from.
        influence: how far a behaviour's weight moves its strength; see `strengths`.
        recent: number of later items after which an item counts half; None, or behaviours without a time: no fading.
    """
    strength = strengths(train, influence)
    if recent is None or not has_times(train):
        return strength
    user_num, item_num = sequences(train)
    fading = sp.csr_matrix((0.5 ** (steps_ago(user_num) / recent), (user_num, item_num)), shape=strength.shape)
    return strength.multiply(fading).tocsr().astype(np.float32)


def strengths(train: GraphSnapshot, influence: float) -> sp.csr_matrix:
    """Return 1 ± `influence` for every pair with a behaviour, float32 CSR [n_users, n_items].

    A weight counts by its rank among the weights of its behaviour type, so stars, seconds and play counts are all
    read alike and one huge count outweighs nothing. A pair with several behaviours has their mean.

    Args:
        train: the graph to learn from.
        influence: strength of the highest weight is 1 + influence, of the lowest 1 - influence; in [0, 1).
    """
    if not influence or not weights_differ(train):
        return train.interactions
    behaviours = train.behaviours
    strength = 1 + influence * (2 * _quantiles(behaviours.weight, behaviours.type_num) - 1)
    cells = (behaviours.user_num, behaviours.item_num)
    total = sp.csr_matrix((strength.astype(np.float32), cells), shape=train.interactions.shape)
    count = sp.csr_matrix((np.ones(len(behaviours), np.float32), cells), shape=total.shape)
    total.data /= count.data
    return total


def has_times(train: GraphSnapshot) -> bool:
    """Say whether any behaviour has a time."""
    return bool(np.isfinite(train.behaviours.time).any())


def weights_differ(train: GraphSnapshot) -> bool:
    """Say whether the weights of behaviours tell anything."""
    weight = train.behaviours.weight
    return bool(len(weight)) and bool((weight != weight[0]).any())


def sequences(train: GraphSnapshot) -> tuple[IntArray, IntArray]:
    """Return the distinct (user, item) pairs, users together and each user's items by their latest time, oldest first.

    Returns:
        User numbers and item numbers, int64 [n pairs] each.
    """
    behaviours = train.behaviours
    latest = sp.coo_matrix(train.interactions)
    time = np.full(latest.nnz, -np.inf)
    cell = np.ravel_multi_index((latest.row, latest.col), latest.shape)
    at = np.searchsorted(cell, np.ravel_multi_index((behaviours.user_num, behaviours.item_num), latest.shape))
    np.maximum.at(time, at, np.nan_to_num(behaviours.time, nan=-np.inf))
    by_time = np.lexsort((time, latest.row))
    return latest.row[by_time].astype(np.int64), latest.col[by_time].astype(np.int64)


def steps_ago(user_num: IntArray) -> IntArray:
    """Return how many later items of the user follow each place of `sequences`, int64 [n pairs]."""
    counts = np.bincount(user_num) if len(user_num) else np.empty(0, np.int64)
    return np.asarray(np.cumsum(counts)[user_num] - 1 - np.arange(len(user_num)))


def _quantiles(weight: npt.NDArray[np.float32], type_num: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean rank of each weight among those of its type, scaled to 0 … 1; equal weights get 0.5."""
    quantile = np.empty(len(weight))
    for type_ in np.unique(type_num):
        rows = type_num == type_
        quantile[rows] = (rankdata(weight[rows]) - 0.5) / rows.sum()
    return quantile


def mean_count(interactions: sp.csr_matrix) -> float:
    """Return the mean number of interactions of a row or column of the matrix; at least 1."""
    return max(1.0, float(2 * interactions.nnz / max(sum(interactions.shape), 1)))


def row_means(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return rows divided by their sum, so that a product with them is a mean over the history; float32 CSR."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    values = matrix.data / np.repeat(np.where(total > 0, total, 1), np.diff(matrix.indptr))
    return sp.csr_matrix((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
