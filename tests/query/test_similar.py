"""Search by text and by node, on vectors whose neighbors are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import CINEMA

import kgrec
from kgrec.errors import StoreError, UsageError
from kgrec.query.similar import nearest_nodes
from kgrec.store.base import GraphStore
from kgrec.testing.encoder import WordEncoder
from kgrec.text import default_encoder

ENCODER = WordEncoder(dim=512)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    """Items have the vectors of their titles, but the last one; no other label has vectors."""
    with kgrec.open(tmp_path_factory.mktemp("search") / "cinema.lbug", create=True) as store:
        items = kgrec.load("atomic", CINEMA, into=store).nodes["Item"]
        vectors = ENCODER.encode(items.column("title").to_pylist())
        vectors[-1] = 0
        store.write_vectors("Item", items.column("item_id"), vectors)
        yield store


def titles(graph: GraphStore) -> dict[str, str]:
    frame = graph.cypher("MATCH (i:Item) RETURN i.item_id AS id, i.title AS title")
    return dict(zip(frame["id"], frame["title"], strict=True))


def test_text_ranks_titles_with_shared_words_first(graph: GraphStore) -> None:
    found = nearest_nodes(graph, text="Robot at the Orbit", encoder=ENCODER, k=5)
    assert list(found.columns) == ["id", "name", "score"]
    assert found["name"][0] == "Robot at the Orbit"
    assert found["score"][0] == pytest.approx(1, abs=1e-5)
    assert found["score"].is_monotonic_decreasing
    assert len(found) == 5


def test_node_gives_results_of_its_text_without_itself(graph: GraphStore) -> None:
    by_text = nearest_nodes(graph, text=titles(graph)["f3"], encoder=ENCODER, k=9)
    by_node = nearest_nodes(graph, node="f3", k=8)
    assert "f3" not in set(by_node["id"])
    assert by_node["score"].tolist() == pytest.approx(by_text["score"].tolist()[1:], abs=1e-5)


def test_large_k_returns_all_nodes_with_vectors(graph: GraphStore) -> None:
    assert len(nearest_nodes(graph, node="f3", k=1000)) == 70


def test_packaged_encoder_is_the_default(tmp_path: Path) -> None:
    with kgrec.open(tmp_path / "cinema.lbug", create=True) as store:
        kgrec.load("atomic", CINEMA, into=store)
        words = ["Western", "Romance", "Science-Fiction"]
        store.write_vectors("Genre", pa.array(words), default_encoder().encode(words))
        assert nearest_nodes(store, text="spaceships and robots", label="Genre")["id"][0] == "Science-Fiction"
        assert nearest_nodes(store, text="cowboys and horses", label="Genre")["id"][0] == "Western"


def test_nearest_needs_either_text_or_node(graph: GraphStore) -> None:
    with pytest.raises(UsageError, match=r"found both a text and a node\. Expected one"):
        nearest_nodes(graph, text="robots", node="f1")
    with pytest.raises(UsageError, match=r"found neither a text nor a node\. Expected one"):
        nearest_nodes(graph)
    with pytest.raises(UsageError, match=r"k is too small: 0\. Expected at least 1"):
        nearest_nodes(graph, node="f1", k=0)


def test_unknown_names_list_near_matches(graph: GraphStore) -> None:
    with pytest.raises(UsageError, match=r"unknown label 'Itm'. Expected one of .*; near matches: Item"):
        nearest_nodes(graph, node="f1", label="Itm")
    with pytest.raises(UsageError, match="unknown Item: 'f111'; near matches: f11"):
        nearest_nodes(graph, node="f111")
    with pytest.raises(UsageError, match="Item 'f72' has no vector"):
        nearest_nodes(graph, node="f72")


def test_vectors_of_another_encoder_are_refused(graph: GraphStore) -> None:
    with pytest.raises(StoreError, match="have 512 dimensions; this one has 64"):
        nearest_nodes(graph, text="robots", encoder=WordEncoder(dim=64))


@pytest.mark.parametrize("text", ["", "  "])
def test_nearest_nodes_of_a_blank_text_is_refused(graph: GraphStore, text: str) -> None:
    with pytest.raises(UsageError, match="Expected words"):
        nearest_nodes(graph, text=text, encoder=ENCODER)


def test_nearest_without_vectors_says_what_to_run(graph: GraphStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no vectors of User .* run kgrec train .*, then kgrec publish"):
        nearest_nodes(graph, node="u1", label="User")
    with (
        kgrec.open(tmp_path / "new.lbug", create=True) as empty,
        pytest.raises(StoreError, match=r"is empty\. Run: kgrec load"),
    ):
        nearest_nodes(empty, node="u1")


def test_stored_vector_is_read_back(graph: GraphStore) -> None:
    vector = graph.vector("Item", "f1")
    assert vector is not None
    np.testing.assert_allclose(vector, ENCODER.encode([titles(graph)["f1"]])[0])
    assert graph.vector("Item", "nobody") is None
