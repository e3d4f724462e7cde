"""Blend learning for one domain: several ways of weighting, compared by cross-fitting on validation users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.errors import UsageError
from kgrec.hybrid.blend import Blend, GroupedBlend, Kind, is_cold_start, shares_of
from kgrec.hybrid.blend_weights import (
    logistic_weights,
    ndcg_search_weights,
    spread_to_one,
    weights_of_kind,
)
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, CandidateLists, Scale
from kgrec.hybrid.listwise_softmax import ListwiseSoftmax
from kgrec.metrics.ranking import NDCG_AT_20, Metric
from kgrec.metrics.significance import bootstrap_interval, clearly_better

N_FOLDS: Final = 3
N_FOLDS_OF_FEW: Final = 5
"""Folds of validation users for cross-fitting; the latter with fewer than `FEW_BLEND_USERS` of them."""
PARALLEL_FOLDS: Final = 2
"""Folds learned in parallel; each holds all features of its lists in memory."""
MIN_BLEND_USERS: Final = 20
"""Minimum number of validation users to learn weights from; with fewer, the best signal is used by itself."""
MAX_BLEND_USERS: Final = 2_000
"""Maximum number of validation users to learn weights from: a few weights need no more."""
FEW_BLEND_USERS: Final = 500
"""The same where a quick answer is worth more than the last digit: for the effort "fast", and for races."""
LISTWISE_MIN_ITEMS: Final = 3
"""Mean number of validation items per user from which the two listwise methods are the default."""
ANCHOR_SHARE: Final = 2 / 3
"""Share of the best signal in the kind "anchored"."""
HARD_NEGATIVE_SHARE: Final = 0.3
"""Share of negatives drawn from high-ranked items in the kind "hard_negatives"."""
SECONDS_PER_USER_AND_SIGNAL: Final = 0.0015
"""Approximate seconds to learn a blend, per user and signal, on two cores."""


def fit_blend(
    names: Sequence[str],
    scores: Sequence[FloatArray],
    seen: sp.csr_matrix,
    relevant: sp.csr_matrix,
    popularity: npt.NDArray[Any],
    seed: int = 0,
    metric: Metric = NDCG_AT_20,
) -> GroupedBlend:
    """Return the blend learned from validation users; a single signal if it is significantly better.

    Cold-start and in-domain users get separate blends if there are enough of both.

    Args:
        names: names of the signals.
        scores: one float32 [n, n_items] for each signal, fitted without `relevant`.
        seen: CSR [n, n_items] of the users' train items.
        relevant: CSR [n, n_items] of the users' validation items; users without any are ignored.
        popularity: [n_items], number of train users of each item.
        seed: makes folds and drawn negatives repeat.
        metric: the metric that decides between the ways of learning.

    Raises:
        UsageError: there is no signal or no validation item.
    """
    if not len(scores) or not relevant.nnz:
        raise UsageError("no signal or no validation item to learn a blend from. Expected at least one of each")
    has_relevant, new = np.diff(relevant.indptr) > 0, is_cold_start(seen)
    groups = [has_relevant & ~new, has_relevant & new]
    if min(group.sum() for group in groups) < MIN_BLEND_USERS:
        groups = [has_relevant]
    blends = [
        fit_group(names, [part[group] for part in scores], seen[group], relevant[group], popularity, seed, metric)
        for group in groups
    ]
    default, *others = blends
    return GroupedBlend(default, others[0] if others else None)


def fit_group(
    names: Sequence[str],
    scores: Sequence[FloatArray],
    seen: sp.csr_matrix,
    relevant: sp.csr_matrix,
    popularity: npt.NDArray[Any],
    seed: int,
    metric: Metric,
) -> Blend:
    """Return the blend learned from all given users, each of whom has a relevant item."""
    activity = np.diff(seen.indptr)
    scales = Scale.from_counts(activity), Scale.from_counts(popularity)
    by_signal = np.stack([metric.of_scores(part, relevant, seen) for part in scores]).astype(np.float64)
    n_folds = N_FOLDS_OF_FEW if len(activity) < FEW_BLEND_USERS else N_FOLDS
    fold = np.random.default_rng(seed).permutation(len(activity)) % n_folds
    options: dict[Kind, _Option] = {"single": _single(by_signal, fold)}
    if len(scores) > 1 and len(activity) >= MIN_BLEND_USERS:
        lists = CandidateLists.from_scores(scores, seen, relevant, scales[0](activity), scales[1](popularity), seed)
        options |= _cross_fit(lists, by_signal, fold, seed, metric)
    kind = _best(options, float(np.diff(relevant.indptr).mean()))
    blend = Blend(tuple(names), kind, options[kind].weights.astype(np.float32), *scales, {})
    blended = metric.of_scores(blend.combine(scores, seen, popularity), relevant, seen)
    shares = shares_of(blend, scores, seen, popularity)
    report = _report(blend, options, by_signal, shares, float(blended.mean(dtype=np.float64)), seed)
    return replace(blend, report=report, reached=options[kind].per_user)


def _report(
    blend: Blend,
    options: Mapping[Kind, _Option],
    by_signal: DoubleArray,
    shares: Mapping[str, float],
    blended: float,
    seed: int,
) -> dict[str, Any]:
    """Return the report of a blend; see `Blend.report`."""
    means = by_signal.mean(axis=1)
    gain = options[blend.kind].per_user - by_signal[int(means.argmax())]
    return {
        "kind": blend.kind,
        "shares": shares,
        "signals": dict(zip(blend.signals, means.tolist(), strict=True)),
        "options": {kind: float(option.per_user.mean()) for kind, option in options.items()},
        "gain": [float(gain.mean()), *bootstrap_interval(gain, seed=seed)],
        "blend": blended,
        "fusion_weights": options["stacking"].weights[0].tolist() if "stacking" in options else [],
    }


def blend_seconds(n_users: int, n_signals: int) -> float:
    """Return the approximate duration of `fit_blend` in seconds."""
    return SECONDS_PER_USER_AND_SIGNAL * min(n_users, MAX_BLEND_USERS) * n_signals


def users_to_learn_from(
    seen: sp.csr_matrix, relevant: sp.csr_matrix, seed: int, most: int = MAX_BLEND_USERS
) -> IntArray:
    """Return the rows of at most `most` in-domain and as many cold-start users, drawn at random."""
    has_relevant, new = np.diff(relevant.indptr) > 0, is_cold_start(seen)
    groups = [np.flatnonzero(has_relevant & ~new), np.flatnonzero(has_relevant & new)]
    rng = np.random.default_rng(seed)
    some = [rng.choice(group, most, replace=False) if len(group) > most else group for group in groups]
    return np.sort(np.concatenate(some))


@dataclass(frozen=True)
class _Option:
    """The result of one way of learning: weights [feature kinds, signals] and each user's cross-fitted metric [n]."""

    weights: DoubleArray
    per_user: DoubleArray


