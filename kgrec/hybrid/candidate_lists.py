"""Candidate lists: the top items of each user and a sample of the others, with the features of a blend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.metrics.ranking import Metric
from kgrec.ranking.top_k import top_k

TOP_ITEMS_PER_SIGNAL: Final = 60
"""Top items of each signal that are candidates: lower-ranked items rarely reach a short list."""

MAX_DEVIATIONS: Final = 2.5
"""Scaled activity and popularity are clipped to this many standard deviations from the mean."""
SAMPLED_ITEMS_PER_USER: Final = 200
"""Other unseen items of each user, drawn at random to represent the rest."""

FeatureKind = Literal["raw", "zscore", "activity", "popularity"]
FEATURE_KINDS: Final[tuple[FeatureKind, ...]] = get_args(FeatureKind)
"""Each signal has four weights: for its raw score, whose size reflects the signal's confidence, for its z-score, and
for the z-score times the user's activity and times the item's popularity."""


def standardize(scores: FloatArray | Sequence[FloatArray], seen: sp.csr_matrix) -> FloatArray:
    """Return z-scores by user, float32 […, n, n_items]: mean 0 and standard deviation 1 over the unseen items.

    If all unseen items of a user have the same score, their z-scores are 0.

    Args:
        scores: [n, n_items], or those of several signals, [signals, n, n_items].
        seen: CSR [n, n_items] of the items that the users have.
    """
    row = np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr))
    n_unseen = np.maximum(seen.shape[1] - np.diff(seen.indptr), 1)[:, None]
    zscore = np.array(scores, dtype=np.float32)
    held = zscore[..., row, seen.indices]
    zscore[..., row, seen.indices] = 0
    mean = zscore.sum(axis=-1, dtype=np.float64, keepdims=True) / n_unseen
    zscore -= mean.astype(np.float32)
    zscore[..., row, seen.indices] = 0
    deviation = np.sqrt(np.einsum("...ij,...ij->...i", zscore, zscore)[..., None] / n_unseen)
    flat = deviation <= 1e-5 * np.abs(mean) + 1e-12
    zscore[..., row, seen.indices] = held - mean[..., row, 0].astype(np.float32)
    zscore *= np.where(flat, 0, 1 / np.where(flat, 1, deviation)).astype(np.float32)
    return zscore


@dataclass(frozen=True)
class Scale:
    """Standardization of counts on a log scale, clipped to ± `MAX_DEVIATIONS`.

    Attributes:
        mean, deviation: mean and standard deviation of the logarithms of the counts.
    """

    mean: float
    deviation: float

    @classmethod
    def from_counts(cls, counts: npt.NDArray[Any]) -> Self:
        """Return the scale of counts [n]."""
        logs = np.log1p(counts.astype(np.float64))
        if not np.ptp(counts):
            return cls(float(logs[0]), 1.0)
        return cls(float(logs.mean()), float(logs.std()))

    def __call__(self, counts: npt.NDArray[Any]) -> FloatArray:
        """Return scaled counts, float32 of the same shape."""
        scaled = (np.log1p(counts.astype(np.float64)) - self.mean) / self.deviation
        return np.clip(scaled, -MAX_DEVIATIONS, MAX_DEVIATIONS).astype(np.float32)


@dataclass(frozen=True)
class CandidateLists:
    """The top items of each user and a sample of the others, one row per user, padded at the end.

    Attributes:
        item_num: int64 [n, m] in ascending order, -1 for padding.
        raw: float32 [signals, n, m], raw scores of the signals.
        zscore: float32 [signals, n, m], standardized scores.
        sampling_weight: float32 [n, m], number of unseen items that an item represents: 1, more for a drawn item, 0
            for padding.
        relevant: bool [n, m].
        n_relevant: int64 [n], number of relevant items of each user.
        activity: float32 [n], scaled.
        popularity: float32 [n, m], scaled.
    """

    item_num: IntArray
    raw: FloatArray
    zscore: FloatArray
    sampling_weight: FloatArray
    relevant: BoolArray
    n_relevant: IntArray
    activity: FloatArray
    popularity: FloatArray

    @classmethod
    def from_scores(
        cls,
        scores: Sequence[FloatArray],
        seen: sp.csr_matrix,
        relevant: sp.csr_matrix,
        activity: FloatArray,
        popularity: FloatArray,
        seed: int,
    ) -> Self:
        """Return lists of the top items of every signal, the relevant items and a random sample of the others.

        Args:
            scores: one float32 [n, n_items] for each signal.
            seen, relevant: CSR [n, n_items].
            activity: float32 [n], scaled.
            popularity: float32 [n_items], scaled.
            seed: makes the sample repeat.
        """
        item_num, sampling_weight = _candidates(scores, seen, relevant, seed)
        row = np.arange(len(item_num))[:, None]
        is_relevant = np.zeros(relevant.shape, dtype=bool)
        is_relevant[_rows_of(relevant), relevant.indices] = True
        wanted = is_relevant[row, item_num] & (item_num >= 0)
        return cls(
            item_num,
            np.stack([part[row, item_num].astype(np.float32) for part in scores]),
            np.stack([standardize(part, seen)[row, item_num] for part in scores]),
            sampling_weight,
            wanted,
            np.diff(relevant.indptr).astype(np.int64),
            activity,
            popularity[item_num],
        )

    @property
    def listed(self) -> BoolArray:
        """Mask of the places that hold an item, bool [n, m]."""
        return self.item_num >= 0

    @property
    def sampling(self) -> FloatArray:
        """Logarithm of the sampling weight, float32 [n, m], -inf for padding: the offset of a sampled softmax."""
        return np.where(self.listed, np.log(np.maximum(self.sampling_weight, 1)), -np.inf).astype(np.float32)

    @cached_property
    def relevant_places(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the relevant items, int64 [places] each."""
        row, column = np.nonzero(self.relevant)
        return row.astype(np.int64), column.astype(np.int64)

    def take(self, users: BoolArray) -> CandidateLists:
        """Return the lists of the users in a mask, bool [n]."""
        by_signal, names = ("raw", "zscore"), [field.name for field in fields(self)]
        by_user = {name: getattr(self, name)[users] for name in names if name not in by_signal}
        return CandidateLists(raw=self.raw[:, users], zscore=self.zscore[:, users], **by_user)

    def features_of(self, feature_kind: FeatureKind) -> FloatArray:
        """Return the features of a kind, float32 [signals, n, m]; see `FEATURE_KINDS`."""
        if feature_kind == "raw":
            return self.raw
        if feature_kind == "zscore":
            return self.zscore
        return np.asarray(self.zscore * (self.activity[:, None] if feature_kind == "activity" else self.popularity))

    def blended(self, weights: DoubleArray) -> FloatArray:
        """Return the blended scores by weights [feature kinds, signals], float32 [n, m]; -inf for padding."""
        total = np.zeros(self.item_num.shape, dtype=np.float32)
        for raw, zscore, weight in zip(self.raw, self.zscore, weights.T.astype(np.float32), strict=True):
            total += weighted(raw, zscore, weight, self.activity, self.popularity)
        total[~self.listed] = -np.inf
        return total

    def evaluate(self, weights: DoubleArray, metric: Metric) -> DoubleArray:
        """Return the metric of every user by weights [feature kinds, signals], float64 [n]."""
        return self.evaluate_scores(self.blended(weights), metric)

    def evaluate_scores(self, scores: FloatArray, metric: Metric) -> DoubleArray:
        """Return the metric of every user by scores [n, m], float64 [n]."""
        k = min(metric.k, scores.shape[1])
        last = np.partition(scores, -k, axis=1)[:, -k, None]
        row, column = self.relevant_places
        listed = scores[row, column] >= last[row, 0]
        row, column = row[listed], column[listed]
        others, own = scores[row], scores[row, column, None]
        before = (others > own) | ((others == own) & (np.arange(scores.shape[1]) < column[:, None]))
        rank = before.sum(axis=1)
        hits = np.zeros((len(scores), k), dtype=bool)
        hits[row[rank < k], rank[rank < k]] = True
        return metric.of_hits(hits, self.n_relevant)


