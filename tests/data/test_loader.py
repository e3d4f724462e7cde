"""Loaders are found by name, as classes and as objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgrec.data.loader import LOADERS, find_loader
from kgrec.errors import UsageError
from kgrec.store.load import load
from kgrec.testing.plugins import install

CODE = "class Shelf:\n    def load(self, source, schema=None):\n        return source\n"


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings loaders of its own, two of them broken."""
    points = {"shelf": "shelf_loader:Shelf", "broken": "shelf_loader:Gone", "odd": "shelf_loader:__name__"}
    install(monkeypatch, tmp_path, "shelf_loader", CODE, {"kgrec.loaders": points})


@pytest.mark.usefixtures("third_party")
def test_registered_loader_is_used() -> None:
    assert "shelf" in LOADERS.names()
    assert find_loader("shelf").load("books") == "books"


@pytest.mark.usefixtures("third_party")
def test_unknown_loader_names_near_matches() -> None:
    with pytest.raises(UsageError, match=r"unknown loader 'shelve'; expected one of .*shelf.*; near matches: shelf"):
        find_loader("shelve")


@pytest.mark.usefixtures("third_party")
def test_broken_loader_is_reported_and_others_work() -> None:
    with pytest.raises(UsageError, match=r"loader 'broken' \(shelf_loader:Gone\) cannot be imported: .*Gone"):
        find_loader("broken")
    with pytest.raises(UsageError, match="not a loader: 'odd'; expected"):
        find_loader("odd")
    assert find_loader("shelf").load("books") == "books"


@pytest.mark.parametrize("wrong", [3, None, dict, object()])
def test_object_without_load_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="expected a name, or a class or object with load"):
        load(wrong, "books")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["atomic", "movielens", "tables"])
def test_shipped_loaders_are_found(name: str) -> None:
    if name not in LOADERS.names():
        pytest.skip("kgrec runs from its source tree and is not installed, so it has no entry points")
    assert callable(find_loader(name).load)


@pytest.mark.parametrize("name", ["atomic", "rdf", "tables"])
@pytest.mark.parametrize("source", [None, 5, {"a": 1}.keys()])
def test_load_source_of_wrong_type_fails(name: str, source: object) -> None:
    with pytest.raises(UsageError, match=r"expected (the path|a dictionary, or a YAML file)"):
        load(name, source, schema="commerce")
