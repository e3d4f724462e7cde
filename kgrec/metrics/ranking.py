"""How good rankings are: metrics as pure functions, confidence intervals, and a paired test.

Ranking is full (every item a user may get competes) and relevance is binary. Each user with a relevant item counts,
one without recommendations as 0. With h_i = 1 where rank i holds a relevant item, and r relevant items:

    Recall@k    Σ h_i / r
    Precision@k Σ h_i / k
    HR@k        1 if any h_i
    MRR@k       1 / first i with h_i, else 0
    MAP@k       Σ h_i · Precision@i / min(k, r)
    NDCG@k      Σ h_i / log2(i + 1), divided by its value with min(k, r) hits in front (Järvelin & Kekäläinen 2002)
    Coverage@k  share of all items that anybody is recommended
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
"""Cut-off of the NDCG that everything is chosen by."""


@dataclass(frozen=True)
class Metric:
    """A metric of one user's list at a length, such as NDCG@20; the names are those of the head of this file."""

    name: str
    k: int

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Return the metric that a text such as "NDCG@20" names."""
        name, _, k = text.partition("@")
        return cls(name, int(k))

    def __str__(self) -> str:
        return f"{self.name}@{self.k}"

    def of_hits(self, hits: BoolArray, n_relevant: npt.NDArray[Any]) -> DoubleArray:
        """Return the metric of every user, float64 [n].

        Args:
            hits: bool [n, m], which places of the lists hold a relevant item.
            n_relevant: int [n], how many relevant items a user has.
        """
        hits = hits[:, : self.k]
        return _ndcg(hits, n_relevant, self.k) if self.name == "NDCG" else _metrics(hits, n_relevant, self.k)[self.name]

    def of_scores(self, scores: FloatArray, relevant: sp.csr_matrix, seen: sp.csr_matrix | None) -> FloatArray:
        """Return the metric of every user straight from scores, float32 [n], NaN for a user without a relevant item.

        Args:
            scores: float32 [n, n_items].
            relevant: CSR [n, n_items].
            seen: CSR [n, n_items] of what may not be listed.
        """
        hits, n_relevant = _hits(top_k(scores, self.k, seen), relevant), np.diff(relevant.indptr)
        return np.where(n_relevant > 0, self.of_hits(hits, n_relevant), np.nan).astype(np.float32)


NDCG_AT_20: Final = Metric("NDCG", 20)
"""What everything is chosen by unless settings say otherwise."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        ks: the list lengths.
        n_users: how many users have a relevant item.
        per_user: metric such as "NDCG@10" → float32 [n], NaN for a user without a relevant item.
        means: metric → its mean over those users.
        coverage: k → share of items recommended to anybody, 0 … 1.
        novelty: k → mean self-information of the listed items, bits.
    """

    ks: tuple[int, ...]
    n_users: int
    per_user: Mapping[str, FloatArray]
    means: Mapping[str, float]
    coverage: Mapping[int, float]
    novelty: Mapping[int, float]

    def to_dict(self) -> dict[str, float]:
        """Return one flat table: metric → value over all users."""
        beyond = {f"Coverage@{k}": self.coverage[k] for k in self.ks} | {
            f"Novelty@{k}": self.novelty[k] for k in self.ks
        }
        return {**self.means, **beyond}


def evaluate(
    ranking: Ranking, relevant: sp.csr_matrix, train: sp.csr_matrix, ks: Iterable[int] = (10, 20)
) -> Evaluation:
    """Measure a ranking.

    Args:
        ranking: lists of n users; one shorter than the largest k counts as ending there.
        relevant: CSR [n, n_items], what each of them did after train.
        train: CSR [n_users, n_items] of what was learned from; only popularity is read from it.
        ks: list lengths.

    Raises:
        UsageError: a k below 1, ranking and relevant of different users, or no relevant item at all.
    """
    ks = tuple(sorted(set(ks)))
    _check(ranking, relevant, ks)
    hits, n_relevant = _hits(ranking, relevant), np.diff(relevant.indptr)
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
    """Return NDCG@k of every user straight from scores, float32 [n], NaN for a user without a relevant item.

    Args:
        scores: float32 [n, n_items].
        relevant: CSR [n, n_items].
        seen: CSR [n, n_items] of what may not be listed.
        k: list length.
    """
    return Metric("NDCG", k).of_scores(scores, relevant, seen)


def _check(ranking: Ranking, relevant: sp.csr_matrix, ks: tuple[int, ...]) -> None:
    if not ks or ks[0] < 1:
        raise UsageError(f"found k in {list(ks)}; expected list lengths from 1 on")
    if len(ranking) != relevant.shape[0]:
        raise UsageError(f"found {len(ranking)} lists and {relevant.shape[0]} users; expected one list for every user")
    if not relevant.nnz:
        raise UsageError("no user has a relevant item to measure on; expected at least one test behavior")


def _hits(ranking: Ranking, relevant: sp.csr_matrix) -> BoolArray:
    """Return which places of the lists hold a relevant item, bool [n, k]."""
    n_items, listed = relevant.shape[1], ranking.item_num >= 0
    row = np.arange(len(ranking))[:, None]
    wanted = np.repeat(np.arange(relevant.shape[0]), np.diff(relevant.indptr)) * n_items + relevant.indices
    return np.asarray(np.isin(row * n_items + ranking.item_num, wanted) & listed)


def _metrics(hits: BoolArray, n_relevant: npt.NDArray[Any], k: int) -> dict[str, DoubleArray]:
    """Return every metric of hits [n, at most k], float64 [n] each."""
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
    """Mean self-information; an item nobody has yet counts as if one user had it, 0 where nothing is listed."""
    n_with = np.maximum(np.bincount(train.indices, minlength=train.shape[1]), 1)
    listed = ranking.item_num[:, :k]
    bits = np.log2(train.shape[0] / n_with)[listed[listed >= 0]]
    return float(bits.mean()) if len(bits) else 0.0
