"""Faults of foreign RDF that tests/loaders/test_rdf_loader.py does not cover."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgrec._util.notices import DataNotice
from kgrec.data.schema import Schema
from kgrec.errors import DataError
from kgrec.store.load import load

pytest.importorskip("pyoxigraph")

SCHEMA = Schema.parse(
    """
    name: works
    nodes:
      Viewer: {key: viewer_id}
      Work: {key: work_id, properties: {tags: strings, cover: vector}}
      Film: {key: film_id}
    relationships:
      SAW: {from: Viewer, to: [Work, Film], properties: {stars: float}}
    roles: {users: Viewer, items: [Work, Film], behaviours: {SAW: {weight: stars}}}
    rdf: {base: "http://e/"}
    """
)
HEAD = """
@prefix : <http://e/> .
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:Film rdfs:subClassOf :Work . :Western rdfs:subClassOf :Film . :Book rdfs:subClassOf :Work .
:v a :Viewer .
:b rdf:subject :v ; rdf:predicate :SAW ; rdf:object :book ; :stars 1.0 .
:book a :Book .
"""


def loaded(folder: Path, more: str) -> dict[str, set[str]]:
    path = folder / "works.ttl"
    path.write_text(HEAD + more)
    tables = load("rdf", path, schema=SCHEMA)
    return {label: set(table.column(0).to_pylist()) for label, table in tables.nodes.items()}


@pytest.mark.parametrize(
    "more",
    [":f a :Film .", ":f a :Western .", ":f a :Film, :Work .", ":f a :Western, :Work, :Film .", ":f a :Work, :Film ."],
)
def test_node_of_subclass_has_the_nearest_label(tmp_path: Path, more: str) -> None:
    assert loaded(tmp_path, more) == {"Viewer": {"http://e/v"}, "Work": {"http://e/book"}, "Film": {"http://e/f"}}


def test_iri_of_two_labels_is_reported(tmp_path: Path) -> None:
    more = ":v :SAW :x . :b2 rdf:subject :v ; rdf:predicate :SAW ; rdf:object :x ; :stars 1.0 ."
    with pytest.warns(DataNotice, match="without an rdf:type: 1, such as <http://e/x>. They were read as Work"):
        assert "http://e/x" in loaded(tmp_path, more)["Work"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (":f a :Film, :Viewer .", "as "),
        (':book :tags "[oops"^^rdf:JSON .', "a JSON array of strings"),
        (':book :tags "[1]"^^rdf:JSON .', "a JSON array of strings"),
        (':book :tags "[]"^^rdf:JSON, "x" .', "one JSON literal alone"),
        (":book :tags :v .", "found <http://e/v> of <http://e/book>; expected a literal"),
        (':book :cover "[1, true]"^^rdf:JSON .', "expected one JSON array of numbers"),
        (':book :cover "1 2" .', "expected one JSON array of numbers"),
        (':book :cover "[1, 2]"^^rdf:JSON, "[1, 3]"^^rdf:JSON .', "expected one JSON array of numbers"),
        (':book :cover "[1, null]"^^rdf:JSON .', "found nan at position 2; expected finite numbers"),
        (":b rdf:subject :v2 . :v2 a :Viewer .", "one"),
        (":Film rdfs:subClassOf :Film .", "a cycle of rdfs:subClassOf: <http://e/Film>"),
    ],
)
def test_wrong_data_is_refused(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        loaded(tmp_path, more)
    assert message in str(caught.value)


def test_every_broken_line_is_reported(tmp_path: Path) -> None:
    good = "<http://e/v> <http://e/SAW> <http://e/f> .\n"
    (tmp_path / "one.nt").write_text(f"{good}<http://e/v> nothing .\n\n{good}x\n")
    (tmp_path / "two.nt").write_text(f"{good}{good}<http://e/a b> <http://e/p> 1 .\n")
    with pytest.raises(DataError) as caught:
        load("rdf", tmp_path, schema=SCHEMA)
    places = [(Path(problem.where).name, problem.row) for problem in caught.value.problems]
    assert places == [("one.nt", 2), ("one.nt", 5), ("two.nt", 3)]


def test_lines_with_other_ends_and_spaces_are_read(tmp_path: Path) -> None:
    lines = [f"<http://e/v{i}> <http://e/SAW>\t<http://e/f> ." for i in range(1000)]
    (tmp_path / "crlf.nt").write_bytes(
        "\r\n".join([*lines, "<http://e/f> a", ""]).replace(" a\r", ' <http://e/p> "1".\r').encode()
    )
    (tmp_path / "class.nt").write_text(
        "<http://e/f> <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <http://e/Film> .\n"
        "<http://e/b> <http://www.w3.org/1999/02/22-rdf-syntax-ns#subject> <http://e/v1> .\n"
        "<http://e/b> <http://www.w3.org/1999/02/22-rdf-syntax-ns#predicate> <http://e/SAW> .\n"
        "<http://e/b> <http://www.w3.org/1999/02/22-rdf-syntax-ns#object> <http://e/f> .\n"
        '<http://e/b> <http://e/stars> "1.0"^^<http://www.w3.org/2001/XMLSchema#double> .'
    )
    data = SCHEMA.to_dict()
    data["relationships"]["SAW"]["properties"] = {"stars": "float"}
    data["roles"]["behaviours"] = {"SAW": {}}
    tables = load("rdf", tmp_path, schema=Schema.from_dict(data))
    assert tables.edges["Viewer", "SAW", "Film"].num_rows == 1000
