"""Signals: what scores a (user, item)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kgrec.signals.base import Signal


def signal_kinds(names: Sequence[str]) -> list[type[Signal]]:
    """Return the signals of these names in a fixed order, the costliest last."""
    from kgrec.signals.cf.cross_domain_ae import CrossDomainAE
    from kgrec.signals.cf.ease import EASE
    from kgrec.signals.cf.ials import IALS
    from kgrec.signals.cf.item_knn import ItemKNN
    from kgrec.signals.cf.item_transitions import ItemTransitions
    from kgrec.signals.cf.popularity import Popularity
    from kgrec.signals.cf.user_ease import UserEASE
    from kgrec.signals.content.embeddings import Embeddings
    from kgrec.signals.content.tfidf import TFIDF
    from kgrec.signals.graph.lightgcn import LightGCN
    from kgrec.signals.graph.metapaths import MetaPaths
    from kgrec.signals.graph.spectral_filter import Spectral

    kinds: list[type[Signal]] = [
        Popularity,
        ItemKNN,
        ItemTransitions,
        Spectral,
        IALS,
        EASE,
        UserEASE,
        MetaPaths,
        Embeddings,
        TFIDF,
        CrossDomainAE,
        LightGCN,
    ]
    return [kind for kind in kinds if kind.name in names]
