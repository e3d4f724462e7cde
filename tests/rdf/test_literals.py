"""Literals and names of foreign RDF: languages, percent-encoded IRIs, invalid dates."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.errors import DataError
from kgrec.rdf.iris import readable
from kgrec.store.load import check_source, load

pytest.importorskip("pyoxigraph")

SCHEMA = Schema.parse(
    """
    name: films
    nodes:
      Viewer: {key: viewer_id}
      Film:
        key: film_id
        name: title
        properties: {title: string, released: datetime, year: int, seen: bool, tags: strings}
      Person: {key: person_id, name: name, properties: {name: string}}
    relationships:
      SAW: {from: Viewer, to: Film}
      STARRING: {from: Film, to: Person}
    roles: {users: Viewer, items: Film, behaviours: {SAW: {}}}
    rdf: {base: "http://e/"}
    """
)
HEAD = """
@prefix : <http://e/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
:v :SAW :f .
:f a :Film .
"""


def written(folder: Path, more: str) -> Path:
    path = folder / "films.ttl"
    path.write_text(HEAD + more, encoding="utf-8")
    return path


def title(folder: Path, labels: str) -> str | None:
    tables = load("rdf", written(folder, f":f rdfs:label {labels} ."), schema=SCHEMA)
    return str(tables.nodes["Film"].column("title")[0].as_py())


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('"Lampe"@de, "Lamp"@en-GB', "Lamp"),
        ('"Lampe"@de, "Lamp"@EN-gb', "Lamp"),
        ('"Lamp"@en, "Torch"@en-GB, "Plain"', "Lamp"),
        ('"Torch"@en-GB, "Flash"@en-US, "Plain"', "Torch"),
        ('"Plain", "Lampe"@de', "Plain"),
        ('"Lampe"@fr, "Leuchte"@de', "Leuchte"),
        ('"Zeta"@de, "Alpha"@de', "Alpha"),
        ('"Alpha"@de, "Zeta"@de', "Alpha"),
    ],
)
def test_label_of_languages_english_first(tmp_path: Path, labels: str, expected: str) -> None:
    assert title(tmp_path, labels) == expected


@pytest.mark.parametrize("labels", ['"a"@en, "b"@en', '"a"@en-GB, "b"@en-GB, "c"', '"a", "b", "c"@de'])
def test_two_labels_of_one_language_refused(tmp_path: Path, labels: str) -> None:
    with pytest.raises(DataError, match="expected one value"):
        title(tmp_path, labels)


def test_name_of_iri_percent_decoded(tmp_path: Path) -> None:
    path = written(tmp_path, ":f :STARRING <http://dbpedia.org/resource/Zo%C3%AB_Quarry> .")
    assert load("rdf", path, schema=SCHEMA).nodes["Person"].column("name").to_pylist() == ["Zoë Quarry"]


@pytest.mark.parametrize(
    ("iri", "name"),
    [
        ("http://e/resource/Star_Wars:_Episode_IV", "Star Wars: Episode IV"),
        ("http://e/AC%2FDC", "AC/DC"),
        ("http://e/x#Zo%C3%AB/", "Zoë"),
        ("http://e/caf%E9", "caf%E9"),
        ("http://e/a%1B%5B31m", "a%1B%5B31m"),
        ("http://e/a%0Ab", "a%0Ab"),
        ("urn:isbn:123", "123"),
        ("http://e/100%25", "100%"),
    ],
)
def test_readable_iris_names(iri: str, name: str) -> None:
    assert readable(pa.chunked_array([[iri, "http://e/a"]])).to_pylist() == [name, "a"]


@pytest.mark.parametrize(
    "value",
    [
        ':released "-0028-08-10T00:00:00Z"^^xsd:dateTime',
        ':released "-0028-08-10"^^xsd:date',
        ':released "0000-01-01T00:00:00Z"^^xsd:dateTime',
        ':released "1950-00-00T00:00:00Z"^^xsd:dateTime',
        ':released "1950-02-30T00:00:00Z"^^xsd:dateTime',
        ':released "12023-01-01T00:00:00"^^xsd:dateTime',
        ':seen "yes"^^xsd:boolean',
        ':year "5.0"^^xsd:integer',
        ':year "300"^^xsd:byte',
    ],
)
@pytest.mark.filterwarnings("error")
def test_literal_of_no_type_refused_alike(
    tmp_path: Path, value: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, f":f {value} .")
    with caplog.at_level(logging.DEBUG), pytest.raises(DataError) as checked:
        check_source("rdf", path, schema=SCHEMA)
    with pytest.raises(DataError) as loaded:
        load("rdf", path, schema=SCHEMA)
    places = {(problem.where, problem.field) for problem in loaded.value.problems}
    assert places == {(str(path), value.split()[0].removeprefix(":"))}
    assert checked.value.problems == loaded.value.problems  # the shapes do not tell of it once more
    assert not caplog.records
    assert "Traceback" not in "".join(capfd.readouterr())


def test_literals_of_xsd_accepted_alike(tmp_path: Path) -> None:
    path = written(tmp_path, ':f :released "1950-01-31T00:00:00+02:00"^^xsd:dateTime ; :year "-0028"^^xsd:gYear .')
    assert check_source("rdf", path, schema=SCHEMA).nodes["Film"].column("year").to_pylist() == [-28]


def test_blank_node_at_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as Person; expected a node with an IRI"):
        load("rdf", written(tmp_path, ":f :STARRING [ a :Person ] ."), schema=SCHEMA)


@pytest.mark.parametrize(
    ("more", "name", "expected"),
    [
        (':f :year "5"^^xsd:unsignedInt .', "year", 5),
        (':f :year " 5 "^^xsd:integer .', "year", 5),
        (':f :released "2010-04-16+02:00"^^xsd:date .', "released", datetime(2010, 4, 16)),
        (':f :tags "b", " a ", "a", "" .', "tags", ["a", "b"]),
    ],
)
def test_unusual_valid_literals_are_read(tmp_path: Path, more: str, name: str, expected: object) -> None:
    path = written(tmp_path, more)
    for tables in (load("rdf", path, schema=SCHEMA), check_source("rdf", path, schema=SCHEMA)):
        assert tables.nodes["Film"].column(name).to_pylist() == [expected]


@pytest.mark.parametrize("more", [':f :year "256"^^xsd:unsignedByte .', ':f :year "-5"^^xsd:unsignedInt .'])
def test_unsigned_numbers_out_of_range_are_refused(tmp_path: Path, more: str) -> None:
    with pytest.raises(DataError, match="a literal of type int"):
        load("rdf", written(tmp_path, more), schema=SCHEMA)


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load("rdf", path, schema=SCHEMA).nodes["Film"].num_rows == 1


def test_check_and_load_agree_on_several_languages(tmp_path: Path) -> None:
    path = written(tmp_path, ':f :title "Lampe"@de, "Lamp"@en-GB, "Lampje"@nl .')
    for tables in (load("rdf", path, schema=SCHEMA), check_source("rdf", path, schema=SCHEMA)):
        assert tables.nodes["Film"].column("title").to_pylist() == ["Lamp"]
