"""Every named query gives the same rows on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from conftest import CINEMA

from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
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
def test_neo4j_results_equal_ladybug(embedded: GraphStore, server: GraphStore, name: str) -> None:
    parameters = PARAMETERS.get(name, {})
    found, expected = (run_named(graph, name, parameters).map(_in_order) for graph in (server, embedded))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_IN_SPARQL])
def test_sparql_results_equal_cypher(embedded: GraphStore, rdf: GraphStore, name: str) -> None:
    parameters = PARAMETERS.get(name, {})
    expected = run_named(embedded, name, parameters)
    if name == "overview":  # what was published is not among what was loaded
        expected = expected[expected["relationship"] != "RECOMMENDED"].reset_index(drop=True)
    found = run_named(rdf, name, parameters)
    pd.testing.assert_frame_equal(found.map(_joined), expected.map(_joined), check_dtype=False, atol=1e-9)


def test_queries_without_sparql_are_listed() -> None:
    assert {name for name, query in _queries().items() if query.sparql is None} == NOT_IN_SPARQL


def test_query_without_sparql_fails(rdf: GraphStore) -> None:
    with pytest.raises(UsageError, match="has no SPARQL version"):
        run_named(rdf, "co_liked", {"item": "f2"})


MEMBERS = Schema.from_dict(
    {
        "name": "members",
        "nodes": {
            "User": {
                "key": "id",
                "properties": {
                    "age": "int",
                    "height": "float",
                    "member": "bool",
                    "joined": "datetime",
                    "code": "string",
                },
            },
            "Item": {"key": "id"},
        },
        "relationships": {"LIKED": {"from": "User", "to": "Item"}},
        "roles": {"users": "User", "items": "Item", "behaviours": {"LIKED": {}}},
    }
)


@pytest.fixture(scope="module", params=["{}/members.lbug", "oxigraph:{}/members"])
def members(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    """Two users, of whom the first likes item i."""
    users = {"id": ["a", "b"], "age": [30, 31], "height": [2.0, 1.5], "member": [True, False], "code": ["30", "x"]}
    users["joined"] = [datetime(2024, 1, 1), datetime(2024, 1, 2, 3)]
    nodes = {"User": pa.table(users), "Item": pa.table({"id": ["i", "j"]})}
    liked = pa.table({"src": ["a", "b"], "dst": ["i", "j"]})
    with open_graph(request.param.format(tmp_path_factory.mktemp("members")), create=True) as store:
        store.write(GraphTables(MEMBERS, nodes, {("User", "LIKED", "Item"): liked}))
        yield store


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("age", 30),
        ("age", 30.0),
        ("height", 2),
        ("height", 2.0),
        ("member", True),
        ("joined", "2024-01-01"),
        ("joined", "2024-01-01T01:00:00+01:00"),
        ("joined", datetime(2024, 1, 1)),
        ("code", 30),
    ],
)
def test_value_is_compared_in_its_property_type(members: GraphStore, name: str, value: object) -> None:
    found = run_named(members, "popular_in_segment", {"property": name, "value": value})
    assert found["item_id"].tolist() == ["i"]


@pytest.mark.parametrize(
    ("name", "value"), [("age", "old"), ("age", [30]), ("age", 30.5), ("age", None), ("joined", "soon")]
)
def test_value_of_another_type_is_refused(members: GraphStore, name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"parameter 'value': found .*\. Expected type \w+, that of {name}"):
        run_named(members, "popular_in_segment", {"property": name, "value": value})
