"""Integers of query results keep every digit: beside nulls, beyond 2**53, beyond 64 bits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from conftest import Command

from kgrec.cli.output import show
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.results import from_rows, of_one_type, to_frame
from loaders.sources import read_source

pytestmark = pytest.mark.slow

STEAM = 76561198000000001
BEYOND = 2**70
SCHEMA = """\
name: games
nodes: {User: {key: uid}, Game: {key: gid, properties: {steam: int, players: int}}}
relationships: {PLAYED: {from: User, to: Game}}
roles: {users: User, items: Game, behaviours: {PLAYED: {}}}
"""
CYPHER = "MATCH (g:Game) RETURN g.gid AS gid, g.steam AS steam, g.players AS players ORDER BY gid"
SPARQL = """SELECT ?gid ?steam ?players WHERE {
  ?g :gid ?gid . OPTIONAL { ?g :steam ?steam } OPTIONAL { ?g :players ?players } } ORDER BY ?gid"""


def games() -> GraphTables:
    nodes = {
        "User": pa.table({"uid": ["u1"]}),
        "Game": pa.table({"gid": ["g1", "g2", "g3"], "steam": [STEAM, STEAM + 2, None], "players": [7, None, 9]}),
    }
    edges = {("User", "PLAYED", "Game"): pa.table({"src": ["u1"], "dst": ["g1"]})}
    return GraphTables(Schema.parse(SCHEMA, where="games.yaml"), nodes, edges)


def filled(uri: str) -> Iterator[str]:
    with open_graph(uri, create=True) as store:
        store.write(games())
    yield uri


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from filled(str(tmp_path_factory.mktemp("numbers") / "g.lbug"))


@pytest.fixture(scope="module")
def rdf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from filled(f"oxigraph:{tmp_path_factory.mktemp('numbers') / 'g'}")


def ask(store: GraphStore, query: str) -> pd.DataFrame:
    return (store.cypher if store.language == "cypher" else store.sparql)(query)


@pytest.mark.parametrize("engine", ["embedded", "rdf", pytest.param("neo4j_uri", marks=pytest.mark.neo4j)])
def test_query_int_with_null_keeps_digits(engine: str, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue(engine)
    if engine == "neo4j_uri":
        [uri] = filled(uri)
    with open_graph(uri, read_only=True) as store:
        frame = ask(store, CYPHER if store.language == "cypher" else SPARQL)
    assert frame["steam"].dtype == "Int64"
    assert frame["steam"].tolist() == [STEAM, STEAM + 2, pd.NA]
    query = CYPHER if store.language == "cypher" else SPARQL
    table, _ = read_source({"graph": uri, "query": query}, "games", Path(), [])
    assert table.column("steam").to_pylist() == [STEAM, STEAM + 2, None]
    assert table.schema.field("players").type == pa.int64()


def test_query_int_without_null_is_int64(embedded: str) -> None:
    with open_graph(embedded, read_only=True) as store:
        frame = store.cypher("MATCH (g:Game) RETURN count(*) AS n, sum(g.steam) AS s, collect(g.steam) AS each")
    assert frame["n"].dtype == frame["s"].dtype == "int64"
    assert frame["s"][0] == 2 * STEAM + 2
    assert sorted(frame["each"][0]) == [STEAM, STEAM + 2]


def test_cypher_command_int_with_null_shows_digits(embedded: str, kgrec: Command) -> None:
    rows = json.loads(kgrec("cypher", embedded, CYPHER, "--json").out)
    assert [row["steam"] for row in rows] == [STEAM, STEAM + 2, None]
    shown = kgrec("cypher", embedded, CYPHER).out.split()
    assert str(STEAM) in shown
    assert "7" in shown
    assert "7.0" not in shown


@pytest.mark.parametrize("value", [BEYOND, -BEYOND])
def test_query_int_beyond_64_bits_keeps_digits(embedded: str, rdf: str, value: int) -> None:
    with open_graph(embedded, read_only=True) as store:
        assert store.cypher(f"RETURN CAST('{value}' AS INT128) AS x")["x"].tolist() == [value]
    with open_graph(rdf, read_only=True) as store:
        frame = store.sparql(f"SELECT ?x WHERE {{ VALUES ?x {{ '{value}'^^xsd:integer 7 UNDEF }} }}")
        assert set(frame["x"]) == {value, 7, None}
        unsigned = store.sparql("SELECT ('18446744073709551615'^^xsd:unsignedLong AS ?x) WHERE {}")
        assert unsigned["x"].tolist() == [2**64 - 1]


def test_sparql_literal_of_other_type_is_text(rdf: str) -> None:
    with open_graph(rdf, read_only=True) as store:
        frame = store.sparql("SELECT ?x WHERE { VALUES ?x { 'many'^^xsd:integer 'now'^^xsd:dateTime 7 } }")
    assert set(frame["x"]) == {"many", "now", 7}


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (f"{STEAM}.0", STEAM),
        (f"-{BEYOND}", -BEYOND),
        ("7.0", 7.0),
        ("19.99", 19.99),
        ("-.5", -0.5),
        ("NaN", "NaN"),
        (".", "."),
        ("1e999999999", "1e999999999"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_sparql_decimal_keeps_whole_numbers(rdf: str, literal: str, value: object) -> None:
    with open_graph(rdf, read_only=True) as store:
        frame = store.sparql(f"SELECT ?x WHERE {{ VALUES ?x {{ '{literal}'^^xsd:decimal }} }}")
    assert frame["x"].tolist() == [value]
    assert isinstance(frame["x"].tolist()[0], type(value))


def test_sparql_average_is_a_float(rdf: str) -> None:
    with open_graph(rdf, read_only=True) as store:
        frame = store.sparql("SELECT (AVG(?n) AS ?x) WHERE { ?g :players ?n }")
    assert frame["x"].dtype == "float64"


MIXED: list[list[Any]] = [[None, "a", 1, {"a": [1, None]}], [STEAM, 2, 0.5, {"a": [STEAM]}]]


def test_rows_of_any_type_survive_round_trip() -> None:
    table = from_rows(MIXED, ["whole", "mixed", "number", "nested"])
    frame = to_frame(table)
    assert frame["whole"].tolist() == [pd.NA, STEAM]
    assert frame["mixed"].tolist() == ["a", 2]
    assert frame["number"].tolist() == [1.0, 0.5]
    assert frame["nested"].tolist() == [row[3] for row in MIXED]
    assert of_one_type(table)[1] == ["mixed"]
    assert of_one_type(from_rows([[BEYOND], [1]], ["x"]))[0].column("x").to_pylist() == [str(BEYOND), "1"]


def test_show_missing_values_are_empty(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"n": pd.array([7, None], "Int64"), "at": [pd.Timestamp("2020-01-01"), pd.NaT]})
    show(frame, as_json=True)
    assert json.loads(capsys.readouterr().out)[1] == {"n": None, "at": None}
    show(frame, as_json=False)
    shown = capsys.readouterr().out
    assert "NA" not in shown
    assert "NaT" not in shown
