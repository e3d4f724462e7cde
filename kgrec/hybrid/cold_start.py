"""Newcomers: users of one domain who have nothing in another yet. The validation cut must ask about such users too.

Where domains share no users it cannot: nobody's behaviors tell what a user of one takes in another. Such strangers get
what is popular, shifted by how near its content is to what they know.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.blend import Blend, shares_of
from kgrec.hybrid.blend_weights import softmax_weights
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, CandidateLists, Scale
from kgrec.hybrid.learn_blend import MIN_BLEND_USERS
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.significance import clearly_better
from kgrec.signals.base import Signal, Signals
from kgrec.signals.domain_weighting import MIN_COLD_START_USERS, cold_start_users
from kgrec.tuning.search import TuningResult, tune
from kgrec.tuning.validation import ValidationSet

logger = logging.getLogger(__name__)

NON_OVERLAPPING_CONTENT_WEIGHT: Final = 0.3
"""What nearness of content counts for a stranger, where it counts 1 for users at home: nothing can tell how much."""
SIMULATED_SHARE: Final = 0.1
"""Share of the users of several domains who are asked about as newcomers to one of them, at most."""


def simulate_cold_start(train: GraphSnapshot, seed: int) -> BoolArray:
    """Mark all that some users did in one domain, as if they were new to it, bool [n behaviors].

    For each domain that users of others are new to, about as many are taken who are not. What serves newcomers best
    cannot be learned from those who are none.

    Args:
        train: the graph to learn from.
        seed: makes the draw repeat.
    """
    rng, (here, cells) = np.random.default_rng(seed), train.user_domains
    n_new = cold_start_users(train).sum(axis=0)
    able = (here > 0) & (here.sum(axis=1, keepdims=True) > here)
    taken = np.zeros(here.shape, dtype=bool)
    for domain in np.flatnonzero(n_new):
        users = np.flatnonzero(able[:, domain] & ~taken.any(axis=1))
        n = min(int(n_new[domain]), round(SIMULATED_SHARE * len(users)))
        taken[rng.permutation(users)[:n], domain] = True
    return np.asarray(taken.ravel()[cells])


def non_overlapping_domains(train: GraphSnapshot) -> set[str]:
    """Return the domains of several that share too few users with others for behaviors to lead from one to another."""
    here = train.user_domains[0] > 0
    shared = (here & (here.sum(axis=1, keepdims=True) > 1)).sum(axis=0)
    names = np.unique(train.item_domains.astype(str))
    return set(names[shared < MIN_BLEND_USERS]) if len(names) > 1 else set()


def non_overlapping_blend(
    signals: Signals,
    scores: Sequence[FloatArray],
    seen: sp.csr_matrix,
    relevant: sp.csr_matrix,
    seed: int = 0,
) -> Blend | None:
    """Learn from users at home what popularity and content say, and let content count less; None without either.

    Args:
        signals: name → signal.
        scores: one float32 [n, n_items] for each.
        seen, relevant: CSR [n, n_items] of users at home.
        seed: makes the sample of items repeat.
    """
    popular = [place for place, signal in enumerate(signals.values()) if not signal.personalized]
    content = [place for place, signal in enumerate(signals.values()) if signal.group == "content"]
    if not popular + content:
        return None
    none = np.zeros(relevant.shape[1], np.float32)
    parts = [scores[place] for place in popular + content]
    lists = CandidateLists.from_scores(parts, seen, relevant, np.zeros(relevant.shape[0], np.float32), none, seed)
    features = np.concatenate([lists.raw[: len(popular)], lists.zscore[len(popular) :]])
    features = np.where(lists.listed, features, 0)
    fitted = softmax_weights(features, lists.sampling, lists.relevant, lists.n_relevant, positive=True)
    weights = np.zeros((len(FEATURE_KINDS), len(signals)), np.float32)
    weights[FEATURE_KINDS.index("raw"), popular] = fitted[: len(popular)]
    weights[FEATURE_KINDS.index("zscore"), content] = NON_OVERLAPPING_CONTENT_WEIGHT * fitted[len(popular) :]
    blend = Blend(tuple(signals), "non_overlapping", weights, Scale(0.0, 1.0), Scale(0.0, 1.0), {})
    return replace(blend, report={"kind": "non_overlapping", "shares": shares_of(blend, scores, seen, none)})


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
