"""Learning weights of signals from validation lists: by likelihood, direct search on NDCG, logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import log_softmax

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.metrics.ranking import Metric
from kgrec.ranking.top_k import top_k

TOP_ITEMS_PER_SIGNAL: Final = 60
"""Items of each signal, from its best down, that weights are learned on: deeper ones hardly reach a short list."""
SEARCH_STEPS: Final = (0.3, 0.15, 0.07, 0.03)
"""Changes of a weight tried by the search, as shares of the sum of weights."""
SEARCH_REPEATS: Final = 3
"""Searches for NDCG that are averaged."""
MAX_NEGATIVES: Final = 200_000
"""Other items that the logistic regression learns from at most."""
MAX_DEVIATIONS: Final = 2.5
"""Deviations from the mean beyond which activity and popularity change nothing more."""
SAMPLED_ITEMS_PER_USER: Final = 200
"""Other unseen items of each user, drawn at random to stand for all of them."""
NEGATIVES_PER_RELEVANT: Final = 40
"""Other items drawn for each relevant one by the logistic regression."""
RIDGE_PENALTY: Final = 1.0
"""Penalty on squared weights of features of deviation 1, beside the likelihood of all users."""
MAX_LIKELIHOOD_STEPS: Final = 80
"""Steps of the likelihood's maximization at most."""

_FITTING: Final = Lock()
"""scikit-learn changes the warning filters of the whole process while it fits, so one thread at a time may."""

FeatureKind = Literal["raw", "zscore", "activity", "popularity"]
FEATURE_KINDS: Final[tuple[FeatureKind, ...]] = get_args(FeatureKind)
"""Each signal has one weight for its own score, which says how sure it is, one for the z-score, and one each for the
z-score times the user's activity and times the item's popularity."""


def standardize(scores: FloatArray, seen: sp.csr_matrix) -> FloatArray:
    """Return z-scores by user: mean 0 and deviation 1 over the items not seen, float32 [n, n_items].

    A user whose unseen items all have one score gets zeros for them.
    """
    row = np.repeat(np.arange(len(scores)), np.diff(seen.indptr))
    n_unseen = np.maximum(scores.shape[1] - np.diff(seen.indptr), 1)[:, None]
    zscore, held = np.array(scores, dtype=np.float32), scores[row, seen.indices]
    zscore[row, seen.indices] = 0
    mean = zscore.sum(axis=1, dtype=np.float64, keepdims=True) / n_unseen
    zscore -= mean.astype(np.float32)
    zscore[row, seen.indices] = 0
    deviation = np.sqrt(np.einsum("ij,ij->i", zscore, zscore)[:, None] / n_unseen)
    flat = deviation <= 1e-5 * np.abs(mean) + 1e-12
    zscore[row, seen.indices] = held - mean[row, 0].astype(np.float32)
    zscore *= np.where(flat, 0, 1 / np.where(flat, 1, deviation)).astype(np.float32)
    return zscore


