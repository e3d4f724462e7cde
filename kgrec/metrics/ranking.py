"""Ranking metrics as pure functions.

The ranking is full (all items that a user may be recommended compete, without sampling) and relevance is binary. The
means are over all users with a relevant item; a user without recommendations counts as 0. With h_i = 1 if rank i holds
a relevant item, and r relevant items:

    Recall@k    Σ h_i / r
    Precision@k Σ h_i / k
    HR@k        1 if any h_i
    MRR@k       1 / first i with h_i, else 0
    MAP@k       Σ h_i · Precision@i / min(k, r)
    NDCG@k      Σ h_i / log2(i + 1), divided by its value with min(k, r) hits in front (Järvelin & Kekäläinen 2002)
    Coverage@k  share of all items that are recommended to at least one user
    Novelty@k   mean of −log2(share of train's users with the item) over listed items (Zhou et al. 2010, PNAS 107:4511)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import BoolArray, DoubleArray, FloatArray
from kgrec.errors import UsageError
from kgrec.ranking.top_k import Ranking, top_k

K: Final = 20
"""Cut-off of the default metric of model selection, NDCG@20."""


@dataclass(frozen=True)
class Metric:
    """A metric of one user's list at a cut-off, such as NDCG@20; the module docstring defines the names."""

    name: str
    k: int

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Return the metric of a name such as "NDCG@20"."""
        name, _, k = text.partition("@")
        return cls(name, int(k))

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def of_hits(self, hits: BoolArray, n_relevant: npt.NDArray[Any]) -> DoubleArray:
        """Return the metric of every user, float64 [n].

        Args:
            hits: bool [n, m], True where a list holds a relevant item.
            n_relevant: int [n], the number of relevant items of each user.
        """
        hits = hits[:, : self.k]
        return _ndcg(hits, n_relevant, self.k) if self.name == "NDCG" else _metrics(hits, n_relevant, self.k)[self.name]

    def of_scores(self, scores: FloatArray, relevant: sp.csr_matrix, seen: sp.csr_matrix | None) -> FloatArray:
        """Rank items by score and return the metric of every user, float32 [n]; NaN for a user without a relevant item.

        Args:
            scores: float32 [n, n_items].
            relevant: CSR [n, n_items].
            seen: CSR [n, n_items] of items that are excluded from the lists.
        """
        hits, n_relevant = hits_of(top_k(scores, self.k, seen), relevant), np.diff(relevant.indptr)
        return np.where(n_relevant > 0, self.of_hits(hits, n_relevant), np.nan).astype(np.float32)


NDCG_AT_20: Final = Metric("NDCG", 20)
"""Default metric of model selection."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a ranking.

    Attributes:
        ks: the list lengths.
        n_users: the number of users with a relevant item.
        per_user: metric such as "NDCG@10" → float32 [n], NaN for a user without a relevant item.
        means: metric → its mean over those users.
        coverage: k → share of items recommended to at least one user, 0 … 1.
        novelty: k → mean self-information of the listed items, bits.
    """

    ks: tuple[int, ...]
    n_users: int
    per_user: Mapping[str, FloatArray]
    means: Mapping[str, float]
    coverage: Mapping[int, float]
    novelty: Mapping[int, float]

    def to_dict(self) -> dict[str, float]:
        """Return all metrics over all users as a flat mapping: metric → value."""
        beyond = {f"Coverage@{k}": self.coverage[k] for k in self.ks} | {
            f"Novelty@{k}": self.novelty[k] for k in self.ks
        }
        return {**self.means, **beyond}


def evaluate(
    ranking: Ranking, relevant: sp.csr_matrix, train: sp.csr_matrix, ks: Iterable[int] = (10, 20)
) -> Evaluation:
    """Return the metrics of a ranking.

    Args:
        ranking: lists of n users; a list may be shorter than the largest k.
        relevant: CSR [n, n_items], the held-out items of each user.
        train: CSR [n_users, n_items] of the training interactions; used for the popularity of items alone.
        ks: list lengths.

    Raises:
        UsageError: a k is below 1, `ranking` and `relevant` have different numbers of users, or there is no relevant
            item.
    """
    ks = tuple(sorted(set(ks)))
    _check(ranking, relevant, ks)
    hits, n_relevant = hits_of(ranking, relevant), np.diff(relevant.indptr)
    per_user = {}
    for k in ks:
        for name, values in _metrics(hits[:, :k], n_relevant, k).items():
            per_user[f"{name}@{k}"] = np.where(n_relevant > 0, values, np.nan).astype(np.float32)
    return Evaluation(
        ks,
        int((n_relevant > 0).sum()),
        per_user,
        {name: float(np.nanmean(values, dtype=np.float64)) for name, values in per_user.items()},
        {k: _coverage(ranking, relevant.shape[1], k) for k in ks},
        {k: _novelty(ranking, train, k) for k in ks},
    )


def ndcg_at(scores: FloatArray, relevant: sp.csr_matrix, seen: sp.csr_matrix | None, k: int) -> FloatArray:
    """Rank items by score and return NDCG@k of every user, float32 [n]; NaN for a user without a relevant item.

    Args:
        scores: float32 [n, n_items].
        relevant: CSR [n, n_items].
        seen: CSR [n, n_items] of items that are excluded from the lists.
        k: list length.
    """
    return Metric("NDCG", k).of_scores(scores, relevant, seen)


def _check(ranking: Ranking, relevant: sp.csr_matrix, ks: tuple[int, ...]) -> None:
    if not ks or ks[0] < 1:
        raise UsageError(f"wrong list lengths: ks={list(ks)}. Expected whole numbers from 1")
    if len(ranking) != relevant.shape[0]:
        raise UsageError(
            f"lists and users differ in number: {len(ranking)} and {relevant.shape[0]}. Expected one list for each user"
        )
    if not relevant.nnz:
        raise UsageError("nothing to evaluate on: no user has a relevant item. Expected at least one test interaction")


def hits_of(ranking: Ranking, relevant: sp.csr_matrix) -> BoolArray:
    """Return where the lists hold a relevant item, bool [n, k]."""
    n_items, listed = relevant.shape[1], ranking.item_num >= 0
    row = np.arange(len(ranking))[:, None]
    wanted = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr)) * n_items + relevant.indices
    return np.asarray(np.isin(row * n_items + ranking.item_num, wanted) & listed)


def _metrics(hits: BoolArray, n_relevant: npt.NDArray[Any], k: int) -> dict[str, DoubleArray]:
    """Return all metrics of every user, float64 [n] each, from hits, bool [n, at most k]."""
    n_hits, ranks = hits.sum(axis=1), np.arange(1, hits.shape[1] + 1)
    precisions = np.where(hits, hits.cumsum(axis=1) / ranks, 0.0)
    return {
        "NDCG": _ndcg(hits, n_relevant, k),
        "Recall": n_hits / np.maximum(n_relevant, 1),
        "Precision": n_hits / k,
        "HR": (n_hits > 0).astype(np.float64),
        "MRR": np.where(hits, 1 / ranks, 0.0).max(axis=1, initial=0.0),
        "MAP": precisions.sum(axis=1) / np.clip(n_relevant, 1, k),
    }


def _ndcg(hits: BoolArray, n_relevant: npt.NDArray[Any], k: int) -> DoubleArray:
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = discounts.cumsum()[np.clip(n_relevant, 1, k) - 1]
    return np.asarray(hits @ discounts[: hits.shape[1]] / ideal)


def _coverage(ranking: Ranking, n_items: int, k: int) -> float:
    listed = ranking.item_num[:, :k]
    return len(np.unique(listed[listed >= 0])) / n_items


def _novelty(ranking: Ranking, train: sp.csr_matrix, k: int) -> float:
    """Return the mean self-information of the listed items, bits; 0 if nothing is listed.

    An item without training interactions counts as if one user had it.
    """
    n_with = np.maximum(np.bincount(train.indices, minlength=train.shape[1]), 1)
    listed = ranking.item_num[:, :k]
    bits = np.log2(train.shape[0] / n_with)[listed[listed >= 0]]
    return float(bits.mean()) if len(bits) else 0.0
