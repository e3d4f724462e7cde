"""kgrec: a recommender engine whose center is a knowledge graph.

import kgrec
graph = kgrec.open("shop.lbug")
kgrec.load("movielens", into=graph)
model = kgrec.Recommender().fit(graph)
model.recommend(["196"], k=10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kgrec.config import Config
    from kgrec.data.loader import load
    from kgrec.data.schema import Schema
    from kgrec.data.snapshot import GraphSnapshot
    from kgrec.data.split import Split
    from kgrec.data.tables import GraphTables
    from kgrec.errors import (
        DataError,
        KgrecError,
        RunError,
        SchemaError,
        StoreError,
        StoreLocked,
        UnknownItem,
        UnknownUser,
        UsageError,
    )
    from kgrec.recommender import Recommender
    from kgrec.store import open_store as open

_PLACES = {
    "Config": "kgrec.config",
    "DataError": "kgrec.errors",
    "GraphSnapshot": "kgrec.data.snapshot",
    "GraphTables": "kgrec.data.tables",
    "KgrecError": "kgrec.errors",
    "Recommender": "kgrec.recommender",
    "RunError": "kgrec.errors",
    "Schema": "kgrec.data.schema",
    "SchemaError": "kgrec.errors",
    "Split": "kgrec.data.split",
    "StoreError": "kgrec.errors",
    "StoreLocked": "kgrec.errors",
    "UnknownItem": "kgrec.errors",
    "UnknownUser": "kgrec.errors",
    "UsageError": "kgrec.errors",
    "load": "kgrec.data.loader",
    "open": "kgrec.store",
}

__all__ = [
    "Config",
    "DataError",
    "GraphSnapshot",
    "GraphTables",
    "KgrecError",
    "Recommender",
    "RunError",
    "Schema",
    "SchemaError",
    "Split",
    "StoreError",
    "StoreLocked",
    "UnknownItem",
    "UnknownUser",
    "UsageError",
    "load",
    "open",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import kgrec` stays fast and needs no torch."""
    if name not in _PLACES:
        raise AttributeError(f"module 'kgrec' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), "open_store" if name == "open" else name)
