"""Graph URIs: store, path, and folder of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgrec.errors import StoreError
from kgrec.store.uri import GraphUri, has_scheme


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "scheme", "path", "runs"),
    [
        ("shop.lbug", "", "shop.lbug", "shop.runs"),
        ("data/shop", "", "data/shop", "data/shop.runs"),
        ("C:\\shop.lbug", "", "C:\\shop.lbug", "C:\\shop.runs"),
        ("oxigraph:shop", "oxigraph", "shop", "shop.runs"),
        ("oxigraph:/data/shop.rdf", "oxigraph", "/data/shop.rdf", "/data/shop.runs"),
        ("neo4j://host:7687/films", "neo4j", None, "neo4j-host-7687-films.runs"),
        ("bolt+ssc://host", "bolt", None, "bolt-host.runs"),
    ],
)
def test_uri_is_parsed_into_scheme_and_path(uri: str, scheme: str, path: str | None, runs: str) -> None:
    parsed = GraphUri.parse(uri)
    assert (parsed.text, parsed.scheme, parsed.path) == (uri, scheme, path and Path(path))
    assert parsed.is_server == (path is None)
    assert parsed.runs_folder == Path(runs)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("mysql://host", "unknown kind of graph 'mysql'. Expected a path such as shop.lbug"),
        ("mysql:shop", "unknown kind of graph 'mysql'"),
        ("oxigraph:", "the URI names no folder: oxigraph:. Expected oxigraph:FOLDER"),
        ("neo4j:shop", "the URI names no server: neo4j:shop. Expected neo4j://HOST:PORT/DATABASE"),
        ("neo4j://me:secret@host", "the URI of the graph holds a user or a password"),
        ("oxigraph:https://me:secret@host", "the URI of the graph holds a user or a password"),
    ],
)
def test_wrong_uri_is_refused(uri: str, told: str) -> None:
    with pytest.raises(StoreError, match=told) as error:
        GraphUri.parse(uri)
    assert "secret" not in str(error.value)


def test_file_named_like_a_scheme_is_a_path(place: Path) -> None:
    (place / "shop:2024").touch()
    assert GraphUri.parse("shop:2024") == GraphUri("shop:2024", "", Path("shop:2024"))
    with pytest.raises(StoreError, match="unknown kind of graph 'shop'"):
        GraphUri.parse("shop:2025")


def test_runs_of_a_linked_graph_are_beside_its_target(place: Path) -> None:
    (place / "far").mkdir()
    (place / "far" / "shop.lbug").touch()
    (place / "link.lbug").symlink_to(place / "far" / "shop.lbug")
    assert GraphUri.parse("link.lbug").runs_folder == place / "far" / "shop.runs"


def test_relative_path_resolves_against_a_folder() -> None:
    assert GraphUri.parse("shop.lbug").within(Path("data")) == "data/shop.lbug"
    assert GraphUri.parse("oxigraph:shop").within(Path("data")) == "oxigraph:data/shop"
    assert GraphUri.parse("oxigraph:/shop").within(Path("data")) == "oxigraph:/shop"
    assert GraphUri.parse("neo4j://host/films").within(Path("data")) == "neo4j://host/films"


def test_name_is_that_of_file_or_server() -> None:
    assert GraphUri.parse("data/shop.lbug").name == "shop.lbug"
    assert GraphUri.parse("oxigraph:data/shop").name == "shop"
    assert GraphUri.parse("neo4j://host").name == "neo4j://host"


def test_exists_checks_the_path(place: Path) -> None:
    assert not GraphUri.parse("oxigraph:shop").exists
    (place / "shop").mkdir()
    assert GraphUri.parse("oxigraph:shop").exists
    assert GraphUri.parse("neo4j://host").exists


def test_has_scheme_distinguishes_uri_and_path() -> None:
    assert has_scheme("oxigraph:shop", "oxigraph")
    assert not has_scheme("https://host/shop.ttl", "oxigraph")
    assert not has_scheme("oxigraph", "oxigraph")
