"""Stored times outside the range of Python and RDF, as other programs may write them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.data.to_networkx import to_networkx
from kgrec.errors import DataError
from kgrec.rdf.export import export

SCHEMA = Schema.parse(
    "name: s\nnodes: {User: {key: uid}, Item: {key: iid, properties: {n: int}}}\n"
    "relationships: {SAW: {from: User, to: Item, properties: {at: datetime}}}\n"
    "roles: {users: User, items: Item, behaviours: {SAW: {time: at}}}\n"
)
SAW = ("User", "SAW", "Item")
YEAR_52313 = 1588687728923 * 10**6


def graph(at: int = 0, n: int = 1) -> GraphTables:
    nodes = {"User": pa.table({"uid": ["u"]}), "Item": pa.table({"iid": ["i", "j"], "n": [n, None]})}
    times = pa.array([at, 0], pa.timestamp("us"))
    return GraphTables(SCHEMA, nodes, {SAW: pa.table({"src": ["u", "u"], "dst": ["i", "j"], "at": times})})


def test_export_refuses_times_that_rdf_cannot_write(tmp_path: Path) -> None:
    pytest.importorskip("pyoxigraph")
    with pytest.raises(DataError, match="User-SAW-Item: at: found 1 time outside the years 1 to 9999"):
        export(graph(YEAR_52313), tmp_path / "g.ttl")
    assert list(tmp_path.iterdir()) == []


def test_to_networkx_refuses_times_it_cannot_hold() -> None:
    pytest.importorskip("networkx")
    with pytest.raises(DataError, match="User-SAW-Item: at: found 1 time outside the years 1 to 9999"):
        to_networkx(GraphSnapshot.from_tables(graph(YEAR_52313)))


def test_upsert_refuses_times_out_of_range() -> None:
    with pytest.raises(DataError, match=r"User-SAW-Item:1: at: found .*; expected a value of type datetime: a time"):
        check(GraphSnapshot.from_tables(graph(YEAR_52313)).to_tables())


def test_digest_distinguishes_large_integers() -> None:
    digests = {GraphSnapshot.from_tables(check(graph(n=2**60 + k))).digest for k in (0, 1, 2)}
    assert len(digests) == 3


def test_large_integers_order_rows_exactly() -> None:
    schema = Schema.parse(
        "name: s\nnodes: {User: {key: uid}, Item: {key: iid}}\n"
        "relationships: {SAW: {from: User, to: Item, properties: {n: int}}, NEAR: {from: Item, to: Item}}\n"
        "roles: {users: User, items: Item, behaviours: {SAW: {}}}\n"
    )
    rows = pa.table({"src": ["u", "u"], "dst": ["i", "i"], "n": [2**60 + 1, 2**60]})
    nodes = {"User": pa.table({"uid": ["u"]}), "Item": pa.table({"iid": ["i"]})}
    one = GraphTables(schema, nodes, {SAW: rows})
    other = replace(one, edges={SAW: rows.take(pa.array([1, 0]))})
    assert GraphSnapshot.from_tables(one).digest == GraphSnapshot.from_tables(other).digest
