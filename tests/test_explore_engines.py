"""Every named query gives the same rows on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from test_explore import CINEMA, NAMES, PARAMETERS, _recommendations  # the small graph and what is asked of it

from kgrec.explore import _queries, run_named
from kgrec.loading import load
from kgrec.store import open_store
from kgrec.store.base import GraphStore

NOT_IN_SPARQL = {"co_liked"}
"""SPARQL has no square root."""


def filled(uri: str) -> Iterator[GraphStore]:
    with open_store(uri) as store:
        load("atomic", CINEMA, into=store)
        store.publish(pa.Table.from_pandas(_recommendations(), preserve_index=False), "run-1")
        yield store


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    yield from filled(str(tmp_path_factory.mktemp("engines") / "cinema.lbug"))


@pytest.fixture(scope="module")
def rdf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    yield from filled(f"oxigraph:{tmp_path_factory.mktemp('engines') / 'cinema'}")


@pytest.fixture(scope="module")
def server(neo4j_server: str) -> Iterator[GraphStore]:
    from store.neo4j_server import clear

    clear(neo4j_server)
    yield from filled(neo4j_server)


def _plain(value: Any) -> Any:
    """Lists in any order, and a label as the list that holds it alone; what SPARQL joins into one text as a list."""
    if isinstance(value, str) and "; " in value:
        value = value.split("; ")
    if isinstance(value, list):
        return sorted(value)[0] if len(value) == 1 else tuple(sorted(value))
    return value


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.map(_plain), expected.map(_plain), check_dtype=False, atol=1e-9)


@pytest.mark.neo4j
@pytest.mark.parametrize("name", NAMES)
def test_neo4j_answers_as_the_embedded_graph(embedded: GraphStore, server: GraphStore, name: str) -> None:
    parameters = PARAMETERS.get(name, {})
    assert_same(run_named(server, name, parameters), run_named(embedded, name, parameters))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_IN_SPARQL])
def test_sparql_answers_as_cypher(embedded: GraphStore, rdf: GraphStore, name: str) -> None:
    parameters = PARAMETERS.get(name, {})
    expected = run_named(embedded, name, parameters)
    if name == "overview":  # what was published is not among what was loaded
        expected = expected[expected["relationship"] != "RECOMMENDED"].reset_index(drop=True)
    assert_same(run_named(rdf, name, parameters), expected)


def test_what_has_no_twin_is_known() -> None:
    assert {name for name, query in _queries().items() if query.sparql is None} == NOT_IN_SPARQL


def test_a_query_without_a_twin_says_so(rdf: GraphStore) -> None:
    with pytest.raises(Exception, match="cannot be asked in SPARQL"):
        run_named(rdf, "co_liked", {"item": "f2"})
