"""Learning weights of signals from validation lists: by likelihood, direct search on NDCG, logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, CandidateLists, FeatureKind
from kgrec.metrics.ranking import Metric

SEARCH_STEPS: Final = (0.3, 0.15, 0.07, 0.03)
"""Changes of a weight tried by the search, as shares of the sum of weights."""
SEARCH_REPEATS: Final = 3
"""Searches for NDCG that are averaged."""
MAX_NEGATIVES: Final = 200_000
"""Other items that the logistic regression learns from at most."""
NEGATIVES_PER_RELEVANT: Final = 40
"""Other items drawn for each relevant one by the logistic regression."""
RIDGE_PENALTY: Final = 1.0
"""Penalty on squared weights of features of deviation 1, beside the likelihood of all users."""
MAX_LIKELIHOOD_STEPS: Final = 80
"""Steps of the likelihood's maximization at most."""

_FITTING: Final = Lock()
"""scikit-learn changes the warning filters of the whole process while it fits, so one thread at a time may."""


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
