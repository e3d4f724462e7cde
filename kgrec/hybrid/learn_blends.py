"""The blends of all domains, learned from the questions of the validation cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.blend import Blend, fit_blend, users_to_learn_from
from kgrec.hybrid.cold_items import ColdItems, SignalMasks, has_cold_item_users
from kgrec.hybrid.cold_start import non_overlapping_blend, non_overlapping_domains
from kgrec.hybrid.segment_models import SegmentModels, scores_of
from kgrec.signals.base import Signals
from kgrec.tuning.validation import ValidationSet


def learn_blends(
    signals: Signals,
    tuning_graph: GraphSnapshot,
    holdouts: list[ValidationSet],
    seed: int,
    segment_models: SegmentModels,
) -> dict[str, Blend]:
    """Learn the blend of every domain: domain → blend, of equal weights where nothing is asked.

    Args:
        signals: fitted on `tuning_graph`.
        tuning_graph: the graph without the validation behaviors.
        holdouts: the questions of the cut.
        seed: makes the result repeat.
        segment_models: signals that serve some users instead of these; see kgrec/hybrid/segment_models.py.
    """
    names, masks = list(signals), cold_item_signals(signals)
    even = replace(even_blend(names), cold_items=ColdItems.even(masks))
    blends = dict.fromkeys(sorted(set(tuning_graph.item_domains)), even)
    popularity = np.asarray(tuning_graph.interactions.sum(axis=0), dtype=np.float32).ravel()
    apart = non_overlapping_domains(tuning_graph)
    for everybody in holdouts:
        holdout = everybody.take(users_to_learn_from(everybody.seen, everybody.relevant, seed))
        scores = [holdout.scores(signal.scores) for signal in signals.values()]
        segment_models.apply_to(
            holdout.domain, names, scores, scores_of(holdout.user_num), holdout.seen, holdout.item_num
        )
        popular = popularity[holdout.item_num]
        blend = fit_blend(names, scores, holdout.seen, holdout.relevant, popular, seed)
        total = blend.combine(scores, holdout.seen, popular)
        cold_items = ColdItems.learn(masks, scores, total, holdout.seen, holdout.relevant, popular, seed)
        if holdout.domain in apart:
            blend = replace(
                blend, cross_domain=non_overlapping_blend(signals, scores, holdout.seen, holdout.relevant, seed)
            )
        in_validation = has_cold_item_users(everybody.relevant, popular)
        blends[holdout.domain] = replace(blend, cold_items=replace(cold_items, in_validation=in_validation))
    return blends


def cold_item_signals(signals: Signals) -> SignalMasks:
    """Return which signals of the groups content and graph can tell of an item that nobody has chosen."""
    kinds = signals.values()
    return {
        group: np.array([kind.supports_cold_items and kind.group == group for kind in kinds])
        for group in ("content", "graph")
    }


def even_blend(names: Sequence[str]) -> Blend:
    """Return the blend of a domain of which nothing was asked: all signals alike."""
    return Blend.from_weights("zscore", names, [1.0] * len(names), "ndcg_search")
