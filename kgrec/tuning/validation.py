"""The validation cut: where settings are chosen and the blend is learned. Never the test rows.

A question of the cut is a (user, domain): which of the domain's items, unseen in train, did the user take next?
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
"""At most this many validation scores of users at home in a domain are held for a signal (240 MB), and half as many of
newcomers: more users than that add little."""


Scorer = Callable[[IntArray], FloatArray]


@dataclass(frozen=True)
class ValidationSet:
    """The questions of one domain.

    Attributes:
        domain: name of the catalog.
        user_num: int64 [n], who is asked about.
        weight: float64 [n], what each counts, 1 on average: as many users as it stands for where they are a sample.
        item_num: int64 [m], the domain's items.
        relevant: CSR [n, m] of the validation items.
        seen: CSR [n, m] of the train items.
        metric: what answers are measured by.
    """

    domain: str
    user_num: IntArray
    weight: DoubleArray
    item_num: IntArray
    relevant: sp.csr_matrix
    seen: sp.csr_matrix
    metric: Metric = NDCG_AT_20

    def take(self, rows: IntArray) -> ValidationSet:
        """Return some of the questions, by their rows."""
        user_num, weight = self.user_num[rows], self.weight[rows]
        return replace(self, user_num=user_num, weight=weight, relevant=self.relevant[rows], seen=self.seen[rows])

    def scores(self, scorer: Scorer, batch: int = 1024) -> FloatArray:
        """Return a signal's scores of the domain's items, float32 [n, m]."""
        parts = [
            scorer(self.user_num[start : start + batch])[:, self.item_num]
            for start in range(0, len(self.user_num), batch)
        ]
        return np.concatenate(parts).astype(np.float32, copy=False)

    def evaluate(self, scores: FloatArray) -> FloatArray:
        """Return the metric of every question, float32 [n]."""
        return self.metric.of_scores(scores, self.relevant, self.seen)


def validation_sets(
    train: GraphSnapshot, held_out: Behaviors, seed: int = 0, metric: Metric = NDCG_AT_20
) -> list[ValidationSet]:
    """Turn held-out behaviors into questions by domain, a seeded sample of users where there are very many.

    Those new to the domain, who are few but have a blend of their own, are sampled apart; see `MAX_SCORES`.
    """
    relevant, seen = train.pairs(held_out), train.interactions
    relevant = relevant - relevant.multiply(seen)
    known = sp.diags((np.diff(seen.indptr) > 0).astype(np.float32))  # others are not scored by signals
    relevant = sp.csr_matrix(known @ relevant)
    relevant.eliminate_zeros()
    domains = train.item_domains
    holdouts = []
    for domain in sorted(set(domains)):
        items = np.flatnonzero(domains == domain).astype(np.int64)
        wanted, had = relevant[:, items].tocsr(), seen[:, items].tocsr()
        new, limit = np.diff(had.indptr) == 0, MAX_SCORES // max(train.n_items, 1)
        of_each = [np.flatnonzero((np.diff(wanted.indptr) > 0) & group) for group in (~new, new)]
        drawn = [_sample(group, most, seed) for group, most in zip(of_each, (limit, limit // 2), strict=True)]
        users = np.sort(np.concatenate(drawn))
        if len(users):
            in_domain, as_new = (len(group) / max(len(some), 1) for group, some in zip(of_each, drawn, strict=True))
            sampling_weight = np.where(new[users], as_new, in_domain)
            weight = sampling_weight / sampling_weight.mean()
            holdouts.append(ValidationSet(domain, users, weight, items, wanted[users], had[users], metric))
    return holdouts


def mean_metric(holdouts: Sequence[ValidationSet], scorer: Scorer) -> float:
    """Return the mean of the metric over all questions."""
    values = np.concatenate([holdout.evaluate(holdout.scores(scorer)) for holdout in holdouts])
    return float(np.average(values, weights=np.concatenate([holdout.weight for holdout in holdouts])))


def _sample(users: IntArray, limit: int, seed: int) -> IntArray:
    if len(users) <= limit:
        return users.astype(np.int64)
    return np.sort(np.random.default_rng(seed).choice(users, max(limit, 1), replace=False)).astype(np.int64)
