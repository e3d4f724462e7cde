"""Signals for cold-start users: what serves active users of a domain best is not what serves users new to it best.

Of a newcomer all is said by what they did elsewhere, so fewer factors and heavier shrinkage may do far better than what
tells the items of one domain apart. So settings are chosen for cold-start users too, by their questions alone, and
where these are clearly better, a signal of such settings serves them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kgrec._util.progress import say
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.metrics.ranking import clearly_better
from kgrec.signals.base import Signal, Signals
from kgrec.signals.domain_weighting import MIN_COLD_START_USERS
from kgrec.tuning.budget import Budget
from kgrec.tuning.validation import TuningResult, ValidationSet, tune


def cold_start_holdouts(holdouts: Sequence[ValidationSet]) -> list[ValidationSet]:
    """Return the questions of users new to a domain, of each domain where enough such users are asked."""
    new = [holdout.take(np.flatnonzero(np.diff(holdout.seen.indptr) == 0)) for holdout in holdouts]
    return [holdout for holdout in new if len(holdout.user_num) >= MIN_COLD_START_USERS]


def tune_for_cold_start(
    signals: Signals,
    tuning_graph: GraphSnapshot,
    vectors: Vectors,
    holdouts: list[ValidationSet],
    seed: int,
    budget: Budget,
) -> dict[str, TuningResult]:
    """Choose settings once more, by the questions of newcomers; those that do no better for them are left out.

    Args:
        signals: everybody's, fitted on `tuning_graph`.
        tuning_graph: the graph without the validation behaviors.
        vectors: text vectors made from it.
        holdouts: see `cold_start_holdouts`; where there are none, nothing is chosen.
        seed: makes the result repeat.
        budget: bounds the search.
    """
    chosen = {}
    for n_done, (name, signal) in enumerate(signals.items() if holdouts else ()):
        say(f"choosing settings of {name} for cold-start users")
        search_budget = budget.search_budget(len(signals) - n_done)
        choice = tune(type(signal), tuning_graph, vectors, holdouts, seed, search_budget)
        if better_for_cold_start(choice.signal, signal, holdouts):
            chosen[name] = choice
            budget.reserve(choice.seconds)
    return chosen


def better_for_cold_start(one: Signal, other: Signal, holdouts: Sequence[ValidationSet]) -> bool:
    """Say whether a signal does clearly better on questions of newcomers than another; equal settings do not."""
    if one.settings == other.settings:
        return False
    theirs, others = (
        np.concatenate([holdout.ndcg(holdout.scores(signal.scores)) for holdout in holdouts]) for signal in (one, other)
    )
    say(f"newcomers: NDCG {theirs.mean():.4f} with settings of their own, {others.mean():.4f} without")
    return clearly_better(theirs, others)
