"""Signals for cold-start users: what serves active users of a domain best is not what serves users new to it best.

Of a newcomer all is said by what they did elsewhere, so fewer factors and heavier shrinkage may do far better than what
tells the items of one domain apart. So settings are chosen for cold-start users too, by their questions alone, and
where these are clearly better, a signal of such settings serves them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kgrec.metrics.ranking import clearly_better
from kgrec.signals.base import Signal
from kgrec.signals.domain_weighting import MIN_COLD_START_USERS
from kgrec.tuning.validation import TuningResult, ValidationSet, tune
from kgrec.tuning_state import TuningState

logger = logging.getLogger(__name__)


def cold_start_holdouts(holdouts: Sequence[ValidationSet]) -> list[ValidationSet]:
    """Return the questions of users new to a domain, of each domain where enough such users are asked."""
    new = [holdout.take(np.flatnonzero(np.diff(holdout.seen.indptr) == 0)) for holdout in holdouts]
    return [holdout for holdout in new if len(holdout.user_num) >= MIN_COLD_START_USERS]


def tune_for_cold_start(state: TuningState) -> TuningState:
    """Choose settings once more, for cold-start users; those that do no better for them are left out."""
    holdouts, budget, chosen = cold_start_holdouts(state.validation), state.budget, dict[str, TuningResult]()
    for n_done, (name, signal) in enumerate(state.signals.items() if holdouts else ()):
        logger.info(f"choosing settings of {name} for cold-start users")
        search_budget = budget.search_budget(len(state.signals) - n_done)
        choice = tune(type(signal), state.graph, state.vectors, holdouts, state.seed, search_budget, state.fixed(name))
        if better_for_cold_start(choice.signal, signal, holdouts):
            chosen[name] = choice
            budget.reserve(choice.seconds)
    segment_models = replace(state.segment_models, cold_start={name: choice.signal for name, choice in chosen.items()})
    report = {**state.report, "cold_start": {name: choice.report for name, choice in chosen.items()}}
    return replace(state, segment_models=segment_models, report=report)


def better_for_cold_start(one: Signal, other: Signal, holdouts: Sequence[ValidationSet]) -> bool:
    """Say whether a signal does clearly better on questions of cold-start users than another; equal settings do not."""
    if one.settings == other.settings:
        return False
    theirs, others = (
        np.concatenate([holdout.evaluate(holdout.scores(signal.scores)) for holdout in holdouts])
        for signal in (one, other)
    )
    logger.info(
        f"cold-start users: {holdouts[0].metric} {theirs.mean():.4f} with their settings, {others.mean():.4f} without"
    )
    return clearly_better(theirs, others)
