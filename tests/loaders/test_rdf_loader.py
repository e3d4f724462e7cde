from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import DataError, UsageError
from kgrec.rdf.export import export
from kgrec.store import open_graph
from kgrec.store.load import check_source, load
from kgrec.testing.store_contract import contract_tables, digest
from loaders.rdf import RdfLoader

SCHEMA = Schema.parse(
    """
    name: films
    nodes:
      Viewer: {key: viewer_id, properties: {age: int}}
      Film: {key: film_id, name: title, properties: {title: string, year: int, tags: strings}}
      Person: {key: person_id, name: name, properties: {name: string}}
    relationships:
      SAW: {from: Viewer, to: Film, properties: {stars: float, at: datetime}}
      STARRING: {from: Film, to: Person}
    roles: {users: Viewer, items: Film, behaviours: {SAW: {weight: stars, time: at}}}
    rdf:
      base: http://example.org/
      prefixes: {dbo: "http://dbpedia.org/ontology/"}
      terms: {Film: "schema:Movie", STARRING: dbo:starring, year: dbo:year}
    """
)
HEAD = """
@prefix : <http://example.org/> .
@prefix dbo: <http://dbpedia.org/ontology/> .
@prefix dbr: <http://dbpedia.org/resource/> .
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix schema: <http://schema.org/> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""
GOOD = (
    HEAD
    + """
:Western rdfs:subClassOf schema:Movie .
:viewer1 a :Viewer ; :viewer_id "v1" ; :age 30 ; :SAW dbr:Heat .
:viewer2 a :Viewer ; :SAW dbr:Dead_Man .
:b1 rdf:subject :viewer1 ; rdf:predicate :SAW ; rdf:object dbr:Heat ; :stars 4.5 ;
    :at "2026-01-31T12:00:00"^^xsd:dateTime .
:b2 rdf:subject :viewer2 ; rdf:predicate :SAW ; rdf:object dbr:Dead_Man ; :stars 3 ;
    :at "2026-02-01T12:00:00Z"^^xsd:dateTime .
dbr:Heat a schema:Movie ; rdfs:label "Heat"@en, "Hitze"@de ; :film_id "f1" ; dbo:year "1995"^^xsd:gYear ;
    :tags "b", "a" ; dbo:starring dbr:Al_Pacino ; dbo:unknown "x" .
