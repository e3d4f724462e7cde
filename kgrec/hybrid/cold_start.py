"""Cross-domain cold start: users with interactions in some domains and none in the target domain.

Settings and blends for them are learned on validation users of the same kind, which the validation split has to
contain. Domains that share no users offer none; there, cold-start users get the popular items of the domain,
re-weighted by content similarity to their history in other domains.
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
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, CandidateLists, Scale
from kgrec.hybrid.learn_blend import MIN_BLEND_USERS
from kgrec.hybrid.listwise_softmax import softmax_weights
from kgrec.hybrid.tuning_state import TuningState
from kgrec.metrics.significance import clearly_better
from kgrec.signals.base import Signal, Signals
from kgrec.signals.domain_weighting import MIN_COLD_START_USERS, cold_start_users
from kgrec.tuning.budget import search_shares
from kgrec.tuning.search import Trial, TuningResult, tune_further
from kgrec.tuning.validation import ValidationSet, evaluate_each

logger = logging.getLogger(__name__)

NON_OVERLAPPING_CONTENT_WEIGHT: Final = 0.3
"""Weight of content similarity for users of non-overlapping domains, relative to in-domain users. Set by hand: without
shared users it cannot be learned."""
SIMULATED_SHARE: Final = 0.1
"""Maximum share of the multi-domain users who are validated as cold-start users of one of their domains."""
FEW_SIMULATED: Final = 30
"""Where `SIMULATED_SHARE` gives fewer users than this, it is a third: a blend learned from a handful may be worse than
popularity."""


def simulate_cold_start(train: GraphSnapshot, seed: int) -> BoolArray:
    """Return a mask of interactions to hold out so that some users become cold-start users of a domain, bool [n].

    Settings that are best for cold-start users cannot be learned on other users. For each domain with cold-start users,
    up to as many multi-domain users are drawn, and all their interactions in the domain are held out.

    Args:
        train: the training graph, with n interactions.
        seed: makes the draw repeat.
    """
    rng, (here, cells) = np.random.default_rng(seed), train.user_domains
    n_new = cold_start_users(train).sum(axis=0)
    able = (here > 0) & (here.sum(axis=1, keepdims=True) > here)
    a_third = able.sum(axis=0) // 3
    taken = np.zeros(here.shape, dtype=bool)
    for domain in np.flatnonzero(n_new):
        users = np.flatnonzero(able[:, domain] & ~taken.any(axis=1))
        most = max(round(SIMULATED_SHARE * len(users)), min(FEW_SIMULATED, int(a_third[domain])))
        n = min(int(n_new[domain]), most)
        taken[rng.permutation(users)[:n], domain] = True
    return np.asarray(taken.ravel()[cells])


def non_overlapping_domains(train: GraphSnapshot) -> set[str]:
    """Return the domains that share too few users with others to learn from; empty if there is only one domain."""
    here = train.user_domains[0] > 0
    shared = (here & (here.sum(axis=1, keepdims=True) > 1)).sum(axis=0)
    names = np.unique(train.item_domains.astype(str))
    return set(names[shared < MIN_BLEND_USERS]) if len(names) > 1 else set()


def rarely_asked_domains(train: GraphSnapshot, holdouts: Sequence[ValidationSet]) -> set[str]:
    """Return the domains with cold-start users of whom too few are in validation to learn a blend for them."""
    entered = np.unique(train.item_domains.astype(str))[cold_start_users(train).any(axis=0)]
    asked = {holdout.domain: int((np.diff(holdout.seen.indptr) == 0).sum()) for holdout in holdouts}
    return {domain for domain in entered if asked.get(domain, 0) < MIN_BLEND_USERS}


def beats_popularity(blend: Blend, holdout: ValidationSet, popularity: FloatArray) -> bool:
    """Return whether a blend is clearly better than popularity for the cold-start users that it was learned from.

    Args:
        blend: the blend, with the metric that it reached by cross-fitting.
        holdout: the validation set of the domain.
        popularity: float32 [m], number of train users of each item of the domain.
    """
    new = holdout.take(np.flatnonzero(np.diff(holdout.seen.indptr) == 0))
    popular = new.evaluate(np.tile(popularity, (len(new.user_num), 1)))
    return clearly_better(blend.reached, popular)


def non_overlapping_blend(
    signals: Signals,
    scores: Sequence[FloatArray],
    seen: sp.csr_matrix,
    relevant: sp.csr_matrix,
    seed: int = 0,
) -> Blend | None:
    """Return a blend of popularity and content for cold-start users of a domain that offers none to learn from.

    Weights are learned from in-domain users; those of content are then lowered, see `NON_OVERLAPPING_CONTENT_WEIGHT`.

    Args:
        signals: name → signal.
        scores: one float32 [n, n_items] for each signal.
        seen, relevant: CSR [n, n_items] of in-domain users.
        seed: makes the sample of items repeat.

    Returns:
        The blend; None without any popularity or content signal.
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
    """Return the validation sets of cold-start users, for each domain with enough of them."""
    new = [holdout.take(np.flatnonzero(np.diff(holdout.seen.indptr) == 0)) for holdout in holdouts]
    return [holdout for holdout in new if len(holdout.user_num) >= MIN_COLD_START_USERS]


def tune_for_cold_start(state: TuningState) -> TuningState:
    """Tune each signal a second time, on cold-start users; keep results that are significantly better for them.

    The effort "fast" tunes none.
    """
    holdouts = cold_start_holdouts(state.search_sets) if state.config.effort != "fast" else []
    budget, chosen = state.budget, dict[str, TuningResult]()
    shares = search_shares(list(state.signals), state.worth)
    for name, signal in state.signals.items() if holdouts else ():
        logger.info(f"tuning {name} for cold-start users")
        limit = budget.search_budget(shares[name])
        trial = Trial(type(signal), state.graph, state.vectors, holdouts, state.seed)
        settings = type(signal).Settings(**state.fixed(name))
        first = trial(settings, signal if signal.settings == settings else None)
        result = tune_further(first, trial, limit, state.fixed(name))
        budget.settle(limit)
        if better_for_cold_start(result.signal, signal, holdouts):
            chosen[name] = result
            budget.reserve(result.seconds)
    segment_models = replace(state.segment_models, cold_start={name: result.signal for name, result in chosen.items()})
    report = {**state.report, "cold_start": {name: result.report for name, result in chosen.items()}}
    return replace(state, segment_models=segment_models, report=report)


def better_for_cold_start(one: Signal, other: Signal, holdouts: Sequence[ValidationSet]) -> bool:
    """Return whether `one` is significantly better than `other` on cold-start users; never if settings are equal."""
    if one.settings == other.settings:
        return False
    tuned, default = (np.concatenate(evaluate_each(holdouts, signal.scores)) for signal in (one, other))
    logger.info(
        f"cold-start users: {holdouts[0].metric} {tuned.mean():.4f} with settings tuned on them, "
        f"{default.mean():.4f} without"
    )
    return clearly_better(tuned, default)
