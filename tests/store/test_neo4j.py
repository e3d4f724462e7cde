from __future__ import annotations

from pathlib import Path

import pytest

from kgrec.store import open_store
from kgrec.store.base import GraphStore
from kgrec.testing.store_contract import CypherStoreContract

pytestmark = pytest.mark.neo4j


class TestNeo4j(CypherStoreContract):
    @pytest.fixture(autouse=True)
    def server(self, neo4j_uri: str) -> None:
        self.uri = neo4j_uri

    def open(self, place: Path, read_only: bool = False) -> GraphStore:
        return open_store(self.uri, read_only)
