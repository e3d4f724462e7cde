from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError
from kgrec.rdf.encode import literals
from kgrec.rdf.export import export
from kgrec.rdf.iris import IRI, escaped, node_iris
from kgrec.rdf.literals import json_lists, split, values
from kgrec.store import open_graph
from kgrec.store.load import load
from kgrec.testing.store_contract import SCHEMA, contract_tables, digest, recommendations

ox = pytest.importorskip("pyoxigraph")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def column(values: list[Any], type_: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type_ or pa.string())])


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_any_text_is_escaped_into_an_iri(text: str) -> None:
    iri = "urn:kgrec:Item/" + escaped(column([text]))[0].as_py()
    assert ox.NamedNode(iri).value == iri, "the constructor refuses what is no IRI"


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=5, unique=True))
def test_different_keys_give_different_iris(texts: list[str]) -> None:
    assert len(set(escaped(column(texts)).to_pylist())) == len(texts)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("http://dbpedia.org/resource/Flawless_(1999_film)", True),
        ("https://a.b:80/ü?x=1&y=?#z", True),
        ("urn:isbn:0451450523", True),
        ("http://x/%41", True),
        ("http://x/%zz", False),
        ("http://[bad", False),
        ("http://a:port/", False),
        ("http://x#a#b", False),
        ("http://x/a b", False),
        ("http://x/\ue000", False),
        ("isbn:12", False),
        ("12", False),
    ],
)
def test_keys_that_are_iris_are_recognized(key: str, expected: bool) -> None:
    assert pc.match_substring_regex(column([key]), IRI)[0].as_py() == expected
    if expected:
        ox.NamedNode(key)


def test_key_like_a_derived_iri_stays_distinct() -> None:
    iris = node_iris(SCHEMA, "Thing", column(["urn:kgrec:User/a", "urn:kgrec:thing"])).to_pylist()
    assert iris == ["urn:kgrec:Thing/urn:kgrec:User%2Fa", "urn:kgrec:thing"]


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_strings_survive_round_trip(texts: list[str]) -> None:
    found = split(literals(column(texts), "string"))
    assert found.column("text").to_pylist() == texts
    joined = b"".join(
        f"<urn:a:b> <urn:a:p{i}> {t} .\n".encode() for i, t in enumerate(literals(column(texts), "string").to_pylist())
    )
    store = ox.Store()
    store.bulk_load(joined, ox.RdfFormat.N_TRIPLES)
    text = store.dump(format=ox.RdfFormat.N_TRIPLES, from_graph=ox.DefaultGraph()).decode()
    objects = sorted(re.findall(r"p(\d+)> (.*) \.$", text, re.M), key=lambda pair: int(pair[0]))
    assert split(column([o for _, o in objects])).column("text").to_pylist() == texts


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(TEXT, max_size=3), min_size=1, max_size=4))
def test_lists_of_strings_survive_round_trip(lists: list[list[str]]) -> None:
    text = split(literals(column(lists, pa.list_(pa.string())), "strings")).column("text").cast(pa.string())
    found, wrong = json_lists(text, "strings")
    assert found.to_pylist() == lists
    assert not wrong.any()


@pytest.mark.parametrize("text", ["[oops", "{}", "[1]", '["a", null]', '"a"', "[[]]"])
def test_json_not_a_list_of_strings_is_refused(text: str) -> None:
    _, wrong = json_lists(column([text, '["a"]', None]), "strings")
    assert wrong.tolist() == [True, False, False]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=3)))
def test_vectors_survive_round_trip(lists: list[list[float]]) -> None:
    text = split(literals(column(lists, pa.list_(pa.float32())), "vector")).column("text").cast(pa.string())
    found, wrong = json_lists(text, "vector")
    assert found.to_pylist() == lists
    assert not wrong.any()


@pytest.mark.parametrize("text", ["[oops", "{}", '["a"]', "[true]", "1", "[[1]]"])
def test_json_not_a_vector_is_refused(text: str) -> None:
    found, wrong = json_lists(column([text, "[1, 2.5]", None]), "vector")
    assert wrong.tolist() == [True, False, False]
    assert found.to_pylist()[1:] == [[1, 2.5], None]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", [2**53 + 5, -1, None]),
        ("float", [0.1, 1e300, float("inf"), -0.0, None]),
        ("bool", [True, False, None]),
    ],
)
def test_numbers_survive_round_trip(kind: str, value: list[Any]) -> None:
    written = literals(pa.chunked_array([pa.array(value)]), kind)
    found, wrong = values(split(written), kind)
    assert found.to_pylist() == value
    assert not wrong.any()


@pytest.mark.parametrize(
    "key", ["http://x/y#z", "http://[bad", "\ue000", "urn:kgrec:User/a", "x\x7f", "a\x00b", "%2F", "é/?#"]
)
def test_unusual_keys_survive_every_format(tmp_path: Path, key: str) -> None:
    tables = contract_tables()
    keys = [*tables.nodes["Thing"].column("id").to_pylist(), key]
    more = GraphTables(SCHEMA, {**tables.nodes, "Thing": pa.table({"id": keys})}, tables.edges)
    with open_graph(f"oxigraph:{tmp_path / 'graph'}", create=True) as store:
        store.write(more)
        assert store.snapshot().digest == digest(more)
        store.publish(recommendations(["a"], [key]), "run")
        for name in ("graph.ttl", "graph.nt", "graph.nq.gz"):
            export(store.read(), tmp_path / name)
            assert GraphSnapshot.from_tables(load("rdf", tmp_path / name)).digest == digest(more)


def test_iri_key_of_two_labels_is_refused(tmp_path: Path) -> None:
    tables = contract_tables()
    same = {label: pa.table({"id": ["http://x/y"]}) for label in ("Shop", "Thing")}
    with (
        open_graph(f"oxigraph:{tmp_path / 'graph'}", create=True) as store,
        pytest.raises(StoreError, match="Expected one label per IRI"),
    ):
        store.write(
            GraphTables(SCHEMA, {**tables.nodes, **same}, {t: e for t, e in tables.edges.items() if t[0] == "User"})
        )
