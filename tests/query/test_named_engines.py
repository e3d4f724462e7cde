"""Every named query gives the same rows on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from conftest import CINEMA

from kgrec.errors import UsageError
from kgrec.query.named import _queries, named_queries, run_named
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.load import load
from kgrec.testing.named_queries import PARAMETERS, recommendations

pytestmark = pytest.mark.slow

NAMES = named_queries()["name"].tolist()
NOT_IN_SPARQL = {"co_liked"}
"""SPARQL has no square root."""


def filled(uri: str) -> Iterator[GraphStore]:
    with open_graph(uri, create=True) as store:
        load("atomic", CINEMA, into=store)
        store.publish(pa.Table.from_pandas(recommendations(), preserve_index=False), "run-1")
        yield store


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    yield from filled(str(tmp_path_factory.mktemp("engines") / "cinema.lbug"))


@pytest.fixture(scope="module")
def rdf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    yield from filled(f"oxigraph:{tmp_path_factory.mktemp('engines') / 'cinema'}")


@pytest.fixture(scope="module")
def server(neo4j_server: str) -> Iterator[GraphStore]:
    from kgrec.testing.neo4j_server import clear

    clear(neo4j_server)
    yield from filled(neo4j_server)


def _in_order(value: Any) -> Any:
    """What a query collects comes in any order."""
    return sorted(value) if isinstance(value, list) else value


def _joined(value: Any) -> Any:
    """SPARQL has no lists: what it collects is one text, in any order."""
    parts = value if isinstance(value, list) else str(value).split("; ") if isinstance(value, str) else None
    return value if parts is None else "; ".join(sorted(parts))


@pytest.mark.neo4j
@pytest.mark.parametrize("name", NAMES)
def test_neo4j_answers_as_the_embedded_graph(embedded: GraphStore, server: GraphStore, name: str) -> None:
    parameters = PARAMETERS.get(name, {})
    found, expected = (run_named(graph, name, parameters).map(_in_order) for graph in (server, embedded))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_IN_SPARQL])
def test_sparql_answers_as_cypher(embedded: GraphStore, rdf: GraphStore, name: str) -> None:
    parameters = PARAMETERS.get(name, {})
    expected = run_named(embedded, name, parameters)
    if name == "overview":  # what was published is not among what was loaded
        expected = expected[expected["relationship"] != "RECOMMENDED"].reset_index(drop=True)
    found = run_named(rdf, name, parameters)
    pd.testing.assert_frame_equal(found.map(_joined), expected.map(_joined), check_dtype=False, atol=1e-9)


def test_what_has_no_twin_is_known() -> None:
    assert {name for name, query in _queries().items() if query.sparql is None} == NOT_IN_SPARQL


def test_a_query_without_a_twin_says_so(rdf: GraphStore) -> None:
    with pytest.raises(UsageError, match="has no SPARQL version"):
        run_named(rdf, "co_liked", {"item": "f2"})
