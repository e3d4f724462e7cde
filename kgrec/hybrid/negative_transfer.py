"""Whether what users do in other domains harms the lists of one; where it does, that domain is learned from alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from kgrec._util.progress import say
from kgrec.data.single_domain import fit_single_domain
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.hybrid.blend import MIN_BLEND_USERS, Blend
from kgrec.hybrid.learn_blends import learn_blends
from kgrec.hybrid.segment_models import SegmentModels, scores_of
from kgrec.metrics.ranking import bootstrap_interval, clearly_better
from kgrec.signals.base import Signals
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import TuningResult, ValidationSet

ALL_DOMAINS: Final = "all domains"
SINGLE_DOMAIN: Final = "single domain"
PER_SIGNAL: Final = "per signal"
"""What a domain's lists can be learned from."""


@dataclass(frozen=True)
class DomainCheck:
    """Whether other domains harm one: what was found, and where they do, what serves those at home in it instead."""

    report: Mapping[str, Any]
    single_domain: Signals = field(default_factory=dict)
    blend: Blend | None = None


def check_negative_transfer(
    signals: Signals,
    tuning_graph: GraphSnapshot,
    vectors: Vectors,
    holdouts: list[ValidationSet],
    blends: Mapping[str, Blend],
    seed: int,
    budget: Budget,
    chosen: Mapping[str, TuningResult],
    cold_start: Signals,
) -> dict[str, DomainCheck]:
    """Compare, for each domain of several, what is learned from all with what is learned from that domain alone.

    All are measured on the same users of the cut, from whom they were not learned. What learned from all domains serves
    those at home in the domain, unless they are clearly better off with what learned from this one alone, or signal by
    signal from whichever is clearly better for it: the best of three on so few users is often the luckiest.
    """
    if not several_domains(tuning_graph):
        return {}
    seconds, checked = sum(choice.seconds for choice in chosen.values()), {}
    for holdout in holdouts:
        if int((np.diff(holdout.seen.indptr) > 0).sum()) < MIN_BLEND_USERS:
            checked[holdout.domain] = _unchecked(holdout.domain, f"fewer than {MIN_BLEND_USERS} users to ask")
        elif not budget.affords(2 * seconds):
            checked[holdout.domain] = _unchecked(holdout.domain, "no time left in the budget")
        else:
            own = fit_single_domain(signals, tuning_graph, holdout.domain, vectors, seed)
            ways = {SINGLE_DOMAIN: own, PER_SIGNAL: _better_single_domain(signals, own, holdout)}
            learned = {
                way: learn_blends(
                    signals, tuning_graph, [holdout], seed, SegmentModels({holdout.domain: of}, cold_start)
                )[holdout.domain]
                for way, of in ways.items()
            }
            options = {ALL_DOMAINS: blends[holdout.domain], **learned}
            checked[holdout.domain] = _compared(holdout.domain, options, {ALL_DOMAINS: {}, **ways}, seed)
    return checked


def _better_single_domain(signals: Signals, own: Signals, holdout: ValidationSet) -> Signals:
    """Return those signals of a domain alone that do clearly better on its questions than those of the whole graph."""
    better = {}
    for name, signal in own.items():
        scores = holdout.scores(signals[name].scores)
        reached = holdout.ndcg(scores)
        SegmentModels({holdout.domain: own}).apply_to(
            holdout.domain, [name], [scores], scores_of(holdout.user_num), holdout.seen, holdout.item_num
        )
        if clearly_better(holdout.ndcg(scores), reached):
            better[name] = signal
    return better


def _compared(
    domain: str, options: Mapping[str, Blend], single_domain: Mapping[str, Signals], seed: int
) -> DomainCheck:
    reached = {option: float(blend.reached.mean()) for option, blend in options.items()}
    best = ALL_DOMAINS
    for option, blend in options.items():
        best = option if clearly_better(blend.reached, options[best].reached) else best
    gain = options[ALL_DOMAINS].reached - options[SINGLE_DOMAIN].reached
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
    say(f"{domain}: {verdict}; NDCG@20 {figures}")
    return DomainCheck(report) if best == ALL_DOMAINS else DomainCheck(report, single_domain[best], options[best])


def _unchecked(domain: str, why: str) -> DomainCheck:
    say(f"{domain}: not checked whether other domains harm it, {why}")
    return DomainCheck({"learned from": ALL_DOMAINS, "unchecked": why})


def several_domains(graph: GraphSnapshot) -> bool:
    """Say whether there are behaviors in several domains."""
    return int((graph.user_domains[0].sum(axis=0) > 0).sum()) > 1