def _single(by_signal: DoubleArray, fold: IntArray) -> _Option:
    """Return the best single signal by the metric [signals, n]; a fold is measured with the best one on the others."""
    per_user = np.empty(len(fold))
    for number in range(fold.max() + 1):
        in_fold = fold == number
        per_user[in_fold] = by_signal[by_signal[:, ~in_fold].sum(axis=1).argmax(), in_fold]
    return _Option(weights_of_kind("raw", np.eye(len(by_signal))[by_signal.mean(axis=1).argmax()]), per_user)


def _cross_fit(
    lists: CandidateLists, by_signal: DoubleArray, fold: IntArray, seed: int, metric: Metric
) -> dict[Kind, _Option]:
    """Return for each kind the mean of the folds' weights, each learned without its fold and measured on it."""
    # BLAS threads inside the parallel folds would mostly wait for each other.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(PARALLEL_FOLDS) as pool:
        softmax, numbers = ListwiseSoftmax(lists, FEATURE_KINDS), range(fold.max() + 1)
        learned = list(
            pool.map(lambda number: _learn(lists, by_signal, fold != number, softmax, seed, metric), numbers)
        )
    return {kind: _measured(lists, [weights[kind] for weights in learned], fold, metric) for kind in learned[0]}


def _measured(lists: CandidateLists, weights: Sequence[DoubleArray], fold: IntArray, metric: Metric) -> _Option:
    """Return the mean of the folds' weights [feature kinds, signals], each measured on its left-out users."""
    per_user = np.empty(len(fold))
    for number, fold_weights in enumerate(weights):
        per_user[fold == number] = lists.take(fold == number).evaluate(fold_weights, metric)
    return _Option(np.mean(weights, axis=0), per_user)


def _learn(
    lists: CandidateLists,
    by_signal: DoubleArray,
    users: BoolArray,
    softmax: ListwiseSoftmax,
    seed: int,
    metric: Metric,
) -> dict[Kind, DoubleArray]:
    """Return the weights [feature kinds, signals] of each kind on one scale, and the means of several kinds.

    Args:
        lists: candidate lists of all validation users.
        by_signal: the metric of each user by each signal, [signals, n].
        users: mask of the users to learn from, bool [n].
        softmax: the listwise model of `lists`.
        seed: makes drawn negatives and halves repeat.
        metric: the metric of the direct search.
    """
    some = lists.take(users)
    learned: dict[Kind, DoubleArray] = {
        "stacking": logistic_weights(some, ["raw"], 0.0, seed),
        "hard_negatives": logistic_weights(some, ["raw", "zscore", "activity"], HARD_NEGATIVE_SHARE, seed),
        "ndcg_search": ndcg_search_weights(some, metric, seed),
        "max_likelihood": softmax.weights_of(users),
    }
    scaled = {way: spread_to_one(some, weights) for way, weights in learned.items()}
    means: dict[Kind, list[Kind]] = {"mean": list(learned), "listwise_mean": ["ndcg_search", "max_likelihood"]}
    scaled |= {kind: np.mean([scaled[way] for way in of], axis=0) for kind, of in means.items()}
    best = weights_of_kind("raw", np.eye(len(by_signal))[by_signal[:, users].sum(axis=1).argmax()])
    anchored = ANCHOR_SHARE * spread_to_one(some, best) + (1 - ANCHOR_SHARE) * scaled["listwise_mean"]
    return scaled | {"anchored": anchored}


def _best(options: Mapping[Kind, _Option], mean_relevant: float) -> Kind:
    """Return the default kind, a mean of several ways of learning, unless another kind is significantly better.

    The default is "listwise_mean" if users have many relevant items, else "mean"; "anchored" if that is worse than the
    best single signal by more than a standard error. With many options and few users, the best option is often best by
    chance, hence the significance tests.
    """
    if "mean" not in options:
        return "single"
    best: Kind = "listwise_mean" if mean_relevant >= LISTWISE_MIN_ITEMS else "mean"
    loss = options["single"].per_user - options[best].per_user
    if loss.mean() > loss.std() / np.sqrt(len(loss)):
        best = "anchored"
    for kind in ("listwise_mean", *options):
        best = kind if clearly_better(options[kind].per_user, options[best].per_user) else best
    return best