@dataclass(frozen=True)
class Scale:
    """How a count becomes a number near 0: its logarithm, less the mean, over the deviation, within ± `MAX_DEVIATIONS`.

    Attributes:
        mean, deviation: of the logarithms that the scale was made from.
    """

    mean: float
    deviation: float

    @classmethod
    def from_counts(cls, counts: npt.NDArray[Any]) -> Self:
        """Make the scale of counts [n]."""
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
    """The items that can reach the top of a user's list and a sample of the others, one row a user, padded at the end.

    Attributes:
        item_num: int64 [n, m] in ascending order, -1 for padding.
        raw: float32 [signals, n, m], scores as the signals give them.
        zscore: float32 [signals, n, m], standardized scores.
        sampling_weight: float32 [n, m], how many unseen items an item stands for: 1, more if it was drawn, 0 for
            padding.
        relevant: bool [n, m].
        n_relevant: int64 [n].
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
        """Gather the best items of every signal, the relevant ones and a sample.

        Args:
            scores: one float32 [n, n_items] for each signal.
            seen, relevant: CSR [n, n_items].
            activity: float32 [n], scaled.
            popularity: float32 [n_items], scaled.
            seed: makes the sample repeat.
        """
        item_num, sampling_weight = _candidates(scores, seen, relevant, seed)
        row = np.arange(len(item_num))[:, None]
        wanted = np.isin(row * relevant.shape[1] + item_num, _keys_of(relevant)) & (item_num >= 0)
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
        """Which places hold an item, bool [n, m]."""
        return self.item_num >= 0

    @property
    def sampling(self) -> FloatArray:
        """Logarithm of how many items each stands for, float32 [n, m], -inf for none: so a drawn one weighs as much."""
        return np.where(self.listed, np.log(np.maximum(self.sampling_weight, 1)), -np.inf).astype(np.float32)

    def take(self, users: BoolArray) -> CandidateLists:
        """Return the lists of the users that a mask [n] marks."""
        by_user = {name: value[users] for name, value in vars(self).items() if name not in ("raw", "zscore")}
        return CandidateLists(raw=self.raw[:, users], zscore=self.zscore[:, users], **by_user)

    def features_of(self, feature_kind: FeatureKind) -> FloatArray:
        """Return what the weights of a form are for, float32 [signals, n, m]; see `FEATURE_KINDS`."""
        if feature_kind == "raw":
            return self.raw
        if feature_kind == "zscore":
            return self.zscore
        return np.asarray(self.zscore * (self.activity[:, None] if feature_kind == "activity" else self.popularity))

    def blended(self, weights: DoubleArray) -> FloatArray:
        """Return scores under weights [feature kinds, signals], float32 [n, m]; -inf for padding."""
        total = np.zeros(self.item_num.shape, dtype=np.float32)
        for raw, zscore, weight in zip(self.raw, self.zscore, weights.T.astype(np.float32), strict=True):
            total += weighted(raw, zscore, weight, self.activity, self.popularity)
        total[~self.listed] = -np.inf
        return total

    def evaluate(self, weights: DoubleArray, metric: Metric) -> DoubleArray:
        """Return the metric of every user under weights [feature kinds, signals], float64 [n]."""
        return self.evaluate_scores(self.blended(weights), metric)

    def evaluate_scores(self, scores: FloatArray, metric: Metric) -> DoubleArray:
        """Return the metric of every user under scores [n, m], float64 [n]."""
        k = min(metric.k, scores.shape[1])
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(self.relevant, np.take_along_axis(best, order, axis=1), axis=1)
        return metric.of_hits(hits, self.n_relevant)


def weighted(
    raw: FloatArray | None, zscore: FloatArray | None, weight: FloatArray, activity: FloatArray, popularity: FloatArray
) -> FloatArray:
    """Return what one signal adds to scores, float32 [n, m].

    Args:
        raw, zscore: [n, m], the signal's scores as they are and standardized; None where their weights are 0.
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


def ndcg_search_weights(lists: CandidateLists, metric: Metric, seed: int) -> DoubleArray:
    """Search for the z-scores' weights that give half the users the best metric, and average over several halves.

    A metric is a step function: a single search fits its noise, the mean of a few does not (bagging, Breiman 1996).

    Returns:
        float64 [feature kinds, signals].
    """
    rng, searched = np.random.default_rng(seed), []
    start = max_likelihood_weights(lists, ["zscore"], positive=True)[FEATURE_KINDS.index("zscore")]
    for _ in range(SEARCH_REPEATS):
        weights = _search(lists.take(rng.random(len(lists.n_relevant)) < 0.5), start, metric)
        searched.append(weights / max(np.abs(weights).sum(), 1e-12))
    return weights_of_kind("zscore", np.mean(searched, axis=0))


