"""User histories: interaction weights, order and time decay. All signals read histories through this module."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.feedback_weights import pair_shares, weights_by_curve
from kgrec.data.snapshot import GraphSnapshot

Histories = GraphSnapshot | AnonymousUsers
"""Source of user histories: a training graph, or anonymous users who are not in it."""


def user_histories(train: Histories, influence: float = 0.0, half_life_items: float | None = None) -> sp.csr_matrix:
    """Return the weighted user histories, float32 CSR [n_users, n_items].

    Args:
        train: the training graph, or anonymous users.
        influence: strength of the feedback weights; see `strengths`.
        half_life_items: number of later items in the same domain after which the weight of an item halves; no decay if
            None or if no behavior has a time.
    """
    strength = strengths(train, influence)
    if half_life_items is None or not has_times(_graph(train)):
        return strength
    series, user_num, item_num, time = sequences(train)
    ago = steps_ago(series, time)
    fading = sp.csr_matrix((0.5 ** (ago / half_life_items), (user_num, item_num)), shape=strength.shape)
    return strength.multiply(fading).tocsr().astype(np.float32)


def strengths(train: Histories, influence: float) -> sp.csr_matrix:
    """Return the interaction strength of every (user, item) pair, float32 CSR [n_users, n_items].

    Args:
        train: as for `user_histories`.
        influence: 0 gives every pair the strength 1; 1 gives it the mean feedback weight of its behaviors; other values
            interpolate or extrapolate linearly. Behaviors down-weighted as noise count less.
    """
    if not influence or not behaviors_differ(_graph(train)):
        return train.interactions
    behaviors = train.behaviors
    strength = pair_shares(behaviors) * (1 + influence * (_feedback_weights(train) - 1)) * behaviors.confidence
    cells = (behaviors.user_num, behaviors.item_num)
    return sp.csr_matrix((strength.astype(np.float32), cells), shape=train.interactions.shape)


def _graph(histories: Histories) -> GraphSnapshot:
    """Return the training graph."""
    return histories.train if isinstance(histories, AnonymousUsers) else histories


def _feedback_weights(histories: Histories) -> FloatArray:
    if isinstance(histories, AnonymousUsers):
        return weights_by_curve(histories.behaviors, histories.train.feedback_curves)
    return histories.feedback_weights


def has_times(train: GraphSnapshot) -> bool:
    """Return whether any behavior has a time."""
    return train.has_times


def behaviors_differ(train: GraphSnapshot) -> bool:
    """Return whether behaviors have several types or weights, so that their feedback weights can differ."""
    return train.behaviors_differ


def sequences(train: Histories) -> tuple[IntArray, IntArray, IntArray, DoubleArray]:
    """Return the distinct (user, item) pairs grouped into sequences, one per user and domain, oldest first.

    Pairs with equal times are ordered by `GraphSnapshot.tie_breaks`, so that the order does not depend on ids.

    Sequences are per domain because a user's last item in a domain predicts the next one there, however much the user
    did in other domains since. Also, where times are only an order, each domain may have its own numbering.

    Returns:
        Sequence numbers from 0, users and items, int64 [n pairs] each, and the latest time of each pair, float64
        [n pairs], -inf if it has none.
    """
    behaviors = train.behaviors
    latest = sp.coo_matrix(train.interactions)
    time = np.full(latest.nnz, -np.inf)
    cell = np.ravel_multi_index((latest.row, latest.col), latest.shape)
    at = np.searchsorted(cell, np.ravel_multi_index((behaviors.user_num, behaviors.item_num), latest.shape))
    np.maximum.at(time, at, np.nan_to_num(behaviors.time, nan=-np.inf))
    of_item = train.item_domain_nums
    n_domains = of_item.max(initial=0) + 1
    series = np.unique(latest.row * np.int64(n_domains) + of_item[latest.col], return_inverse=True)[1]
    user_num, item_num = latest.row.astype(np.int64), latest.col.astype(np.int64)
    order = np.lexsort((train.tie_breaks(user_num, item_num), time, series))
    return series[order], user_num[order], item_num[order], time[order]


def steps_ago(series: IntArray, time: DoubleArray) -> IntArray:
    """Return the number of later items in the same sequence for each pair of `sequences`, int64 [n pairs].

    Items with equal times count as equally old.
    """
    n = len(series)
    is_last = np.r_[(series[1:] != series[:-1]) | (time[1:] != time[:-1]), True][:n]
    last_alike = np.flatnonzero(is_last)[np.cumsum(is_last) - is_last]
    end_of_series = np.cumsum(np.bincount(series, minlength=1))
    return np.asarray(end_of_series[series] - 1 - last_alike)


def mean_count(interactions: sp.csr_matrix) -> float:
    """Return the mean number of interactions per user and item (per row and column of the matrix); at least 1."""
    return max(1.0, float(2 * interactions.nnz / max(sum(interactions.shape), 1)))


def row_means(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return rows divided by their sums, float32 CSR, so that a product with them is a mean over the history."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    values = matrix.data / np.repeat(np.where(total > 0, total, 1), np.diff(matrix.indptr))
    return sp.csr_matrix((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def row_roots(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return rows divided by the square roots of their sums, float32 CSR: between a sum and a mean over the history."""
    total = np.asarray(matrix.sum(axis=1)).ravel()
    values = matrix.data / np.repeat(np.sqrt(np.where(total > 0, total, 1)), np.diff(matrix.indptr))
    return sp.csr_matrix((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def over_root_length(history: sp.csr_matrix) -> sp.csr_matrix:
    """Return rows divided by the square root of their number of items, float32 CSR."""
    counts = np.diff(history.indptr)
    values = history.data * np.repeat(np.maximum(counts, 1) ** -0.5, counts)
    return sp.csr_matrix((values.astype(np.float32), history.indices, history.indptr), shape=history.shape)
