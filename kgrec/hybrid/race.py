"""Race: what each signal brings to a blend, found with default settings before any of them is tuned.

The search for settings gives its time to the signals that can bring something.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.blend import is_cold_start
from kgrec.hybrid.candidate_lists import CandidateLists, FeatureKind, Scale
from kgrec.hybrid.learn_blend import FEW_BLEND_USERS, MIN_BLEND_USERS, users_to_learn_from
from kgrec.hybrid.listwise_softmax import ListwiseSoftmax
from kgrec.signals.base import Signals
from kgrec.tuning.validation import ValidationSet

logger = logging.getLogger(__name__)

MAX_LOSS: Final = 1.0
"""Standard errors of the metric that leaving out signals may cost, at most, against the best set of signals."""
RACE_FEATURES: Final[tuple[FeatureKind, ...]] = ("raw", "zscore")
"""Kinds of features of the blend that the race learns."""
COLD_START: Final = "cold-start users of {}"


@dataclass(frozen=True)
class Race:
    """Result of a race.

    Attributes:
        worth: signal → gain in the validation metric that it may bring to the others: the measured gain plus a standard
            error; at least 0, the mean over the groups of users.
        report: group of users → "metric" (of the blend of all signals), "users", "worth" (needed signal → gain),
            "left_out" (signal that is not needed → metric after it was left out, in order).
    """

    worth: Mapping[str, float]
    report: Mapping[str, Any]


def race(signals: Signals, validation: Sequence[ValidationSet], train: GraphSnapshot, seed: int) -> Race:
    """Return what each signal brings to the blends, by backward elimination on a sample of the validation users.

    A blend is learned on one half of the users and measured on the other. The signal whose removal costs least is left
    out again and again, as long as the metric stays within `MAX_LOSS` standard errors of the best set of signals. The
    other weights are corrected for each removal with the curvature of the loss (Hassibi & Stork, "Second order
    derivatives for network pruning: Optimal Brain Surgeon", NIPS 1992). In-domain and cold-start users of each domain
    race apart. The last signal of a group (graph, collaborative filtering, content) stays.

    Args:
        signals: name → signal fitted without the validation interactions.
        validation: the validation set of each domain.
        train: the graph that they were fitted on.
        seed: makes samples and halves repeat.
    """
    names, groups = list(signals), [signal.group for signal in signals.values()]
    popularity = np.asarray(train.interactions.sum(axis=0), dtype=np.float32).ravel()
    report, optimistic = dict[str, Any](), dict.fromkeys(names, 0.0)
    for group, users in _groups(validation, seed):
        elimination = _Elimination(_lists(signals, users, popularity[users.item_num], seed), users, seed)
        full, among_all = float(elimination.best.mean()), elimination.gains()
        left_out = {names[place]: metric for place, metric in elimination.run(groups)}
        gains = {names[place]: gain for place, gain in (among_all | elimination.gains()).items()}
        worth = {name: gain.mean for name, gain in gains.items() if name not in left_out}
        report[group] = {"metric": full, "users": len(users.user_num), "worth": worth, "left_out": left_out}
        for name, gain in gains.items():
            optimistic[name] += max(gain.mean + gain.error, 0.0) * len(users.user_num)
        logger.info(f"{group}: the blend needs {', '.join(n for n in names if n not in left_out)}")
    n_users = max(sum(of["users"] for of in report.values()), 1)
    return Race({name: optimistic[name] / n_users for name in names}, report)


def _groups(validation: Sequence[ValidationSet], seed: int) -> Iterator[tuple[str, ValidationSet]]:
    """Yield the in-domain and cold-start users of each domain, if they are enough to learn a blend from."""
    for holdout in validation:
        some = holdout.take(users_to_learn_from(holdout.seen, holdout.relevant, seed, FEW_BLEND_USERS))
        new = is_cold_start(some.seen)
        for name, users in ((holdout.domain, ~new), (COLD_START.format(holdout.domain), new)):
            if users.sum() >= 2 * MIN_BLEND_USERS:
                yield name, some.take(np.flatnonzero(users))


def _lists(signals: Signals, users: ValidationSet, popularity: FloatArray, seed: int) -> CandidateLists:
    activity = np.diff(users.seen.indptr)
    scales = Scale.from_counts(activity)(activity), Scale.from_counts(popularity)(popularity)
    scores = [users.scores(signal.scores) for signal in signals.values()]
    return CandidateLists.from_scores(scores, users.seen, users.relevant, *scales, seed)


@dataclass(frozen=True)
class _Fit:
    """A blend learned on half of the users.

    Attributes:
        others: mask of the other users, bool [n].
        lists: candidate lists of the other users.
        weights: float64 [features].
        inverse: inverse curvature of the loss, float64 [features, features].
    """

    others: BoolArray
    lists: CandidateLists
    weights: DoubleArray
    inverse: DoubleArray

    def without(self, features: IntArray) -> _Fit:
        """Return the blend without some features: the minimum of the quadratic approximation of the loss."""
        cut = self.inverse[:, features] @ np.linalg.inv(self.inverse[np.ix_(features, features)])
        weights, inverse = self.weights - cut @ self.weights[features], self.inverse - cut @ self.inverse[features]
        weights[features] = 0
        inverse[features, features] = 1  # keeps the block invertible; its weights are 0
        return replace(self, weights=weights, inverse=inverse)


@dataclass(frozen=True)
class _Gain:
    """Mean gain in the metric, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, differences: DoubleArray) -> _Gain:
        """Return the gain of the users' differences, float64 [n]."""
        return cls(float(differences.mean()), float(differences.std() / np.sqrt(len(differences))))


