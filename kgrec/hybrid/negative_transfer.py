"""Negative transfer: detect domains that other domains make worse, and use single-domain signals for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from kgrec._util.types import DoubleArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.candidate_lists import CandidateLists
from kgrec.hybrid.learn_blend import MIN_BLEND_USERS
from kgrec.hybrid.learn_blends import learn_blends
from kgrec.hybrid.listwise_softmax import ListwiseSoftmax
from kgrec.hybrid.race import RACE_FEATURES
from kgrec.hybrid.segment_models import fit_single_domain
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.ranking import Metric
from kgrec.metrics.significance import bootstrap_interval, clearly_better
from kgrec.signals.base import Signals
from kgrec.tuning.validation import ValidationSet

logger = logging.getLogger(__name__)

ALL_DOMAINS: Final = "all domains"
SINGLE_DOMAIN: Final = "single domain"
PER_SIGNAL: Final = "per signal"
"""What the signals of a domain are fitted on: all domains, this domain, or the significantly better one for each."""
MAX_CHECK_USERS: Final = 1_000
"""Maximum number of in-domain validation users that the three are compared on."""


@dataclass(frozen=True)
class DomainCheck:
    """Result of the negative-transfer check for one domain, with the signals to use if other domains harm it.

    Attributes:
        report: JSON-ready results: "learned from", "single_domain", "options" and "gain"; or "unchecked".
        single_domain: name → single-domain signal, for in-domain users; empty without negative transfer.
    """

    report: Mapping[str, Any]
    single_domain: Signals = field(default_factory=dict)


def check_negative_transfer(state: TuningState) -> TuningState:
    """Return the state with single-domain signals and blends for domains with negative transfer.

    For each domain, three sets of signals are compared on the same validation users: all signals fitted on all domains,
    all fitted on this domain, or for each signal the significantly better of the two. The comparison learns a listwise
    softmax for each set on one half of the users and measures it on the other; only a set that is used gets a blend.
    Another set than the first is used only if it is significantly better: the best of three on few users is often the
    best by chance. A graph with one domain is returned unchecked; with the effort "fast", so is every graph.
    """
    holdouts = state.validation if several_domains(state.graph) else ()
    checked = {holdout.domain: _check(state, holdout) for holdout in holdouts}
    replaced = {holdout.domain: holdout for holdout in holdouts if checked[holdout.domain].single_domain}
    segment_models = replace(
        state.segment_models, single_domain={domain: checked[domain].single_domain for domain in replaced}
    )
    report = {**state.report, "domains": {domain: check.report for domain, check in checked.items()}}
    state = replace(state, segment_models=segment_models, report=report)
    again = learn_blends(replace(state, validation=list(replaced.values()))) if replaced else {}
    return replace(state, blends={**state.blends, **{domain: again[domain] for domain in replaced}})


def _check(state: TuningState, holdout: ValidationSet) -> DomainCheck:
    if state.config.effort == "fast":
        return _unchecked(holdout.domain, "the effort is fast")
    in_domain = np.flatnonzero(np.diff(holdout.seen.indptr) > 0)
    if len(in_domain) < MIN_BLEND_USERS:
        return _unchecked(holdout.domain, f"fewer than {MIN_BLEND_USERS} in-domain validation users")
    if not state.budget.affords(2 * state.fit_seconds):
        return _unchecked(holdout.domain, "no time left in the budget")
    own = fit_single_domain(state.signals, state.graph, holdout.domain, state.vectors, state.seed)
    drawn = np.random.default_rng(state.seed).permutation(in_domain)[:MAX_CHECK_USERS]
    return _compared(state.signals, own, holdout.take(np.sort(drawn)), state.seed)


def _compared(signals: Signals, own: Signals, users: ValidationSet, seed: int) -> DomainCheck:
    """Return the result for a domain, from its signals of all domains, those fitted on it, and in-domain users."""
    lists = _lists(signals, own, users, seed)
    ways: dict[str, Signals] = {
        SINGLE_DOMAIN: own,
        PER_SIGNAL: _better_single_domain(signals, own, lists, users.metric),
    }
    reached = {
        way: _reached(lists, _places(signals, own, used), users.metric, seed)
        for way, used in {ALL_DOMAINS: {}, **ways}.items()
    }
    best = ALL_DOMAINS
    for way in ways:
        best = way if clearly_better(reached[way], reached[best]) else best
    gain, single_domain = reached[ALL_DOMAINS] - reached[SINGLE_DOMAIN], ways.get(best, {})
    options = {way: float(of_users.mean()) for way, of_users in reached.items()}
    report = {
        "learned from": best,
        "single_domain": list(single_domain),
        "options": options,
        "gain": [float(gain.mean()), *bootstrap_interval(gain, seed=seed)],
    }
    figures = ", ".join(f"{value:.4f} {option}" for option, value in options.items())
    verdict = "no negative transfer" if best == ALL_DOMAINS else f"negative transfer from other domains, using {best}"
    logger.info(f"{users.domain}: {verdict}; metric on the validation split: {figures}")
    return DomainCheck(report, single_domain)


def _lists(signals: Signals, own: Signals, users: ValidationSet, seed: int) -> CandidateLists:
    """Return the candidate lists of the signals of all domains, followed by those fitted on the domain."""
    scores = [users.scores(signal.scores) for signal in signals.values()]
    scores += [signal.scores(users.user_num) for signal in own.values()]
    n, n_items = users.relevant.shape
    return CandidateLists.from_scores(
        scores, users.seen, users.relevant, np.zeros(n, np.float32), np.zeros(n_items, np.float32), seed
    )


def _places(signals: Signals, own: Signals, used: Signals) -> list[int]:
    """Return the places of signals in lists as of `_lists`: those of `used` fitted on the domain, the others on all."""
    place = {name: len(signals) + number for number, name in enumerate(own)}
    return [place[name] if name in used else number for number, name in enumerate(signals)]


def _better_single_domain(signals: Signals, own: Signals, lists: CandidateLists, metric: Metric) -> Signals:
    """Return the single-domain signals that are significantly better on the lists than the common ones."""
    each = [lists.evaluate_scores(np.where(lists.listed, raw, -np.inf), metric) for raw in lists.raw]
    alone = zip(signals, _places(signals, own, own), strict=True)
    return {name: own[name] for number, (name, place) in enumerate(alone) if clearly_better(each[place], each[number])}


def _reached(lists: CandidateLists, places: Sequence[int], metric: Metric, seed: int) -> DoubleArray:
    """Return the metric of each user by a blend of some signals learned on the other half of the users, float64 [n]."""
    some = replace(lists, raw=lists.raw[places], zscore=lists.zscore[places])
    softmax, reached = ListwiseSoftmax(some, RACE_FEATURES), np.empty(len(some.n_relevant))
    half = np.random.default_rng(seed).permutation(len(reached)) % 2 == 0
    for part in (half, ~half):
        reached[~part] = some.take(~part).evaluate(softmax.weights_of(part), metric)
    return reached


def _unchecked(domain: str, why: str) -> DomainCheck:
    logger.info(f"{domain}: not checked for negative transfer: {why}")
    return DomainCheck({"learned from": ALL_DOMAINS, "unchecked": why})


def several_domains(graph: GraphSnapshot) -> bool:
    """Return whether the graph has interactions in several domains."""
    return int((graph.user_domains[0].sum(axis=0) > 0).sum()) > 1
