"""Signals for newcomers: what serves users at home in a domain best is not what serves those who are new to it best.

Of a newcomer all is said by what they did elsewhere, so fewer factors and heavier shrinkage may do far better than what
tells the items of one domain apart. So settings are chosen for newcomers too, by their questions alone, and where these
are clearly better, a signal of such settings serves them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from kgrec.alone import Signals
from kgrec.evaluate import clearly_better
from kgrec.progress import say
from kgrec.signals.at_home import MIN_NEWCOMERS
from kgrec.signals.base import Signal
from kgrec.snapshot import FloatArray, IntArray
from kgrec.validate import Questions


def asked_as_newcomers(asked: Sequence[Questions]) -> list[Questions]:
    """Return the questions of users new to a domain, of each domain where enough such users are asked."""
    new = [q.of(np.flatnonzero(np.diff(q.seen.indptr) == 0)) for q in asked]
    return [q for q in new if len(q.user_num) >= MIN_NEWCOMERS]


def better_for_newcomers(one: Signal, other: Signal, asked: Sequence[Questions]) -> bool:
    """Say whether one of two signals of a kind does clearly better on questions of newcomers; equal settings do not.

    Args:
        one, other: fitted on the cut.
        asked: see `asked_as_newcomers`.
    """
    if one.settings == other.settings:
        return False
    theirs, others = (np.concatenate([q.ndcg(q.scores(signal.scores)) for q in asked]) for signal in (one, other))
    say(f"newcomers: NDCG {theirs.mean():.4f} with settings of their own, {others.mean():.4f} without")
    return clearly_better(theirs, others)


def serve_newcomers(
    signals: Signals,
    names: Sequence[str],
    parts: Sequence[FloatArray],
    user_nums: IntArray,
    seen: sp.csr_matrix,
    items: IntArray,
) -> None:
    """Fill in the scores of those who have nothing in a domain by the signals that serve them better.

    Args:
        signals: name → signal that does.
        names: all signals.
        parts: one float32 [n, m] for each, scores of the domain's items, which are changed in place.
        user_nums: int64 [n].
        seen: CSR [n, m], what users have of the domain.
        items: int64 [m], numbers of the domain's items.
    """
    new = np.diff(seen.indptr) == 0
    for part, name in zip(parts, names, strict=True):
        if name in signals and new.any():
            part[new] = signals[name].scores(user_nums[new])[:, items]
