"""Whether what users do in other domains harms the lists of one; where it does, that domain is learnt from alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from kgrec._util.progress import say
from kgrec.data.single_domain import fit_alone
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.hybrid.blend import MIN_USERS, Blend
from kgrec.hybrid.learn_blends import learn_blends
from kgrec.hybrid.segment_models import Standins
from kgrec.metrics.ranking import bootstrap_interval, clearly_better
from kgrec.signals.base import Signals
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import Choice, Questions

EVERYTHING: Final = "all domains"
ITSELF: Final = "itself alone"
EITHER: Final = "either, signal by signal"
"""What a domain's lists can be learnt from."""


@dataclass(frozen=True)
class Checked:
    """Whether other domains harm one: what was found, and where they do, what serves those at home in it instead."""

    report: Mapping[str, Any]
    alone: Signals = field(default_factory=dict)
    blend: Blend | None = None


def check_domains(
    signals: Signals,
    inner: GraphSnapshot,
    vectors: Vectors,
    asked: list[Questions],
    blends: Mapping[str, Blend],
    seed: int,
    budget: Budget,
    chosen: Mapping[str, Choice],
    newcomers: Signals,
) -> dict[str, Checked]:
    """Compare, for each domain of several, what is learnt from all with what is learnt from that domain alone.

    All are measured on the same users of the cut, from whom they were not learnt. What learnt from all domains serves
    those at home in the domain, unless they are clearly better off with what learnt from this one alone, or signal by
    signal from whichever is clearly better for it: the best of three on so few users is often the luckiest.
    """
    if not several_domains(inner):
        return {}
    seconds, checked = sum(choice.seconds for choice in chosen.values()), {}
    for q in asked:
        if int((np.diff(q.seen.indptr) > 0).sum()) < MIN_USERS:
            checked[q.domain] = _unchecked(q.domain, f"fewer than {MIN_USERS} users to ask")
        elif not budget.affords(2 * seconds):
            checked[q.domain] = _unchecked(q.domain, "no time left in the budget")
        else:
            own = fit_alone(signals, inner, q.domain, vectors, seed)
            ways = {ITSELF: own, EITHER: _better_alone(signals, own, q)}
            learnt = {
                way: learn_blends(signals, inner, [q], seed, Standins({q.domain: of}, newcomers))[q.domain]
                for way, of in ways.items()
            }
            options = {EVERYTHING: blends[q.domain], **learnt}
            checked[q.domain] = _compared(q.domain, options, {EVERYTHING: {}, **ways}, seed)
    return checked


def _better_alone(signals: Signals, own: Signals, q: Questions) -> Signals:
    """Return those signals of a domain alone that do clearly better on its questions than those of the whole graph."""
    better = {}
    for name, signal in own.items():
        scores = q.scores(signals[name].scores)
        reached = q.ndcg(scores)
        Standins({q.domain: own}).serve(q.domain, [name], [scores], q.user_num, q.seen, q.item_num)
        if clearly_better(q.ndcg(scores), reached):
            better[name] = signal
    return better


def _compared(domain: str, options: Mapping[str, Blend], alone: Mapping[str, Signals], seed: int) -> Checked:
    reached = {option: float(blend.reached.mean()) for option, blend in options.items()}
    best = EVERYTHING
    for option, blend in options.items():
        best = option if clearly_better(blend.reached, options[best].reached) else best
    gain = options[EVERYTHING].reached - options[ITSELF].reached
    report = {
        "learnt from": best,
        "alone": list(alone[best]),
        "options": reached,
        "gain": [float(gain.mean()), *bootstrap_interval(gain, seed=seed)],
    }
    found = ", ".join(f"{ndcg:.4f} {option}" for option, ndcg in reached.items())
    harm = "other domains do not harm it" if best == EVERYTHING else f"other domains harm it, so it learns from {best}"
    say(f"{domain}: {harm}; NDCG@20 {found}")
    return Checked(report) if best == EVERYTHING else Checked(report, alone[best], options[best])


def _unchecked(domain: str, why: str) -> Checked:
    say(f"{domain}: not checked whether other domains harm it, {why}")
    return Checked({"learnt from": EVERYTHING, "unchecked": why})


def several_domains(graph: GraphSnapshot) -> bool:
    """Say whether there are behaviours in several domains."""
    return int((graph.user_domains[0].sum(axis=0) > 0).sum()) > 1
