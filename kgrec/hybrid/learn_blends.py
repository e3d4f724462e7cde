"""Blend learning for all domains on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kgrec._util.types import FloatArray
from kgrec.hybrid.blend import Blend, GroupedBlend
from kgrec.hybrid.cold_items import ColdItems, SignalMasks, has_cold_item_users
from kgrec.hybrid.cold_start import (
    beats_popularity,
    non_overlapping_blend,
    non_overlapping_domains,
    rarely_asked_domains,
)
from kgrec.hybrid.learn_blend import fit_blend
from kgrec.hybrid.new_users import new_user_blend
from kgrec.hybrid.tuning_state import TuningState
from kgrec.signals.base import Signals
from kgrec.tuning.validation import ValidationSet


def learn_blends(state: TuningState) -> dict[str, GroupedBlend]:
    """Return domain → blend learned on the validation split; equal weights for domains without validation users."""
    even = replace(even_blend(list(state.signals)), cold_items=ColdItems.even(cold_item_signals(state.signals)))
    blends = dict.fromkeys(sorted(set(state.graph.item_domains)), even)
    popularity = np.asarray(state.graph.interactions.sum(axis=0), dtype=np.float32).ravel()
    apart = non_overlapping_domains(state.graph) | rarely_asked_domains(state.graph, state.validation)
    for holdout in state.validation:
        blends[holdout.domain] = _learn_blend(
            state, holdout, popularity[holdout.item_num], apart=holdout.domain in apart
        )
    for holdout in state.new_users:
        learned = new_user_blend(state, holdout, popularity[holdout.item_num])
        blends[holdout.domain] = replace(blends[holdout.domain], new_users=learned)
    return blends


def _learn_blend(state: TuningState, holdouts: ValidationSet, popularity: FloatArray, *, apart: bool) -> GroupedBlend:
    """Return the blend of one domain, learned from its validation users, with the calibration of its cold items.

    Args:
        state: the fitted signals and segment models.
        holdouts: the validation set of the domain.
        popularity: float32 [m], number of train users of each item of the domain.
        apart: whether the domain shares too few users with other domains to learn a blend for cold-start users.
    """
    signals, seed, names = state.signals, state.seed, list(state.signals)
    holdout = state.sample(holdouts)
    scores = state.scores(holdout)
    blend = fit_blend(names, scores, holdout.seen, holdout.relevant, popularity, seed, holdout.metric)
    total = blend.combine(scores, holdout.seen, popularity)
    cold_items = ColdItems.learn(
        cold_item_signals(signals), scores, total, holdout.seen, holdout.relevant, popularity, seed
    )
    if apart or (blend.cold_start and not beats_popularity(blend.cold_start, holdout, popularity)):
        blend = replace(blend, cold_start=non_overlapping_blend(signals, scores, holdout.seen, holdout.relevant, seed))
    in_validation = has_cold_item_users(holdouts.relevant, popularity)
    return replace(blend, cold_items=replace(cold_items, in_validation=in_validation))


def cold_item_signals(signals: Signals) -> SignalMasks:
    """Return for the groups content and graph the mask of the signals that can score items without interactions."""
    kinds = signals.values()
    return {
        group: np.array([kind.supports_cold_items and kind.group == group for kind in kinds])
        for group in ("content", "graph")
    }


def even_blend(names: Sequence[str]) -> GroupedBlend:
    """Return a blend of equal z-score weights, for a domain without validation users."""
    return GroupedBlend(Blend.from_weights("zscore", names, [1.0] * len(names), "ndcg_search"))