def weighted(
    raw: FloatArray | None, zscore: FloatArray | None, weight: FloatArray, activity: FloatArray, popularity: FloatArray
) -> FloatArray:
    """Return the weighted sum of one signal's features, float32 [n, m].

    Args:
        raw, zscore: [n, m], the signal's raw and standardized scores; None if their weights are 0.
        weight: [feature kinds], see `FEATURE_KINDS`.
        activity: [n], scaled.
        popularity: [n, m] or [m], scaled.
    """
    part: FloatArray | None = None
    if zscore is not None:
        factor = weight[1] + weight[2] * activity[:, None]
        part = zscore * (factor + weight[3] * popularity if weight[3] else factor)
    if raw is not None:
        part = weight[0] * raw if part is None else part + weight[0] * raw
    return np.asarray(part, dtype=np.float32)


def _candidates(
    scores: Sequence[FloatArray], seen: sp.csr_matrix, relevant: sp.csr_matrix, seed: int
) -> tuple[IntArray, FloatArray]:
    """Return each user's top, relevant and drawn items, int64 [n, m], and their sampling weights, float32 [n, m]."""
    (n, n_items), rng = relevant.shape, np.random.default_rng(seed)
    listed, drawn = np.zeros((n, n_items), dtype=bool), np.zeros((n, n_items), dtype=bool)
    row = np.arange(n)[:, None]
    for part in scores:
        best = top_k(part, TOP_ITEMS_PER_SIGNAL, seen).item_num
        listed[np.broadcast_to(row, best.shape)[best >= 0], best[best >= 0]] = True
    listed[_rows_of(relevant), relevant.indices] = True
    drawn[row, rng.integers(n_items, size=(n, min(SAMPLED_ITEMS_PER_USER, n_items)))] = True
    drawn[_rows_of(seen), seen.indices] = False
    drawn &= ~listed
    n_drawn, n_others = drawn.sum(axis=1), n_items - np.diff(seen.indptr) - listed.sum(axis=1)
    candidate_row, item = np.nonzero(listed | drawn)
    of_drawn = (n_others / np.maximum(n_drawn, 1))[candidate_row]
    sampling_weight = np.where(drawn[candidate_row, item], of_drawn, 1)
    count = np.bincount(candidate_row, minlength=n)
    place = np.arange(len(item)) - np.repeat(np.cumsum(count) - count, count)
    shape = (n, int(count.max(initial=1)))
    return (
        _filled(shape, -1, candidate_row, place, item),
        _filled(shape, 0.0, candidate_row, place, sampling_weight).astype(np.float32),
    )


def _rows_of(matrix: sp.csr_matrix) -> IntArray:
    """Return the row of each entry of a CSR matrix, int64 [entries]."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _filled(
    shape: tuple[int, int], empty: float, row: IntArray, column: IntArray, values: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    filled = np.full(shape, empty, dtype=values.dtype)
    filled[row, column] = values
    return filled
