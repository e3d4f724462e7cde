import sys
from pathlib import Path

import pytest

from kgrec.data.loader import find_loader, load, loader_names
from kgrec.errors import UsageError

PLUGIN = "class Shelf:\n    def load(self, source, schema=None):\n        return source\n"


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that brings loaders of its own, one of them broken."""
    (tmp_path / "shelf_loader.py").write_text(PLUGIN)
    info = tmp_path / "shelf_loader-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf-loader\nVersion: 1.0\n")
    points = "[kgrec.loaders]\nshelf = shelf_loader:Shelf\nbroken = shelf_loader:Gone\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shelf_loader", raising=False)


@pytest.mark.usefixtures("third_party")
def test_a_third_party_adds_a_loader() -> None:
    assert "shelf" in loader_names()
    assert find_loader("shelf").load("books") == "books"


@pytest.mark.usefixtures("third_party")
def test_unknown_loader_names_near_matches() -> None:
    with pytest.raises(UsageError, match=r"unknown loader 'shelve'; expected one of .*shelf.*; near matches: shelf"):
        find_loader("shelve")


@pytest.mark.usefixtures("third_party")
def test_a_broken_loader_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"loader 'broken' \(shelf_loader:Gone\) cannot be imported: .*Gone"):
        find_loader("broken")


@pytest.mark.parametrize("name", ["atomic", "movielens", "tables"])
def test_shipped_loaders(name: str) -> None:
    if name not in loader_names():
        pytest.skip("kgrec runs from its source tree and is not installed, so it has no entry points")
    assert callable(find_loader(name).load)


@pytest.mark.parametrize("name", ["atomic", "rdf", "tables"])
@pytest.mark.parametrize("source", [None, 5, {"a": 1}.keys()])
def test_a_source_that_is_no_path_is_refused(name: str, source: object) -> None:
    with pytest.raises(UsageError, match=r"expected (the path|a dictionary, or a YAML file)"):
        load(name, source, schema="commerce")
