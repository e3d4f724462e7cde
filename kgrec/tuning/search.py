"""Coordinate search over a signal's hyper-parameters on the validation split."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import LogRange, Signal, SignalSettings
from kgrec.tuning.budget import SearchBudget
from kgrec.tuning.validation import ValidationSet, mean_metric

logger = logging.getLogger(__name__)


SECONDS_PER_SCORE: Final = 2e-8
"""Approximate seconds for one score (one validation user × one item)."""


@dataclass(frozen=True)
class TuningResult:
    """A signal with the settings that did best on the validation split.

    Attributes:
        signal: the signal, fitted without the validation interactions.
        metric_value: NDCG@20 on the validation split, or the configured metric.
        tried: all settings tried, with their metric and seconds, in order; "low_fidelity" marks a cheaper fit; "note"
            is that of the signal.
        seconds: duration of fitting the signal and scoring the validation users.
    """

    signal: Signal
    metric_value: float
    tried: list[dict[str, Any]]
    seconds: float = 0.0

    @property
    def report(self) -> dict[str, Any]:
        """The settings, their metric and all settings tried, as JSON-ready values."""
        return {"settings": self.signal.settings.model_dump(), "metric_value": self.metric_value, "tried": self.tried}


def tune(
    kind: type[Signal],
    train: GraphSnapshot,
    vectors: Vectors,
    holdouts: Sequence[ValidationSet],
    seed: int = 0,
    search_budget: SearchBudget | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> TuningResult:
    """Return a signal with tuned settings: coordinate search, one setting after the other, from the defaults.

    A search range is followed upwards, then downwards, until a step brings no gain (pattern search: Hooke & Jeeves, J.
    ACM 1961); inference-only settings, which need no fit, are followed to the end. If the signal has a low-fidelity
    fit, only settings whose low-fidelity fit beats that of the best so far are fitted in full (successive halving:
    Jamieson & Talwalkar, AISTATS 2016).

    Args:
        kind: the signal.
        train: the graph without the validation interactions.
        vectors: text vectors made from `train`.
        holdouts: the validation sets, one for each domain.
        seed: seed of the fits; the same seed gives the same result.
        search_budget: the limit of the search; the first settings are fitted in any case.
        fixed: settings with a given value; the others are searched.
    """
    trial, budget = Trial(kind, train, vectors, holdouts, seed), search_budget or SearchBudget(math.inf, by_clock=False)
    first = trial(kind.Settings(**fixed or {}))
    budget.spend(trial.cost(first.signal.settings))
    return tune_further(first, trial, budget, fixed)


def tune_further(
    first: TuningResult, trial: Trial, search_budget: SearchBudget, fixed: Mapping[str, Any] | None = None
) -> TuningResult:
    """Return a signal with tuned settings, by a search from a first result; see `tune`.

    Args:
        first: the result with the first settings.
        trial: fits and measures the signal.
        search_budget: the limit of the search.
        fixed: settings with a given value; the others are searched.
    """
    kind, train, holdouts = trial.kind, trial.train, trial.holdouts
    search = _Search(first, trial, search_budget)
    for name in [name for name in kind.grid if name not in (fixed or {}) and kind.is_relevant(name, train)]:
        for way in _ways(kind.grid[name]):
            for value in way(getattr(search.best.signal.settings, name)):
                improved = search.try_value(name, value)
                if improved is None or (not improved and name not in kind.inference_params):
                    break
    best = search.best
    logger.info(
        f"{kind.name}: {holdouts[0].metric} {best.metric_value:.4f} on the validation split, "
        f"{len(search.tried)} settings tried"
    )
    return TuningResult(best.signal, best.metric_value, search.tried, best.seconds)


class _Search:
    """State of a search: the best settings so far and all settings tried."""

    def __init__(self, first: TuningResult, trial: Trial, search_budget: SearchBudget) -> None:
        self.kind, self.trial, self.search_budget = trial.kind, trial, search_budget
        self.tried, self.best = list(first.tried), first
        self._known: set[SignalSettings] = {first.signal.settings}
        self._halves: dict[SignalSettings, float] = {}

    def try_value(self, name: str, value: Any) -> bool | None:
        """Try another value of one setting; return whether it is better, None if it was tried or exceeds the budget."""
        settings = self.best.signal.settings.model_copy(update={name: value})
        fitted = self.best.signal if name in self.kind.inference_params else None
        if settings in self._known or not self.search_budget.affords(self._cost(settings, fitted)):
            return None
        self._known.add(settings)
        if not fitted and not self._promises(settings):
            return False
        candidate = self._tried(settings, fitted)
        if candidate.metric_value <= self.best.metric_value:
            return False
        self.best = candidate
        return True

    def _promises(self, settings: SignalSettings) -> bool:
        """Return whether settings beat the best ones in a low-fidelity fit; True if the signal has none."""
        half, half_of_best = (self.kind.low_fidelity(s) for s in (settings, self.best.signal.settings))
        if half is None or half_of_best is None:
            return True
        for part in (half_of_best, half):
            if part not in self._halves:
                self._halves[part] = self._tried(part, half=True).metric_value
        return self._halves[half] > self._halves[half_of_best]

    def _tried(self, settings: SignalSettings, fitted: Signal | None = None, half: bool = False) -> TuningResult:
        candidate = self.trial(settings, fitted)
        self.tried.append({**candidate.tried[0], **({"low_fidelity": True} if half else {})})
        self.search_budget.spend(self._cost(settings, fitted))
        return candidate

    def _cost(self, settings: SignalSettings, fitted: Signal | None) -> float:
        """Return the nominal seconds of a trial; inference-only settings are free, since they need no fit."""
        return 0.0 if fitted else self.trial.cost(settings)


Way = Callable[[Any], Iterable[Any]]
"""Current value of a setting → the values to try in turn, until one brings no gain."""


def _ways(values: tuple[Any, ...] | LogRange) -> list[Way]:
    if isinstance(values, LogRange):
        return [partial(values.neighbors_of, up=True), partial(values.neighbors_of, up=False)]
    return [partial(_only, value) for value in values]


def _only(value: Any, now: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True)
class Trial:
    """Fits a signal with given settings and measures it on the validation sets."""

    kind: type[Signal]
    train: GraphSnapshot
    vectors: Vectors
    holdouts: Sequence[ValidationSet]
    seed: int

    def __call__(self, settings: SignalSettings, fitted: Signal | None = None) -> TuningResult:
        """Return the result for settings; with `fitted`, the state of that signal is reused instead of a fit."""
        start, cpu, signal = time.perf_counter(), time.process_time(), self.kind(settings)
        if fitted:
            signal = signal.restore(self.train, self.vectors, fitted.state())
        else:
            signal = signal.fit(self.train, self.vectors, self.seed)
        metric_value, seconds = mean_metric(self.holdouts, signal.scores), time.perf_counter() - start
        record = {
            "settings": settings.model_dump(),
            "metric_value": round(metric_value, 5),
            "seconds": round(seconds, 2),
            "cpu_seconds": round(time.process_time() - cpu, 2),
        }
        if signal.note:
            logger.info(f"{self.kind.name}: {signal.note}")
            record["note"] = signal.note
        return TuningResult(signal, metric_value, [record], seconds)

    def cost(self, settings: SignalSettings) -> float:
        """Return the approximate seconds of a trial with a fit."""
        n_users = sum(len(holdout.user_num) for holdout in self.holdouts)
        return max(SECONDS_PER_SCORE * n_users * self.train.n_items, self.kind.cost(settings, self.train))
