"""Signals for newcomers: what serves users at home in a domain best is not what serves those who are new to it best.

Of a newcomer all is said by what they did elsewhere, so fewer factors and heavier shrinkage may do far better than what
tells the items of one domain apart. So settings are chosen for newcomers too, by their questions alone, and where these
are clearly better, a signal of such settings serves them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kgrec._util.progress import say
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.metrics.ranking import clearly_better
from kgrec.signals.base import Signal, Signals
from kgrec.signals.domain_weighting import MIN_NEWCOMERS
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import Choice, Questions, choose


def asked_as_newcomers(asked: Sequence[Questions]) -> list[Questions]:
    """Return the questions of users new to a domain, of each domain where enough such users are asked."""
    new = [q.of(np.flatnonzero(np.diff(q.seen.indptr) == 0)) for q in asked]
    return [q for q in new if len(q.user_num) >= MIN_NEWCOMERS]


def choose_for_newcomers(
    signals: Signals, inner: GraphSnapshot, vectors: Vectors, asked: list[Questions], seed: int, budget: Budget
) -> dict[str, Choice]:
    """Choose settings once more, by the questions of newcomers; those that do no better for them are left out.

    Args:
        signals: everybody's, fitted on `inner`.
        inner: the graph without the validation behaviours.
        vectors: text vectors made from it.
        asked: see `asked_as_newcomers`; where there are none, nothing is chosen.
        seed: makes the result repeat.
        budget: bounds the search.
    """
    chosen = {}
    for n_done, (name, signal) in enumerate(signals.items() if asked else ()):
        say(f"choosing settings of {name} for newcomers")
        allowance = budget.allowance(len(signals) - n_done)
        choice = choose(type(signal), inner, vectors, asked, seed, allowance)
        if better_for_newcomers(choice.signal, signal, asked):
            chosen[name] = choice
            budget.reserve(choice.seconds)
    return chosen


def better_for_newcomers(one: Signal, other: Signal, asked: Sequence[Questions]) -> bool:
    """Say whether a signal does clearly better on questions of newcomers than another; equal settings do not."""
    if one.settings == other.settings:
        return False
    theirs, others = (np.concatenate([q.ndcg(q.scores(signal.scores)) for q in asked]) for signal in (one, other))
    say(f"newcomers: NDCG {theirs.mean():.4f} with settings of their own, {others.mean():.4f} without")
    return clearly_better(theirs, others)
