"""Signals: what scores a (user, item)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kgrec.signals.base import Signal


def signal_kinds(names: Sequence[str]) -> list[type[Signal]]:
    """Return the signals of these names in a fixed order, the costliest last."""
    from kgrec.signals.cf.cross_domain_ae import Bridge
    from kgrec.signals.cf.ease import EASE
    from kgrec.signals.cf.ials import IALS
    from kgrec.signals.cf.item_knn import Neighbours
    from kgrec.signals.cf.item_transitions import Transitions
    from kgrec.signals.cf.popularity import Popularity
    from kgrec.signals.cf.user_ease import UserEASE
    from kgrec.signals.content.embeddings import Text
    from kgrec.signals.content.tfidf import Words
    from kgrec.signals.graph.lightgcn import GNN
    from kgrec.signals.graph.metapaths import Paths
    from kgrec.signals.graph.spectral_filter import Spectral

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
