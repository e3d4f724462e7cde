"""Blend weights learned from validation lists: by a search on the metric, or logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, CandidateLists, FeatureKind
from kgrec.hybrid.listwise_softmax import ListwiseSoftmax
from kgrec.metrics.ranking import Metric

SEARCH_STEPS: Final = (0.3, 0.15, 0.07, 0.03)
"""Step sizes of the metric search, as shares of the sum of weights."""
SEARCH_REPEATS: Final = 3
"""Number of metric searches that are averaged."""
MAX_NEGATIVES: Final = 200_000
"""Maximum number of negatives of a logistic regression."""
NEGATIVES_PER_RELEVANT: Final = 40
"""Negatives drawn for each relevant item of a logistic regression."""

_FITTING: Final = Lock()
"""Serializes scikit-learn fits between threads: a fit changes the warning filters of the process."""


def ndcg_search_weights(lists: CandidateLists, metric: Metric, seed: int) -> DoubleArray:
    """Return z-score weights from a coordinate search on the metric, averaged over random halves of the users.

    A ranking metric is a step function of the weights: a single search fits its noise, the mean of several does not
    (bagging, Breiman 1996).

    Returns:
        float64 [feature kinds, signals].
    """
    rng, searched = np.random.default_rng(seed), []
    start = ListwiseSoftmax(lists, ["zscore"]).positive_weights()[FEATURE_KINDS.index("zscore")]
    for _ in range(SEARCH_REPEATS):
        weights = _search(lists.take(rng.random(len(lists.n_relevant)) < 0.5), start, metric)
        searched.append(weights / max(np.abs(weights).sum(), 1e-12))
    return weights_of_kind("zscore", np.mean(searched, axis=0))


def logistic_weights(
    lists: CandidateLists, feature_kinds: Sequence[FeatureKind], hard: float, seed: int
) -> DoubleArray:
    """Return weights from a logistic regression of the relevant items against drawn negatives.

    Uniform negatives give little weight to unchosen items that some signal ranks high, which are often chosen later.
    Hard negatives, drawn from those items, teach the regression to separate the best items from merely good ones.

    Args:
        lists: candidate lists of the validation users.
        feature_kinds: the kinds of features that get weights.
        hard: share of hard negatives, 0 … 1.
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
    """Return weights [feature kinds, signals] scaled so that the mean standard deviation of a user's scores is 1."""
    scores = np.ma.masked_invalid(lists.blended(weights))
    return weights / max(float(scores.std(axis=1, dtype=np.float64).mean()), 1e-12)


def fusion_weights(features: npt.NDArray[Any], is_relevant: BoolArray) -> DoubleArray:
    """Return the weights w, float64 [d], of the logistic regression σ(w · features + b) with a slight ridge penalty.

    Args:
        features: [pairs, d].
        is_relevant: bool [pairs].
    """
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    deviation = features.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-9] = 1  # constant but for rounding: not informative
    x = (features - features.mean(axis=0, dtype=np.float64)) / deviation
    with _FITTING:
        fitted = LogisticRegression(solver="newton-cholesky").fit(x, is_relevant)
    return np.asarray(fitted.coef_[0] / deviation)


def weights_of_kind(feature_kind: str, weights: DoubleArray) -> DoubleArray:
    """Return weights [signals] of one kind of feature as float64 [feature kinds, signals], zero for other kinds."""
    by_kind = np.zeros((len(FEATURE_KINDS), len(weights)))
    by_kind[FEATURE_KINDS.index(feature_kind)] = weights
    return by_kind


def _drawn(weight: npt.NDArray[Any], n: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Return the rows and columns, int64 [n] each, of n cells drawn with replacement by weight [n users, m]."""
    total = weight.cumsum(dtype=np.float64)
    places = np.searchsorted(total, rng.random(n) * total[-1], side="right")
    row, column = np.divmod(places, weight.shape[1])
    return row, column


def _search(lists: CandidateLists, start: DoubleArray, metric: Metric) -> DoubleArray:
    """Return z-score weights [signals] after a coordinate ascent on the metric with decreasing step sizes."""
    weights, scores = start.copy(), lists.blended(weights_of_kind("zscore", start))
    best, total = lists.evaluate_scores(scores, metric).mean(), np.abs(start).sum()
    changes = [(step * sign, signal) for step in SEARCH_STEPS for signal in range(len(start)) for sign in (1, -1)]
    for change, signal in changes:
        tried = scores + np.float32(change * total) * lists.zscore[signal]
        if (reached := lists.evaluate_scores(tried, metric).mean()) > best:
            best, scores = reached, tried
            weights[signal] += change * total
    return weights
