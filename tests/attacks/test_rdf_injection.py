"""Hostile values in a schema or in data cannot add triples to RDF exports or SPARQL queries."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import SchemaError
from kgrec.rdf.export import export
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.load import load

ox = pytest.importorskip("pyoxigraph")

SHOP = """\
name: shop
nodes: {User: {key: uid}, Item: {key: iid, name: title, properties: {title: string, tags: strings}}}
relationships: {SAW: {from: User, to: Item, properties: {note: string}}}
roles: {users: User, items: Item, behaviours: {SAW: {}}}
"""
EVIL = "> <urn:evil> <urn:evil> .\n<urn:a"
HOSTILE = [
    *(
        f"x{EVIL}",
        f"http://a/{EVIL}",
        f"urn:x:{EVIL}",
        'a" . <urn:evil> <urn:evil> <urn:evil> .\n#',
        'a"b\\',
        "\\u003e",
    ),
    *(
        "\\",
        "\x00\x01\x1f",
        "a\u2028b\u0085c",
        "\ufffe\ue000",
        "a'b`{}|^",
        "http://a/b#c>d",
        "http://[bad",
        "http://a/%zz",
    ),
    *("_:b", '"@en', '"^^<urn:x>', "\r\n", "\n", "urn:x"),
]


def hostile() -> GraphTables:
    items = [f"{value}i" for value in HOSTILE]
    nodes = {
        "User": pa.table({"uid": HOSTILE}),
        "Item": pa.table({"iid": items, "title": HOSTILE, "tags": [[value, value] for value in HOSTILE]}),
    }
    edges = {("User", "SAW", "Item"): pa.table({"src": HOSTILE, "dst": items, "note": HOSTILE})}
    return GraphTables(Schema.parse(SHOP, where="shop.yaml"), nodes, edges)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    store = open_graph(f"oxigraph:{tmp_path_factory.mktemp('hostile') / 'g'}", create=True)
    store.write(hostile())
    return store


@pytest.mark.parametrize("ending", [".nt", ".ttl", ".nq"])
def test_export_escapes_hostile_values(store: GraphStore, tmp_path: Path, ending: str) -> None:
    export(store.read(), tmp_path / f"g{ending}")
    there = ox.Store()
    there.load((tmp_path / f"g{ending}").read_bytes(), ox.RdfFormat.from_extension(ending[1:]))
    evil = ox.NamedNode("urn:evil")
    assert not [
        q for place in range(3) for q in there.quads_for_pattern(*(evil if i == place else None for i in range(3)))
    ]
    with open_graph(tmp_path / "back.lbug", create=True) as back:
        load("rdf", tmp_path / f"g{ending}", into=back)
        assert back.snapshot().digest == store.snapshot().digest


def test_sparql_hostile_value_stays_a_value(store: GraphStore) -> None:
    for value in HOSTILE:
        found = store.sparql("SELECT ?u ?id { ?u :uid ?id }", {"id": value})
        assert found["id"].tolist() == [value]
    assert store.sparql("SELECT * { ?s <urn:evil> ?o }").empty


@pytest.mark.parametrize(
    "rdf",
    [
        f"base: 'http://x/{EVIL}'".replace("\n", " "),
        "base: 'http://a/%zz/'",
        'base: "http://a/\\ufffe"',
        'base: "http://x/\\n"',
        "prefixes: {ex: 'http://x/> . <urn:evil> <urn:evil> <urn:evil> . #'}",
        "prefixes: {'e> . <urn:evil': 'http://x/'}",
        "prefixes: {'': 'http://x/'}",
        "prefixes: {rdf: 'http://x/'}",
        "prefixes: {ex: 'http://x/'}, terms: {Item: 'ex:a> <urn:evil> <urn:evil> . <http://y'}",
        "terms: {Item: 'schema:a b'}",
        'terms: {title: "schema:a\\n"}',
        "terms: {Item: 'http://[bad'}",
    ],
)
def test_schema_term_that_is_not_an_iri_is_refused(rdf: str) -> None:
    with pytest.raises(SchemaError, match=r"rdf\."):
        Schema.parse(f"{SHOP}rdf: {{{rdf}}}\n", where="shop.yaml")
