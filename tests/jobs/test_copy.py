from __future__ import annotations

from pathlib import Path

import pytest

from kgrec.errors import StoreError, UsageError
from kgrec.jobs import copy as copying
from kgrec.jobs.copy import copy_graph
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.oxigraph.store import RdfStore
from kgrec.testing.graphs import two_communities
from kgrec.testing.store_contract import contract_tables, digest

pytestmark = pytest.mark.slow


@pytest.fixture
def source(tmp_path: Path) -> str:
    with open_graph(tmp_path / "source.lbug", create=True) as graph:
        graph.write(contract_tables())
    return str(tmp_path / "source.lbug")


@pytest.mark.parametrize("target", ["{}/copy.lbug", "oxigraph:{}/copy"])
def test_copy_equals_source_and_repeats(source: str, tmp_path: Path, target: str) -> None:
    target = target.format(tmp_path)
    assert copy_graph(source, target)["digest"] == digest(contract_tables())
    assert copy_graph(source, target)["digest"] == digest(contract_tables())
    copy_graph(target, str(tmp_path / "back.lbug"))
    with open_graph(tmp_path / "back.lbug", read_only=True) as graph:
        assert graph.snapshot().digest == digest(contract_tables())


def test_copy_refuses_to_mix_two_graphs(source: str, tmp_path: Path) -> None:
    target = str(tmp_path / "other.lbug")
    with open_graph(target, create=True) as graph:
        graph.write(two_communities())
    with pytest.raises(UsageError, match=r"holds a graph of schema .*Expected an empty target"):
        copy_graph(source, target)
    with open_graph(source, create=True) as graph:
        graph.cypher("MATCH (t:Thing {id: 't1'}) DETACH DELETE t", write=True)
    copy_graph(source, str(tmp_path / "less.lbug"))
    with open_graph(tmp_path / "less.lbug", create=True) as graph:
        graph.cypher("CREATE (:Thing {id: 'another'})", write=True)
    with pytest.raises(UsageError, match="holds Thing nodes that the source does not have"):
        copy_graph(source, str(tmp_path / "less.lbug"))


@pytest.mark.parametrize("target", ["{}/copy.lbug", "oxigraph:{}/copy"])
@pytest.mark.parametrize("step", ["write", "snapshot"])
def test_failed_copy_removes_the_new_graph(
    source: str, tmp_path: Path, target: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, before = target.format(tmp_path), sorted(tmp_path.iterdir())
    kind = type(open_graph(source, read_only=True)) if "lbug" in target else RdfStore
    real = getattr(kind, step)

    def fails(self: GraphStore, *args: object) -> object:
        if self.uri != target:
            return real(self, *args)
        if step == "snapshot":
            raise StoreError("the engine failed")
        real(self, *args)
        raise StoreError("the engine failed")

    monkeypatch.setattr(kind, step, fails)
    with pytest.raises(StoreError, match="the engine failed"):
        copy_graph(source, target)
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    assert copy_graph(source, target)["digest"] == digest(contract_tables())


def test_failed_copy_into_a_graph_says_what_is_left(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "copy.lbug")
    copy_graph(source, target)
    with open_graph(target, create=True) as graph:
        graph.cypher("MATCH (t:Thing {id: 't1'}) DETACH DELETE t", write=True)
    monkeypatch.setattr(copying, "check_unerased", _fail)
    with pytest.raises(StoreError, match=r"gone\n.*copy\.lbug holds 4 User, 1 Shop, 2 Item, 3 Thing from this copy"):
        copy_graph(source, target)


def _fail(*_: object) -> None:
    raise StoreError("gone")


def test_copy_to_itself_fails(source: str) -> None:
    with pytest.raises(UsageError, match="Expected two graphs"):
        copy_graph(source, source)


def test_copy_command_prints_counts(kgrec: object, source: str, tmp_path: Path) -> None:
    result = kgrec("copy", source, tmp_path / "copy.lbug")  # type: ignore[operator]
    assert result.code == 0
    assert digest(contract_tables()) in result.out
