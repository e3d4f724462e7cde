"""Whether what users do in other domains harms the lists of one; where it does, that domain is learned from alone."""

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
"""What a domain's lists can be learned from."""


@dataclass(frozen=True)
class DomainCheck:
    """Result of the check of one domain: with the signals and the blend to use there where other domains harm it."""

    report: Mapping[str, Any]
    single_domain: Signals = field(default_factory=dict)
    blend: GroupedBlend | None = None


def check_negative_transfer(state: TuningState) -> TuningState:
    """Compare, for each domain of several, what is learned from all with what is learned from that domain alone.

    All are measured on the same users of the cut, from whom they were not learned. What learned from all domains serves
    those at home in the domain, unless they are clearly better off with what learned from this one alone, or signal by
    signal from whichever is clearly better for it: the best of three on so few users is often the luckiest.
    """
    holdouts = state.validation if several_domains(state.graph) else ()
    checked = {holdout.domain: _check(state, holdout) for holdout in holdouts}
    harmed = {domain: found for domain, found in checked.items() if found.blend}
    return replace(
        state,
        blends={**state.blends, **{domain: found.blend for domain, found in harmed.items() if found.blend}},
        segment_models=replace(
            state.segment_models, single_domain={domain: found.single_domain for domain, found in harmed.items()}
        ),
        report={**state.report, "domains": {domain: found.report for domain, found in checked.items()}},
    )


def _check(state: TuningState, holdout: ValidationSet) -> DomainCheck:
    if int((np.diff(holdout.seen.indptr) > 0).sum()) < MIN_BLEND_USERS:
        return _unchecked(holdout.domain, f"fewer than {MIN_BLEND_USERS} users to ask")
    if not state.budget.affords(2 * state.fit_seconds):
        return _unchecked(holdout.domain, "no time left in the budget")
    own = fit_single_domain(state.signals, state.graph, holdout.domain, state.vectors, state.seed)
    ways = {SINGLE_DOMAIN: own, PER_SIGNAL: _better_single_domain(state.signals, own, holdout)}
    learned = {way: _blend_with(state, holdout, signals) for way, signals in ways.items()}
    options = {ALL_DOMAINS: state.blends[holdout.domain], **learned}
    return _compared(holdout.domain, options, {ALL_DOMAINS: {}, **ways}, state.seed)


def _blend_with(state: TuningState, holdout: ValidationSet, own: Signals) -> GroupedBlend:
    """Learn the blend of a domain where those at home in it are served by other signals."""
    segment_models = replace(state.segment_models, single_domain={holdout.domain: own})
    return learn_blends(replace(state, validation=[holdout], segment_models=segment_models))[holdout.domain]


def _better_single_domain(signals: Signals, own: Signals, holdout: ValidationSet) -> Signals:
    """Return those signals of a domain alone that do clearly better on its questions than those of the whole graph."""
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
    figures = ", ".join(f"{ndcg:.4f} {option}" for option, ndcg in reached.items())
    verdict = (
        "other domains do not harm it" if best == ALL_DOMAINS else f"other domains harm it, so it learns from {best}"
    )
    logger.info(f"{domain}: {verdict}; on the validation cut {figures}")
    return DomainCheck(report) if best == ALL_DOMAINS else DomainCheck(report, single_domain[best], options[best])


def _unchecked(domain: str, why: str) -> DomainCheck:
    logger.info(f"{domain}: not checked whether other domains harm it, {why}")
    return DomainCheck({"learned from": ALL_DOMAINS, "unchecked": why})


def several_domains(graph: GraphSnapshot) -> bool:
    """Say whether there are behaviors in several domains."""
    return int((graph.user_domains[0].sum(axis=0) > 0).sum()) > 1
