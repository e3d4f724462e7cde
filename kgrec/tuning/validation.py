"""Validation split: held-out interactions on which settings are chosen and the blend is learned, never test data.

A case of the validation split is a (user, domain) pair with the domain's held-out items that are unseen in train.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.edges import Behaviors
from kgrec.data.snapshot import GraphSnapshot
from kgrec.metrics.ranking import NDCG_AT_20, Metric

logger = logging.getLogger(__name__)

MAX_SCORES: Final = 60_000_000
"""Validation scores of in-domain users that are held for a signal and a domain, at most (240 MB), and half as many of
cold-start users; more users add little precision."""
BATCH_USERS: Final = 256
"""Users scored at a time: enough for fast matrix products, with little memory."""

Scorer = Callable[[IntArray], FloatArray]
"""User numbers, int64 [n] → scores of all items, float32 [n, n_items]."""


@dataclass(frozen=True)
class ValidationSet:
    """The validation users of one domain with their held-out items.

    Attributes:
        domain: name of the domain.
        user_num: int64 [n], the validation users.
        weight: float64 [n], sampling weight of each user, 1 on average: proportional to the number of users that a
            sampled user represents.
        item_num: int64 [m], the domain's items.
        relevant: CSR [n, m] of the held-out items.
        seen: CSR [n, m] of the train items.
        metric: the metric of `evaluate`.
    """

    domain: str
    user_num: IntArray
    weight: DoubleArray
    item_num: IntArray
    relevant: sp.csr_matrix
    seen: sp.csr_matrix
    metric: Metric = NDCG_AT_20

    def take(self, rows: IntArray) -> ValidationSet:
        """Return the validation set of some of the users, by their rows, int64 [k]."""
        user_num, weight = self.user_num[rows], self.weight[rows]
        return replace(self, user_num=user_num, weight=weight, relevant=self.relevant[rows], seen=self.seen[rows])

    def scores(self, scorer: Scorer) -> FloatArray:
        """Return the scores of the domain's items for all users, float32 [n, m], computed in batches of users."""
        scores = np.empty(self.relevant.shape, np.float32)
        for start in range(0, len(self.user_num), BATCH_USERS):
            rows = slice(start, start + BATCH_USERS)
            scores[rows] = scorer(self.user_num[rows]).take(self.item_num, axis=1)  # [:, items] is in column order
        return scores

    def evaluate(self, scores: FloatArray) -> FloatArray:
        """Return the metric of every user, float32 [n], from scores [n, m]."""
        return self.metric.of_scores(scores, self.relevant, self.seen)


def validation_sets(
    train: GraphSnapshot,
    held_out: Behaviors,
    seed: int = 0,
    metric: Metric = NDCG_AT_20,
    *,
    new_users: bool = False,
) -> list[ValidationSet]:
    """Return the validation sets of held-out interactions, one for each domain.

    They have the users with a history, or with `new_users` those without any; see kgrec/hybrid/new_users.py.

    With very many users (see `MAX_SCORES`) a seeded sample of them is taken, cold-start and in-domain users separately:
    the former are fewer, and have a blend of their own.
    """
    relevant, seen = train.pairs(held_out), train.interactions
    relevant = relevant - relevant.multiply(seen)
    asked = (np.diff(seen.indptr) == 0) == new_users
    relevant = sp.csr_matrix(sp.diags(asked.astype(np.float32)) @ relevant)
    relevant.eliminate_zeros()
    domains, rank = train.item_domains, np.random.default_rng(seed).permutation(train.n_users)
    holdouts = []
    for domain in sorted(set(domains)):
        items = np.flatnonzero(domains == domain).astype(np.int64)
        wanted, had = relevant[:, items].tocsr(), seen[:, items].tocsr()
        new, limit = np.diff(had.indptr) == 0, MAX_SCORES // max(train.n_items, 1)
        of_each = [np.flatnonzero((np.diff(wanted.indptr) > 0) & group) for group in (~new, new)]
        drawn = [_sample(group, most, rank) for group, most in zip(of_each, (limit, limit // 2), strict=True)]
        users = np.sort(np.concatenate(drawn))
        if len(users):
            in_domain, as_new = (len(group) / max(len(some), 1) for group, some in zip(of_each, drawn, strict=True))
            sampling_weight = np.where(new[users], as_new, in_domain)
            weight = sampling_weight / sampling_weight.mean()
            holdouts.append(ValidationSet(domain, users, weight, items, wanted[users], had[users], metric))
    return holdouts


def evaluate_each(holdouts: Sequence[ValidationSet], scorer: Scorer) -> list[FloatArray]:
    """Return the metric of every user of each validation set, float32 [n] each; a user of several is scored once."""
    users = np.unique(np.concatenate([holdout.user_num for holdout in holdouts]))
    reached = [np.empty(len(holdout.user_num), np.float32) for holdout in holdouts]
    for start in range(0, len(users), BATCH_USERS):
        batch = users[start : start + BATCH_USERS]
        scores = scorer(batch)
        for holdout, values in zip(holdouts, reached, strict=True):
            rows = np.flatnonzero(np.isin(holdout.user_num, batch))
            places = np.searchsorted(batch, holdout.user_num[rows])
            values[rows] = holdout.take(rows).evaluate(scores[places].take(holdout.item_num, axis=1))
    return reached


def mean_metric(holdouts: Sequence[ValidationSet], scorer: Scorer) -> float:
    """Return the weighted mean of the metric over the users of all validation sets."""
    values = np.concatenate(evaluate_each(holdouts, scorer))
    return float(np.average(values, weights=np.concatenate([holdout.weight for holdout in holdouts])))


def _sample(users: IntArray, limit: int, rank: IntArray) -> IntArray:
    """Return the at most `limit` users of the lowest rank, int64, in order: largely the same ones for all domains."""
    return np.sort(users[np.argsort(rank[users])[: max(limit, 1)]]).astype(np.int64)