def max_likelihood_weights(
    lists: CandidateLists, feature_kinds: Sequence[FeatureKind], positive: bool = False
) -> DoubleArray:
    """Learn weights of some forms that make the relevant items likely under a softmax over each user's list.

    Cross-entropy of the list (ListNet, Cao et al., ICML 2007) with a ridge penalty; each user counts once.

    Args:
        lists: what to learn from.
        feature_kinds: those that get a weight.
        positive: whether no weight may be below 0.

    Returns:
        float64 [feature kinds, signals].
    """
    features = np.concatenate([lists.features_of(feature_kind) for feature_kind in feature_kinds])
    known = features[:, lists.listed]
    mean = known.mean(axis=1, dtype=np.float64, keepdims=True)[..., None]
    deviation = known.std(axis=1, dtype=np.float64, keepdims=True)[..., None]
    deviation[deviation < 1e-9] = 1  # the same for all but for rounding: it tells nothing
    for feature, middle, spread in zip(features, mean.ravel(), deviation.ravel(), strict=True):
        feature[...] = np.where(lists.listed, (feature - middle) / spread, 0)
    fitted = softmax_weights(features, lists.sampling, lists.relevant, lists.n_relevant, positive)
    by_kind = np.zeros((len(FEATURE_KINDS), len(lists.zscore)))
    by_kind[[FEATURE_KINDS.index(feature_kind) for feature_kind in feature_kinds]] = (
        fitted / deviation.ravel()
    ).reshape(len(feature_kinds), -1)
    return by_kind


def softmax_weights(
    features: npt.NDArray[Any],
    sampling: npt.NDArray[Any],
    relevant: BoolArray,
    n_relevant: IntArray,
    positive: bool,
) -> DoubleArray:
    """Return weights [f] under which a softmax over each user's list makes the relevant items likely.

    Args:
        features: [f, n, m], finite.
        sampling: [n, m], the logarithm of how many items each stands for; -inf for none.
        relevant: bool [n, m].
        n_relevant: int64 [n].
        positive: whether no weight may be below 0.
    """
    flat = np.ascontiguousarray(features.reshape(len(features), -1), dtype=np.float32)
    share = relevant / np.maximum(n_relevant, 1)[:, None] / len(relevant)
    ridge = RIDGE_PENALTY / max(len(relevant), 1)

    def loss(weights: DoubleArray) -> tuple[float, DoubleArray]:
        log_p = log_softmax((weights.astype(np.float32) @ flat).reshape(sampling.shape) + sampling, axis=1)
        slope = (np.exp(log_p) * share.sum(axis=1, keepdims=True) - share).astype(np.float32)
        likelihood = float((log_p[relevant] * share[relevant]).sum())
        return float(ridge / 2 * weights @ weights) - likelihood, flat @ slope.ravel() + ridge * weights

    start, bounds = np.zeros(len(features)), [(0 if positive else None, None)] * len(features)
    fitted = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MAX_LIKELIHOOD_STEPS}
    )
    return np.asarray(fitted.x)


def logistic_weights(
    lists: CandidateLists, feature_kinds: Sequence[FeatureKind], hard: float, seed: int
) -> DoubleArray:
    """Learn weights of some forms by logistic regression of the relevant items against others, drawn at random.

    Against all others alike, what some signal ranks high and the user did not take (yet) counts for little: it is
    more often right than wrong. Against items ranked high, the regression learns what tells the best from the good.

    Args:
        lists: what to learn from.
        feature_kinds: those that get a weight.
        hard: share of the draws that is from the items that some signal ranks high; 0 … 1.
        seed: makes the draws repeat.

    Returns:
        float64 [feature kinds, signals].
    """
    rng, by_kind = np.random.default_rng(seed), np.zeros((len(FEATURE_KINDS), len(lists.zscore)))
    ranked = (lists.sampling_weight == 1) & ~lists.relevant
    row, column = np.nonzero(lists.relevant)
    if not (lists.listed & ~lists.relevant).any():
        return by_kind
    n_drawn = min(NEGATIVES_PER_RELEVANT * len(row), MAX_NEGATIVES)
    n_hard = round(hard * n_drawn) if ranked.any() else 0
    others = [_drawn(lists.sampling_weight * ~lists.relevant, n_drawn - n_hard, rng), _drawn(ranked, n_hard, rng)]
    row, column = (np.concatenate(part) for part in zip((row, column), *others, strict=True))
    features = np.concatenate(
        [lists.features_of(feature_kind)[:, row, column].T for feature_kind in feature_kinds], axis=1
    )
    weights = fusion_weights(features, lists.relevant[row, column])
    by_kind[[FEATURE_KINDS.index(feature_kind) for feature_kind in feature_kinds]] = weights.reshape(
        len(feature_kinds), -1
    )
    return by_kind