dbr:Dead_Man a :Western ; rdfs:label "Dead Man" ; dbo:starring dbr:Johnny_Depp .
dbr:Al_Pacino rdfs:label "Al Pacino" .
"""
)


def write(folder: Path, text: str, name: str = "films.ttl") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["films.ttl", "films.ttl.gz"])
def test_triples_named_in_schema_are_loaded(tmp_path: Path, name: str) -> None:
    tables = load("rdf", write(tmp_path, GOOD, name), schema=SCHEMA)
    films = {row["film_id"]: row for row in tables.nodes["Film"].to_pylist()}
    dead_man = "http://dbpedia.org/resource/Dead_Man"
    assert films["f1"] == {"film_id": "f1", "title": "Heat", "year": 1995, "tags": ["a", "b"]}
    assert films[dead_man]["title"] == "Dead Man"
    people = {row["name"] for row in tables.nodes["Person"].to_pylist()}
    assert people == {"Al Pacino", "Johnny Depp"}
    saw = sorted(tables.edges["Viewer", "SAW", "Film"].to_pylist(), key=lambda row: str(row["src"]))
    assert [(row["src"], row["dst"], row["stars"]) for row in saw] == [
        ("http://example.org/viewer2", dead_man, 3.0),
        ("v1", "f1", 4.5),
    ]
    assert tables.edges["Film", "STARRING", "Person"].num_rows == 2


def test_every_format_gives_the_same_graph(tmp_path: Path) -> None:
    import pyoxigraph as ox

    expected = GraphSnapshot.from_tables(load("rdf", write(tmp_path, GOOD), schema=SCHEMA)).digest
    quads = list(ox.parse(GOOD.encode(), ox.RdfFormat.TURTLE))
    for ending, format_ in (("nt", "N_TRIPLES"), ("nq", "N_QUADS"), ("jsonld", "JSON_LD")):
        text = ox.serialize(quads, format=getattr(ox.RdfFormat, format_))
        assert text is not None
        path = write(tmp_path, text.decode(), f"films.{ending}.gz")
        assert GraphSnapshot.from_tables(load("rdf", path, schema=SCHEMA)).digest == expected


def test_unusual_n_triples_spellings_are_read(tmp_path: Path) -> None:
    text = (
        "# a comment\n\n<http://example.org/v>\t<http://example.org/SAW> <http://example.org/f>. # more\n"
        '<http://example.org/v> <http://example.org/viewer_id> "\\u0061" .\n'
    )
    tables = load("rdf", write(tmp_path, text, "odd.nt"), schema=SCHEMA_WITHOUT_TIME)
    assert tables.edges["Viewer", "SAW", "Film"].to_pylist() == [
        {"src": "a", "dst": "http://example.org/f", "stars": None}
    ]


_DATA = SCHEMA.to_dict()
_DATA["relationships"]["SAW"]["properties"] = {"stars": "float"}
_DATA["roles"]["behaviours"] = {"SAW": {}}
SCHEMA_WITHOUT_TIME = Schema.from_dict(_DATA)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            'dbr:Dead_Man dbo:year "soon" .',
            'year: found "soon" of <http://dbpedia.org/resource/Dead_Man>; expected a literal of type int',
        ),
        (":viewer1 :age 1.5 .", "age: found"),
        (":viewer1 :age 31 .", "one value"),
        ("dbr:Heat a :Viewer .", "<http://dbpedia.org/resource/Heat> as Viewer and as Film"),
        (
            "[] a :Viewer ; :age 5 .",
            "a blank node with <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <http://example.org/Viewer> as Viewer",
        ),
        ('dbr:Heat dbo:starring [ rdfs:label "who" ] .', "(no IRI)"),
        ("dbr:Heat dbo:starring :viewer1 .", "(Viewer); expected from Film to Person"),
        (
            ":A rdfs:subClassOf :B . :B rdfs:subClassOf :A .",
            "a cycle of rdfs:subClassOf: <http://example.org/A>, <http://example.org/B>",
        ),
    ],
)
def test_wrong_data_names_the_node(tmp_path: Path, more: str, message: str) -> None:
    path = write(tmp_path, f"{GOOD}{more}\n")
    with pytest.raises(DataError) as caught:
        load("rdf", path, schema=SCHEMA)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_problems_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path, f'{GOOD}dbr:Heat dbo:year "soon" . :viewer1 :age "old" . dbr:Heat a :Viewer .\n')
    with pytest.raises(DataError) as caught:
        load("rdf", path, schema=SCHEMA)
    assert len(caught.value.problems) >= 3


def test_n_triples_problem_has_its_line(tmp_path: Path) -> None:
    text = (
        "# first\n<http://example.org/v> <http://example.org/SAW> <http://example.org/f> .\n"
        '<http://example.org/v> <http://example.org/age> "old" .\n'
    )
    with pytest.raises(DataError, match=r"wrong\.nt:3: age: found"):
        load("rdf", write(tmp_path, text, "wrong.nt"), schema=SCHEMA_WITHOUT_TIME)


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("broken.ttl", f"{HEAD}\n:a :b .\n", "broken.ttl:10: column"),
        ("broken.nt", "<http://a/b> <http://a/c> <http://a/d> .\n<http://a/b> nothing .\n", "broken.nt:2: column"),
        ("broken.nt.gz", "x", "broken.nt.gz:1:"),
        ("broken.nq", "<http://a/b> <http://a/c> <d> .\n", "broken.nq:1: column"),
        ("broken.jsonld", '{"@context": {"a":', "broken.jsonld:1: column"),
        ("other.jsonld", '{"@context": "http://schema.org/"}', "expected valid JSON-LD with its contexts in the file"),
    ],
)
def test_syntax_error_has_line_and_column(tmp_path: Path, name: str, text: str, place: str) -> None:
    with pytest.raises(DataError) as caught:
        load("rdf", write(tmp_path, text, name), schema=SCHEMA)
    assert place in str(caught.value)


def test_source_that_is_not_rdf_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no RDF file at"):
        load("rdf", tmp_path / "none.ttl", schema=SCHEMA)
    with pytest.raises(UsageError, match="holds no RDF file"):
        load("rdf", tmp_path, schema=SCHEMA)
    with pytest.raises(UsageError, match="unknown ending"):
        load("rdf", write(tmp_path, "", "films.csv"), schema=SCHEMA)
    with pytest.raises(UsageError, match="contains no kgrec schema"):
        load("rdf", write(tmp_path, GOOD))
    (tmp_path / "plain.nt.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match="cannot be read"):
        load("rdf", tmp_path / "plain.nt.gz", schema=SCHEMA)


@pytest.mark.parametrize("name", ["graph.ttl", "graph.nq", "graph.nt", "graph.ttl.gz"])
def test_export_loads_back_equal(tmp_path: Path, name: str) -> None:
    with open_graph(tmp_path / "graph.lbug", create=True) as store:
        store.write(contract_tables())
        export(store.read(), tmp_path / name)
    assert GraphSnapshot.from_tables(load("rdf", tmp_path / name)).digest == digest(contract_tables())


def test_export_uses_schema_terms(tmp_path: Path) -> None:
    with open_graph(tmp_path / "graph.lbug", create=True) as store:
        load("rdf", write(tmp_path, GOOD), schema=SCHEMA, into=store)
        export(store.read(), tmp_path / "out.ttl")
        text = (tmp_path / "out.ttl").read_text()
        assert "dbo:starring" in text
        assert "schema:Movie" in text
        assert GraphSnapshot.from_tables(load("rdf", tmp_path / "out.ttl")).digest == store.snapshot().digest
        with pytest.raises(UsageError, match="unknown ending"):
            export(store.read(), tmp_path / "out.xml")


def test_oxigraph_graph_is_a_source(tmp_path: Path) -> None:
    with open_graph(f"oxigraph:{tmp_path / 'graph'}", create=True) as store:
        store.write(contract_tables())
    tables = load("rdf", f"oxigraph:{tmp_path / 'graph'}")
    assert GraphSnapshot.from_tables(tables).digest == digest(contract_tables())


def test_shacl_valid_data_has_no_violation(tmp_path: Path) -> None:
    assert check_source("rdf", write(tmp_path, GOOD), schema=SCHEMA).nodes["Film"].num_rows == 2


@pytest.mark.parametrize(
    ("more", "node", "message"),
    [
        (":viewer1 :age 1, 2 .", "<http://example.org/viewer1>", "Viewer.age: one literal of type int"),
        (
            'dbr:Heat dbo:year "x"^^:x .',
            "<http://dbpedia.org/resource/Heat>",
            "Film.year: one literal of type int",
        ),
        (":b3 rdf:subject :viewer1 .", "<http://example.org/b3>", ""),
        (':b1 :stars "x"^^:x .', "<http://example.org/b1>", "SAW.stars: one literal of type float"),
        ('dbr:Heat dbo:starring "Al" .', "<http://dbpedia.org/resource/Heat>", "STARRING to an IRI of Person"),
    ],
)
def test_shacl_violations_name_their_nodes(tmp_path: Path, more: str, node: str, message: str) -> None:
    source = write(tmp_path, f"{GOOD}{more}\n")
    mine = [problem for problem in RdfLoader().violations(source, SCHEMA) if problem.where == node]
    assert any(message in problem.expected for problem in mine)


def test_check_reports_each_problem_once(tmp_path: Path) -> None:
    more = ':viewer1 :age 1, 2 .\n:b1 :stars "x"^^:x .\ndbr:Heat dbo:starring "Al" .\n:b3 rdf:subject :viewer1 .\n'
    source = write(tmp_path, GOOD + more)
    with pytest.raises(DataError) as loaded:
        load("rdf", source, schema=SCHEMA)
    with pytest.raises(DataError) as checked:
        check_source("rdf", source, schema=SCHEMA)
    told = loaded.value.problems
    assert checked.value.problems[: len(told)] == told
    assert {problem.where for problem in checked.value.problems[len(told) :]} == {"<http://example.org/b3>"}
