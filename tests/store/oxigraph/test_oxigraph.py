"""The RDF store: the contract, SPARQL, and failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from kgrec._util.files import MARKER
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError, StoreLocked
from kgrec.store.oxigraph import versions
from kgrec.store.oxigraph.store import RdfStore
from kgrec.testing.store_contract import SCHEMA, GraphStoreContract, contract_tables, digest, recommendations

pytestmark = pytest.mark.slow


class TestRdf(GraphStoreContract):
    engine, uri = RdfStore, "oxigraph:{}/graph"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RdfStore]:
    """A store that holds the small graph."""
    with RdfStore(f"oxigraph:{tmp_path / 'graph'}") as store:
        store.write(contract_tables())
        yield store


def test_sparql_gives_a_frame_of_native_values(store: RdfStore) -> None:
    frame = store.sparql("SELECT ?id ?age ?member WHERE { ?u a :User ; :user_id ?id ; :age ?age ; :member ?member }")
    rows = {row["id"]: (row["age"], row["member"]) for row in frame.to_dict("records")}
    assert rows["a"] == (1, True)
    when = store.sparql("SELECT ?at ?price WHERE { ?i :at ?at ; :price ?price }")
    assert when["at"][0].isoformat() == "1970-01-01T00:00:01.500000"
    assert when["price"][0] == 1.5


def test_sparql_answers_every_form_of_query(store: RdfStore) -> None:
    assert store.sparql("ASK { ?u a :User }")["answer"].tolist() == [True]
    assert store.sparql("SELECT ?x WHERE { ?x a :Nothing }").columns.tolist() == ["x"]
    triples = store.sparql("CONSTRUCT { ?u :is :seen } WHERE { ?u a :Shop }")
    assert triples.to_numpy().tolist() == [["urn:kgrec:Shop/shop", "urn:kgrec:is", "urn:kgrec:seen"]]


def test_sparql_takes_parameters(store: RdfStore) -> None:
    query = "SELECT ?u WHERE { ?u :user_id ?id }"
    assert len(store.sparql(query, {"id": "b\"'`;"})) == 1
    assert store.sparql("SELECT ?t WHERE { ?s a ?class ; :id ?t }", {"class": "<urn:kgrec:Shop>"})["t"][0] == "shop"


@pytest.mark.parametrize("update", ["INSERT DATA { :x a :Thing }", "DELETE WHERE { ?s ?p ?o }", "CLEAR ALL"])
def test_sparql_does_not_write_unless_asked(store: RdfStore, update: str) -> None:
    with pytest.raises(StoreError, match="no updates in a query that only reads") as caught:
        store.sparql(update)
    assert update in str(caught.value)
    assert store.snapshot().digest == digest(contract_tables())


def test_sparql_writes_when_asked(store: RdfStore) -> None:
    store.sparql('INSERT DATA { :x a :Thing ; :id "new" }', write=True)
    assert "new" in store.ids("Thing").to_pylist()
    with pytest.raises(StoreError):
        store.sparql("INSERT DATA { broken", write=True)


def test_wrong_query_error_has_a_caret(store: RdfStore) -> None:
    with pytest.raises(StoreError) as caught:
        store.sparql("SELECT ?u WHERE {\n  ?u a User }")
    query, caret = str(caught.value).splitlines()[-2:]
    assert query == "    ?u a User }"
    assert caret.strip() == "^"
    with pytest.raises(StoreError, match="oxigraph has no Cypher"):
        store.sparql("MATCH (u) RETURN u")


def test_slow_query_is_stopped(store: RdfStore) -> None:
    everything = " ".join(f"?a{i} ?b{i} ?c{i} ." for i in range(9))
    with pytest.raises(StoreError, match="stopped after 2 s"):
        store.sparql(f"SELECT (COUNT(*) AS ?n) WHERE {{ {everything} }}", time_limit=2)


def test_query_above_the_row_limit_fails(store: RdfStore) -> None:
    with pytest.raises(StoreError, match="more than 5 rows"):
        store.sparql("SELECT * WHERE { ?s ?p ?o }", row_limit=5)


def test_cypher_is_refused(store: RdfStore) -> None:
    with pytest.raises(StoreError, match="does not support Cypher"):
        store.cypher("MATCH (u) RETURN u")


def test_rdflib_reads_the_same_triples(store: RdfStore) -> None:
    assert len(store.rdflib()) == len(store.triples())


def test_published_recommendations_are_in_a_named_graph(store: RdfStore) -> None:
    store.publish(recommendations(["a", "shop"], ["i2", "t1"]), "run-1")
    query = (
        "SELECT ?rank ?i WHERE { GRAPH kgrec:recommendations { ?r kgrec:rank ?rank ; rdf:object ?i } } ORDER BY ?rank"
    )
    assert store.sparql(query)["i"].tolist() == ["urn:kgrec:Item/i2", "urn:kgrec:Thing/t1"]


def test_second_writer_is_refused(store: RdfStore) -> None:
    with pytest.raises(StoreLocked, match="open for writing"):
        RdfStore(store.uri)


def test_failed_write_leaves_nothing(store: RdfStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(versions.os, "replace", broken)
    with pytest.raises(StoreError, match="no space left on device; the graph was not changed"):
        store.apply(SCHEMA.model_copy(update={"name": "other"}))
    monkeypatch.undo()
    assert store.snapshot().digest == digest(contract_tables())
    assert len(list(store.path.glob("graph-*"))) == 1


def test_leftovers_of_killed_writer_are_removed(store: RdfStore) -> None:
    left, foreign = store.path / "graph-99", store.path / "graph-98"
    for version in (left, foreign):
        version.mkdir()
        (version / "half").write_text("x")
    (left / MARKER).write_text('{"version": "graph-99"}')
    assert store.snapshot().digest == digest(contract_tables())
    store.write(contract_tables())
    assert not left.exists()
    assert (foreign / "half").read_text() == "x"


def test_iri_of_two_labels_is_refused(store: RdfStore) -> None:
    iri = "http://example.org/both"
    nodes = {"Shop": pa.table({"id": [iri]}), "Thing": pa.table({"id": [iri]})}
    with pytest.raises(StoreError, match=r"is the key of a Shop and of a Thing. Expected one label per IRI"):
        store.upsert(GraphTables(SCHEMA, nodes, {}))
    assert store.snapshot().digest == digest(contract_tables())


def test_iri_key_is_the_nodes_iri(store: RdfStore) -> None:
    store.write(
        GraphTables(SCHEMA, {"Thing": pa.table({"id": ["http://example.org/x y", "http://example.org/x"]})}, {})
    )
    found = store.sparql("SELECT ?n WHERE { ?n a :Thing }")["n"].tolist()
    assert "http://example.org/x" in found
    assert "http://example.org/x y" in store.ids("Thing").to_pylist()


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"is not a graph: it holds notes\.txt"):
        RdfStore(f"oxigraph:{tmp_path}")
    with pytest.raises(StoreError, match="no graph at oxigraph:"):
        RdfStore(f"oxigraph:{tmp_path / 'none'}", read_only=True)


def test_names_in_rdf_are_checked() -> None:
    data = SCHEMA.to_dict() | {"rdf": {"base": "shop", "terms": {"Itm": "schema:Movie", "Item": "nothing:Movie"}}}
    with pytest.raises(Exception, match="an IRI, such as") as caught:
        Schema.from_dict(data)
    assert "'Itm'" in str(caught.value)
    assert "'nothing:Movie'" in str(caught.value)