def spread_to_one(lists: CandidateLists, weights: DoubleArray) -> DoubleArray:
    """Scale weights [feature kinds, signals] so that a user's scores have a deviation of 1, on average."""
    scores = np.ma.masked_invalid(lists.blended(weights))
    return weights / max(float(scores.std(axis=1, dtype=np.float64).mean()), 1e-12)


def fusion_weights(features: npt.NDArray[Any], is_relevant: BoolArray) -> DoubleArray:
    """Fit σ(w · features + b), logistic regression with a slight ridge penalty, and return w, float64 [d].

    Args:
        features: [pairs, d].
        is_relevant: bool [pairs].
    """
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-9] = 1  # the same for all but for rounding: it tells nothing
    x = (features - features.mean(axis=0, dtype=np.float64)) / deviation
    with _FITTING:
        fitted = LogisticRegression(solver="newton-cholesky").fit(x, is_relevant)
    return np.asarray(fitted.coef_[0] / deviation)


def _candidates(
    scores: Sequence[FloatArray], seen: sp.csr_matrix, relevant: sp.csr_matrix, seed: int
) -> tuple[IntArray, FloatArray]:
    """Each user's best items of every signal, relevant and drawn ones: numbers, and how many items each stands for."""
    n, n_items = relevant.shape
    best = np.concatenate([top_k(part, TOP_ITEMS_PER_SIGNAL, seen).item_num for part in scores], axis=1)
    listed = np.union1d(_keys(best, n_items), _keys_of(relevant))
    drawn = _keys(
        np.random.default_rng(seed).integers(n_items, size=(n, min(SAMPLED_ITEMS_PER_USER, n_items))), n_items
    )
    drawn = np.setdiff1d(drawn, np.union1d(listed, _keys_of(seen)))
    n_others = n_items - np.diff(seen.indptr) - np.bincount(listed // n_items, minlength=n)
    n_drawn = np.bincount(drawn // n_items, minlength=n)
    keys = np.union1d(listed, drawn)
    row, item = np.divmod(keys, n_items)
    sampling_weight = np.where(np.isin(keys, drawn), (n_others / np.maximum(n_drawn, 1))[row], 1)
    count = np.bincount(row, minlength=n)
    shape, place = (n, int(count.max(initial=1))), np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return _filled(shape, -1, row, place, item), _filled(shape, 0.0, row, place, sampling_weight).astype(np.float32)


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


def weights_of_kind(feature_kind: str, weights: DoubleArray) -> DoubleArray:
    """Return weights [signals] of one form among those of all forms, float64 [feature kinds, signals]."""
    by_kind = np.zeros((len(FEATURE_KINDS), len(weights)))
    by_kind[FEATURE_KINDS.index(feature_kind)] = weights
    return by_kind


def _drawn(weight: npt.NDArray[Any], n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Draw n places by weight [n users, m], with replacement: rows and columns, int64 [n] each."""
    total = weight.cumsum(dtype=np.float64)
    places = np.searchsorted(total, rng.random(n) * total[-1], side="right")
    row, column = np.divmod(places, weight.shape[1])
    return row, column


def _search(lists: CandidateLists, start: DoubleArray, metric: Metric) -> DoubleArray:
    """Change one weight [signals] of z-scores at a time, by ever smaller steps, while the metric rises."""
    weights, scores = start.copy(), lists.blended(weights_of_kind("zscore", start))
    best, total = lists.evaluate_scores(scores, metric).mean(), np.abs(start).sum()
    changes = [(step * sign, signal) for step in SEARCH_STEPS for signal in range(len(start)) for sign in (1, -1)]
    for change, signal in changes:
        tried = scores + np.float32(change * total) * lists.zscore[signal]
        if (reached := lists.evaluate_scores(tried, metric).mean()) > best:
            best, scores = reached, tried
            weights[signal] += change * total
    return weights