class _Elimination:
    """Backward elimination of the signals of candidate lists."""

    def __init__(self, lists: CandidateLists, users: ValidationSet, seed: int) -> None:
        self._n_signals, self._metric = len(lists.raw), users.metric
        self._softmax = ListwiseSoftmax(lists, RACE_FEATURES)
        half = np.random.default_rng(seed).permutation(len(lists.n_relevant)) % 2 == 0
        self._fits = [_Fit(~part, lists.take(~part), *self._softmax.with_inverse(part)) for part in (half, ~half)]
        self._kept = list(range(self._n_signals))
        self.best = self._measured(self._fits)

    def gains(self) -> dict[int, _Gain]:
        """Return the gain in the metric that each kept signal brings to the other kept ones."""
        reached = self._measured(self._fits)
        without = {place: self._measured(self._without(self._fits, place)) for place in self._kept}
        return {place: _Gain.of(reached - lower) for place, lower in without.items()}

    def run(self, groups: Sequence[str]) -> Iterator[tuple[int, float]]:
        """Yield the signals to leave out in order, each with the metric after that; `groups` are those of signals."""
        while True:
            n_of_group = Counter(groups[place] for place in self._kept)
            able = [place for place in self._kept if n_of_group[groups[place]] > 1]
            options = {place: self._without(self._fits, place) for place in able}
            reached = {place: self._measured(option) for place, option in options.items()}
            if not reached:
                return
            place = max(reached, key=lambda option: float(reached[option].mean()))
            loss = _Gain.of(self.best - reached[place])
            if loss.mean > MAX_LOSS * loss.error:
                return
            self._fits, self.best = options[place], self.best if loss.mean > 0 else reached[place]
            self._kept.remove(place)
            yield place, float(reached[place].mean())

    def _without(self, fits: Sequence[_Fit], place: int) -> list[_Fit]:
        features = place + np.arange(len(RACE_FEATURES)) * self._n_signals
        return [fit.without(features) for fit in fits]

    def _measured(self, fits: Sequence[_Fit]) -> DoubleArray:
        """Return the metric of each user by the blend learned on the other half, float64 [n]."""
        reached = np.empty(len(fits[0].others))
        for fit in fits:
            scores = self._softmax.scores(fit.weights, fit.others)
            reached[fit.others] = fit.lists.evaluate_scores(scores, self._metric)
        return reached
