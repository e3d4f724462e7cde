"""Negative transfer: detect domains that other domains make worse, and use single-domain signals for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.blend import GroupedBlend
from kgrec.hybrid.learn_blend import MIN_BLEND_USERS
from kgrec.hybrid.learn_blends import learn_blends
from kgrec.hybrid.segment_models import SegmentModels, fit_single_domain, scores_of
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.significance import bootstrap_interval, clearly_better
from kgrec.signals.base import Signals
from kgrec.tuning.validation import ValidationSet

logger = logging.getLogger(__name__)

ALL_DOMAINS: Final = "all domains"
SINGLE_DOMAIN: Final = "single domain"
PER_SIGNAL: Final = "per signal"
"""What the signals of a domain are fitted on: all domains, this domain, or the significantly better one for each."""


@dataclass(frozen=True)
class DomainCheck:
    """Result of the negative-transfer check for one domain, with the signals and blend to use if other domains hurt it.

    Attributes:
        report: JSON-ready results: "learned from", "single_domain", "options" and "gain"; or "unchecked".
        single_domain: name → single-domain signal, for in-domain users.
        blend: blend with these signals; None to keep the blend of all domains.
    """

    report: Mapping[str, Any]
    single_domain: Signals = field(default_factory=dict)
    blend: GroupedBlend | None = None


def check_negative_transfer(state: TuningState) -> TuningState:
    """Return the state with single-domain signals and blends for domains with negative transfer.

    For each domain, blends of three sets of signals are compared on the same validation users by cross-fitting: all
    signals fitted on all domains, all fitted on this domain, or for each signal the significantly better of the two.
    Another set than the first is used only if it is significantly better: the best of three on few users is often the
    best by chance. A graph with one domain is returned unchecked.
    """
    holdouts = state.validation if several_domains(state.graph) else ()
    checked = {holdout.domain: _check(state, holdout) for holdout in holdouts}
    replaced = {domain: check for domain, check in checked.items() if check.blend}
    return replace(
        state,
        blends={**state.blends, **{domain: check.blend for domain, check in replaced.items() if check.blend}},
        segment_models=replace(
            state.segment_models, single_domain={domain: check.single_domain for domain, check in replaced.items()}
        ),
        report={**state.report, "domains": {domain: check.report for domain, check in checked.items()}},
    )


def _check(state: TuningState, holdout: ValidationSet) -> DomainCheck:
    if int((np.diff(holdout.seen.indptr) > 0).sum()) < MIN_BLEND_USERS:
        return _unchecked(holdout.domain, f"fewer than {MIN_BLEND_USERS} in-domain validation users")
    if not state.budget.affords(2 * state.fit_seconds):
        return _unchecked(holdout.domain, "no time left in the budget")
    own = fit_single_domain(state.signals, state.graph, holdout.domain, state.vectors, state.seed)
    ways = {SINGLE_DOMAIN: own, PER_SIGNAL: _better_single_domain(state.signals, own, holdout)}
    learned = {way: _blend_with(state, holdout, signals) for way, signals in ways.items()}
    options = {ALL_DOMAINS: state.blends[holdout.domain], **learned}
    return _compared(holdout.domain, options, {ALL_DOMAINS: {}, **ways}, state.seed)


def _blend_with(state: TuningState, holdout: ValidationSet, own: Signals) -> GroupedBlend:
    """Return the blend of a domain in which in-domain users are scored by the signals `own`."""
    segment_models = replace(state.segment_models, single_domain={holdout.domain: own})
    return learn_blends(replace(state, validation=[holdout], segment_models=segment_models))[holdout.domain]


def _better_single_domain(signals: Signals, own: Signals, holdout: ValidationSet) -> Signals:
    """Return the single-domain signals that are significantly better on the validation set than the common ones."""
    better = {}
    for name, signal in own.items():
        scores = holdout.scores(signals[name].scores)
        reached = holdout.evaluate(scores)
        SegmentModels({holdout.domain: own}).apply_to(
            holdout.domain, [name], [scores], scores_of(holdout.user_num), holdout.seen, holdout.item_num
        )
        if clearly_better(holdout.evaluate(scores), reached):
            better[name] = signal
    return better


def _compared(
    domain: str, options: Mapping[str, GroupedBlend], single_domain: Mapping[str, Signals], seed: int
) -> DomainCheck:
    reached = {option: float(blend.default.reached.mean()) for option, blend in options.items()}
    best = ALL_DOMAINS
    for option, blend in options.items():
        best = option if clearly_better(blend.default.reached, options[best].default.reached) else best
    gain = options[ALL_DOMAINS].default.reached - options[SINGLE_DOMAIN].default.reached
    report = {
        "learned from": best,
        "single_domain": list(single_domain[best]),
        "options": reached,
        "gain": [float(gain.mean()), *bootstrap_interval(gain, seed=seed)],
    }
    figures = ", ".join(f"{value:.4f} {option}" for option, value in reached.items())
    verdict = "no negative transfer" if best == ALL_DOMAINS else f"negative transfer from other domains, using {best}"
    logger.info(f"{domain}: {verdict}; metric on the validation split: {figures}")
    return DomainCheck(report) if best == ALL_DOMAINS else DomainCheck(report, single_domain[best], options[best])


def _unchecked(domain: str, why: str) -> DomainCheck:
    logger.info(f"{domain}: not checked for negative transfer: {why}")
    return DomainCheck({"learned from": ALL_DOMAINS, "unchecked": why})


def several_domains(graph: GraphSnapshot) -> bool:
    """Return whether the graph has interactions in several domains."""
    return int((graph.user_domains[0].sum(axis=0) > 0).sum()) > 1
