"""The blends of all domains, learnt from the questions of the validation cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.blend import Blend, fit_blend, users_to_learn_from
from kgrec.hybrid.cold_items import Knows, NewItems, asks_about_new_items
from kgrec.hybrid.cold_start import blend_for_strangers, domains_apart
from kgrec.hybrid.segment_models import Standins
from kgrec.signals.base import Signals
from kgrec.tuning.validation import Questions


def learn_blends(
    signals: Signals,
    inner: GraphSnapshot,
    asked: list[Questions],
    seed: int,
    standins: Standins,
) -> dict[str, Blend]:
    """Learn the blend of every domain: domain → blend, of equal weights where nothing is asked.

    Args:
        signals: fitted on `inner`.
        inner: the graph without the validation behaviours.
        asked: the questions of the cut.
        seed: makes the result repeat.
        standins: signals that serve some users instead of these; see kgrec/hybrid/segment_models.py.
    """
    names, knows = list(signals), know_new_items(signals)
    even = replace(even_blend(names), new_items=NewItems.even(knows))
    blends = dict.fromkeys(sorted(set(inner.item_domains)), even)
    popularity = np.asarray(inner.interactions.sum(axis=0), dtype=np.float32).ravel()
    apart = domains_apart(inner)
    for everybody in asked:
        q = everybody.of(users_to_learn_from(everybody.seen, everybody.relevant, seed))
        scores = [q.scores(signal.scores) for signal in signals.values()]
        standins.serve(q.domain, names, scores, q.user_num, q.seen, q.item_num)
        popular = popularity[q.item_num]
        blend = fit_blend(names, scores, q.seen, q.relevant, popular, seed)
        total = blend.combine(scores, q.seen, popular)
        new_items = NewItems.learn(knows, scores, total, q.seen, q.relevant, popular, seed)
        if q.domain in apart:
            blend = replace(blend, newcomers=blend_for_strangers(signals, scores, q.seen, q.relevant, seed))
        asked_about = asks_about_new_items(everybody.relevant, popular)
        blends[q.domain] = replace(blend, new_items=replace(new_items, asked=asked_about))
    return blends


def know_new_items(signals: Signals) -> Knows:
    """Return which signals of the groups content and graph can tell of an item that nobody has chosen."""
    kinds = signals.values()
    return {
        group: np.array([kind.knows_new_items and kind.group == group for kind in kinds])
        for group in ("content", "graph")
    }


def even_blend(names: Sequence[str]) -> Blend:
    """Return the blend of a domain of which nothing was asked: all signals alike."""
    return Blend.of_form("z", names, [1.0] * len(names), "search")
