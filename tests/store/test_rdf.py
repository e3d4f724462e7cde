from __future__ import annotations

from pathlib import Path

from kgrec.store import open_store
from kgrec.store.base import GraphStore
from kgrec.testing.store_contract import GraphStoreContract


class TestRdf(GraphStoreContract):
    def open(self, place: Path, read_only: bool = False) -> GraphStore:
        return open_store(f"oxigraph:{place / 'graph'}", read_only)
