"""The validation cut: where settings are chosen and the blend is learned. Never the test rows.

A question of the cut is a (user, domain): which of the domain's items, unseen in train, did the user take next?
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.snapshot import Behaviors, GraphSnapshot, Vectors
from kgrec.metrics.ranking import NDCG_AT_20, Metric
from kgrec.signals.base import LogRange, Signal, SignalSettings
from kgrec.tuning.budget import SearchBudget

logger = logging.getLogger(__name__)

MAX_SCORES: Final = 60_000_000
"""At most this many validation scores of users at home in a domain are held for a signal (240 MB), and half as many of
newcomers: more users than that add little."""

SECONDS_PER_SCORE: Final = 2e-8
"""What scoring takes, roughly, for each score of the cut."""

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


@dataclass(frozen=True)
class TuningResult:
    """A signal with the settings that did best on the validation cut.

    Attributes:
        signal: fitted on the cut's train part.
        ndcg: NDCG@20 on the cut, or the metric that settings name.
        tried: every setting tried, its metric and its seconds, in order; "low_fidelity" marks half a fit.
        seconds: how long it took to fit and to score the cut.
    """

    signal: Signal
    ndcg: float
    tried: list[dict[str, Any]]
    seconds: float = 0.0

    @property
    def report(self) -> dict[str, Any]:
        """The settings, the NDCG@20 and everything tried, as JSON-ready values."""
        return {"settings": self.signal.settings.model_dump(), "ndcg": self.ndcg, "tried": self.tried}


def tune(
    kind: type[Signal],
    train: GraphSnapshot,
    vectors: Vectors,
    holdouts: Sequence[ValidationSet],
    seed: int = 0,
    search_budget: SearchBudget | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> TuningResult:
    """Choose a signal's settings: from the defaults on, one setting of its grid after the other, the best kept.

    A ladder is climbed while that helps (pattern search: Hooke & Jeeves, J. ACM 1961), to its end if that takes no fit.
    Where a fit can be halved, only settings that do better than the best so far after half of it are fitted in full
    (successive halving: Jamieson & Talwalkar, AISTATS 2016).

    Args:
        kind: the signal.
        train: the graph without the validation behaviors.
        vectors: text vectors made from `train`.
        holdouts: the questions of the cut.
        seed: makes the result repeat.
        search_budget: what the search may spend; the defaults are fitted in any case.
        fixed: settings that are given; the others are searched.
    """
    given = kind.Settings(**fixed or {})
    search = _Search(
        given, _Trial(kind, train, vectors, holdouts, seed), search_budget or SearchBudget(math.inf, by_clock=False)
    )
    for name in [name for name in kind.grid if name not in (fixed or {}) and kind.is_relevant(name, train)]:
        for way in _ways(kind.grid[name]):
            for value in way(getattr(search.best.signal.settings, name)):
                improved = search.try_value(name, value)
                if improved is None or (not improved and name not in kind.inference_params):
                    break
    best = search.best
    logger.info(
        f"{kind.name}: {holdouts[0].metric} {best.ndcg:.4f} on the validation cut, {len(search.tried)} settings tried"
    )
    return TuningResult(best.signal, best.ndcg, search.tried, best.seconds)


class _Search:
    """The best settings so far and everything that was tried."""

    def __init__(self, first: SignalSettings, trial: _Trial, search_budget: SearchBudget) -> None:
        self.kind, self.trial, self.search_budget = trial.kind, trial, search_budget
        self.tried: list[dict[str, Any]] = []
        self._scoring = (
            SECONDS_PER_SCORE * sum(len(holdout.user_num) for holdout in trial.holdouts) * trial.train.n_items
        )
        self._known: set[SignalSettings] = set()
        self._halves: dict[SignalSettings, float] = {}
        self.best = self._tried(first)

    def try_value(self, name: str, value: Any) -> bool | None:
        """Try another value of one of the best settings, and say if it is better; None: no time for it, or known."""
        settings = self.best.signal.settings.model_copy(update={name: value})
        fitted = self.best.signal if name in self.kind.inference_params else None
        if settings in self._known or not self.search_budget.affords(self._cost(settings, fitted)):
            return None
        self._known.add(settings)
        if not fitted and not self._promises(settings):
            return False
        candidate = self._tried(settings, fitted)
        if candidate.ndcg <= self.best.ndcg:
            return False
        self.best = candidate
        return True

    def _promises(self, settings: SignalSettings) -> bool:
        """Say whether settings do better than the best ones after half a fit; always where none can be halved."""
        half, half_of_best = (self.kind.low_fidelity(s) for s in (settings, self.best.signal.settings))
        if half is None or half_of_best is None:
            return True
        for part in (half_of_best, half):
            if part not in self._halves:
                self._halves[part] = self._tried(part, half=True).ndcg
        return self._halves[half] > self._halves[half_of_best]

    def _tried(self, settings: SignalSettings, fitted: Signal | None = None, half: bool = False) -> TuningResult:
        candidate = self.trial(settings, fitted)
        self.tried.append({**_record(candidate), **({"low_fidelity": True} if half else {})})
        self.search_budget.spend(self._cost(settings, fitted))
        return candidate

    def _cost(self, settings: SignalSettings, fitted: Signal | None) -> float:
        return self._scoring if fitted else max(self._scoring, self.kind.cost(settings, self.trial.train))


Way = Callable[[Any], Iterable[Any]]
"""From the present value of a setting to the values to try in turn, until one does not help."""


def _ways(values: tuple[Any, ...] | LogRange) -> list[Way]:
    if isinstance(values, LogRange):
        return [partial(values.neighbors_of, up=True), partial(values.neighbors_of, up=False)]
    return [partial(_only, value) for value in values]


def _only(value: Any, now: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True)
class _Trial:
    """Measures settings of a signal: what they are fitted on, and the questions they are measured on."""

    kind: type[Signal]
    train: GraphSnapshot
    vectors: Vectors
    holdouts: Sequence[ValidationSet]
    seed: int

    def __call__(self, settings: SignalSettings, fitted: Signal | None = None) -> TuningResult:
        """Measure settings: of a signal that is fitted with them, or takes over what another has learned."""
        start, signal = time.perf_counter(), self.kind(settings)
        if fitted:
            signal = signal.restore(self.train, self.vectors, fitted.state())
        else:
            signal = signal.fit(self.train, self.vectors, self.seed)
        ndcg = mean_metric(self.holdouts, signal.scores)
        return TuningResult(signal, ndcg, [], time.perf_counter() - start)


def _record(choice: TuningResult) -> dict[str, Any]:
    return {
        "settings": choice.signal.settings.model_dump(),
        "ndcg": round(choice.ndcg, 5),
        "seconds": round(choice.seconds, 2),
    }


def _sample(users: IntArray, limit: int, seed: int) -> IntArray:
    if len(users) <= limit:
        return users.astype(np.int64)
    return np.sort(np.random.default_rng(seed).choice(users, max(limit, 1), replace=False)).astype(np.int64)
