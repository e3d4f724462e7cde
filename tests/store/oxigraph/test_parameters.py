from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.oxigraph.parameters import with_values
from kgrec.testing.store_contract import ODD, SCHEMA, contract_tables, digest

pytest.importorskip("pyoxigraph")

XSD = "http://www.w3.org/2001/XMLSchema#"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GraphStore]:
    with open_graph(f"oxigraph:{tmp_path / 'graph'}", create=True) as store:
        store.write(contract_tables())
        yield store


@pytest.mark.parametrize(
    ("query", "values", "expected"),
    [
        ("ASK { ?t :p ?x }", {"x": True}, f'ASK {{ ?t :p "true"^^<{XSD}boolean> }}'),
        ("ASK { ?t :p ?x }", {"x": 3}, f'ASK {{ ?t :p "3"^^<{XSD}integer> }}'),
        ("ASK { ?t :p ?x }", {"x": float("-inf")}, f'ASK {{ ?t :p "-INF"^^<{XSD}double> }}'),
        ("ASK { ?t :p ?x }", {"x": date(2020, 1, 2)}, f'ASK {{ ?t :p "2020-01-02"^^<{XSD}date> }}'),
        ("ASK { ?t :p $x }", {"x": "<urn:a:b>"}, "ASK { ?t :p <urn:a:b> }"),
        ("ASK { ?t :p ?x }", {"x": 'a"\\\n'}, 'ASK { ?t :p "a\\"\\\\\\n" }'),
        ("SELECT ?x { ?t :p ?x }", {"x": "a"}, 'SELECT ("a" AS ?x) { ?t :p "a" }'),
        ('ASK { ?x :p "?x", <http://h/?x> } # ?x', {"x": "a"}, 'ASK { "a" :p "?x", <http://h/?x> } # ?x'),
        ("ASK { ?x :p ?xy }", {"x": "a"}, 'ASK { "a" :p ?xy }'),
    ],
)
def test_values_replace_variables(query: str, values: dict[str, Any], expected: str) -> None:
    assert with_values(query, values) == expected


def test_value_cannot_inject_into_the_query(store: GraphStore) -> None:
    for value in (ODD, "b\"'`;", 'x" } ; INSERT', "\\", " "):
        found = store.sparql("SELECT ?id ?n { ?n a :User ; :user_id ?id }", {"id": value})
        known = contract_tables().nodes["User"].column("user_id").to_pylist()
        assert len(found) == (value in known)
        assert set(found["id"]) <= {value}


