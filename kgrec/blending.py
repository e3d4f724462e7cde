"""The blends of all domains, learnt from the questions of the validation cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kgrec.alone import AloneSignals, Signals, serve_at_home
from kgrec.hybrid import Blend, fit_blend, users_to_learn_from
from kgrec.snapshot import GraphSnapshot
from kgrec.validate import Questions


def learn_blends(
    signals: Signals, inner: GraphSnapshot, asked: list[Questions], seed: int, alone: AloneSignals | None = None
) -> dict[str, Blend]:
    """Learn the blend of every domain: domain → blend, of equal weights where nothing is asked.

    Args:
        signals: fitted on `inner`.
        inner: the graph without the validation behaviours.
        asked: the questions of the cut.
        seed: makes the result repeat.
        alone: domain → signals that serve those at home in it instead; see kgrec/alone.py.
    """
    names = list(signals)
    blends = {domain: even_blend(names) for domain in sorted(set(inner.item_domains))}
    popularity = np.asarray(inner.interactions.sum(axis=0), dtype=np.float32).ravel()
    for q in (q.of(users_to_learn_from(q.seen, q.relevant, seed)) for q in asked):
        scores = [q.scores(signal.scores) for signal in signals.values()]
        if alone and q.domain in alone:
            serve_at_home(alone[q.domain], names, scores, q.user_num, q.seen)
        blends[q.domain] = fit_blend(names, scores, q.seen, q.relevant, popularity[q.item_num], seed)
    return blends


def even_blend(names: Sequence[str]) -> Blend:
    """Return the blend of a domain of which nothing was asked: all signals alike."""
    return Blend.of_form("z", names, [1.0] * len(names), "search")
