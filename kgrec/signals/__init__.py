"""Signals: what scores a (user, item)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kgrec.signals.base import Signal


def signal_kinds(names: Sequence[str]) -> list[type[Signal]]:
    """Return the signals of these names in a fixed order, the costliest last."""
    from kgrec.signals.cf.bridge import Bridge
    from kgrec.signals.cf.ease import EASE
    from kgrec.signals.cf.ials import IALS
    from kgrec.signals.cf.neighbours import Neighbours
    from kgrec.signals.cf.popularity import Popularity
    from kgrec.signals.cf.transitions import Transitions
    from kgrec.signals.cf.user_ease import UserEASE
    from kgrec.signals.content.text import Text
    from kgrec.signals.content.words import Words
    from kgrec.signals.graph.gnn import GNN
    from kgrec.signals.graph.paths import Paths
    from kgrec.signals.graph.spectral import Spectral

    kinds: list[type[Signal]] = [
        Popularity,
        Neighbours,
        Transitions,
        Spectral,
        IALS,
        EASE,
        UserEASE,
        Paths,
        Text,
        Words,
        Bridge,
        GNN,
    ]
    return [kind for kind in kinds if kind.name in names]