@pytest.mark.parametrize(
    ("value", "message"),
    [(["t1"], "?id is a list; expected text"), (None, "?id is a NoneType"), ({"a": 1}, "?id is a dict")],
)
def test_value_of_unsupported_type_fails(store: GraphStore, value: Any, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.sparql("SELECT ?n { ?n :id ?id }", {"id": value})
    assert message in str(caught.value)


def test_unknown_parameter_fails(store: GraphStore) -> None:
    with pytest.raises(StoreError, match=r"no variable \?name; its variables: id, n"):
        store.sparql("SELECT ?n { ?n :id ?id }", {"name": "x"})


def test_values_return_as_python_types(store: GraphStore) -> None:
    found = store.sparql("SELECT ?at ?price ?order { ?n a :Item ; :at ?at ; :price ?price ; :order ?order }")
    assert found.iloc[0].tolist() == [datetime(1970, 1, 1, 0, 0, 1, 500_000), 1.5, ""]
    assert store.sparql("SELECT ?age { ?n :age ?age }")["age"].sort_values().tolist() == [-1, 1, 2**53 + 5]
    assert store.sparql("ASK { ?n :at ?at }", {"at": datetime(1970, 1, 1, 0, 0, 1, 500_000)})["answer"].tolist() == [
        True
    ]
    assert store.sparql("CONSTRUCT { ?n a :Item } WHERE { ?n a :Item }").columns.tolist() == [
        "subject",
        "predicate",
        "object",
    ]


@pytest.mark.parametrize(
    ("query", "caret"),
    [
        ("SELECT ?n { ?n a :User ", None),
        ("SELECT ?n {\n  ?n a :User ; ; . ) }", "  ^"),
        ("MATCH (n) RETURN n", "^"),
        ("INSERT DATA { <urn:a:b> a :Thing }", "^"),
        ("DELETE WHERE { ?s ?p ?o }", "^"),
    ],
)
def test_wrong_query_is_shown(store: GraphStore, query: str, caret: str | None) -> None:
    with pytest.raises(StoreError) as caught:
        store.sparql(query)
    assert all(line in str(caught.value) for line in query.strip().split("\n"))
    assert caret is None or caret in str(caught.value)
    assert store.snapshot().digest == digest(contract_tables())


def test_endless_query_is_stopped(store: GraphStore) -> None:
    query = "SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l . ?m ?o ?p . ?q ?r ?s }"
    with pytest.raises(StoreError, match=r"the query was stopped after 0\.5 s"):
        store.sparql(query, time_limit=0.5)


def test_query_above_the_row_limit_fails(store: GraphStore) -> None:
    with pytest.raises(StoreError, match="returns more than 3 rows; add LIMIT"):
        store.sparql("SELECT * { ?s ?p ?o }", row_limit=3)
    assert len(store.sparql("SELECT * { ?s ?p ?o } LIMIT 3", row_limit=3)) == 3


def test_readers_see_an_update(store: GraphStore) -> None:
    iri = "urn:kgrec:Thing/new"
    store.sparql("INSERT DATA { ?n a :Thing ; :id ?id }", {"n": f"<{iri}>", "id": "new"}, write=True)
    assert "new" in store.ids("Thing").to_pylist()


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ("INSERT DATA { <urn:kgrec:Shop/shop> a :Thing }", "as Shop and as Thing"),
        ('INSERT DATA { <urn:kgrec:User/a> :age "old" }', "one value"),
        ("INSERT DATA { <urn:kgrec:Item/i1> :in <urn:kgrec:User/a> }", "from Item to Thing"),
    ],
)
def test_update_that_breaks_the_graph_is_undone(store: GraphStore, update: str, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        store.sparql(update, write=True)
    assert "the update was undone" in str(caught.value)
    assert message in str(caught.value)
    assert store.snapshot().digest == digest(contract_tables())


def test_node_added_by_update_is_merged_by_next_load(store: GraphStore) -> None:
    store.sparql(
        'INSERT DATA { :x a :Thing ; :id "new" . <urn:kgrec:Item/i1> :in :x . :m rdf:subject <urn:kgrec:User/a> ; '
        "rdf:predicate :MATCH ; rdf:object <urn:kgrec:Item/i2> ; :weight 1 ; :timestamp 5 . :y :note 'mine' }",
        write=True,
    )
    n = len(store.snapshot().behaviors)
    nodes = {"Thing": pa.table({"id": ["new"]}), "Item": pa.table({"item_id": ["i1"]})}
    old = pa.table({"src": ["a"], "dst": ["i2"], "weight": [2.0], "timestamp": [5.0]})
    users = pa.table({"user_id": ["a"]})
    edges = {("User", "MATCH", "Item"): old, ("Item", "in", "Thing"): pa.table({"src": ["i1"], "dst": ["new"]})}
    items = pa.table({"item_id": ["i1", "i2"]})
    store.write(GraphTables(SCHEMA, {**nodes, "Item": items, "User": users}, edges))
    snapshot = store.snapshot()
    assert snapshot.nodes["Thing"].column("id").to_pylist().count("new") == 1
    assert len(snapshot.edges["Item", "in", "Thing"]) == 2
    assert len(snapshot.behaviors) == n
    assert store.sparql("SELECT ?note { ?y :note ?note }")["note"].tolist() == ["mine"]


def test_rdflib_reads_the_same_graph(store: GraphStore) -> None:
    pytest.importorskip("oxrdflib")
    import rdflib

    from kgrec.store.oxigraph.store import RdfStore

    assert isinstance(store, RdfStore)
    graph = store.rdflib()
    assert len(set(graph.subjects(rdflib.RDF.type, rdflib.URIRef("urn:kgrec:User")))) == 4
    assert SCHEMA.name == "contract"
