"""`kgrec doctor GRAPH` finds damage in a graph and in its runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command

from kgrec.runs.folder import write_run
from kgrec.store import open_graph
from kgrec.store.ladybug import store as ladybug
from kgrec.store.oxigraph import store as rdf
from kgrec.testing.store_contract import contract_tables

pytestmark = pytest.mark.slow


@pytest.fixture(params=["{}/graph", "oxigraph:{}/graph"], ids=["ladybug", "oxigraph"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A graph with a run, too large to be compared when it is opened."""
    if ":" in request.param:
        pytest.importorskip("pyoxigraph")
    uri = str(request.param).format(tmp_path)
    with open_graph(uri, create=True) as store:
        store.write(contract_tables())
    write_run(tmp_path / "graph.runs" / "a", {}, {}, {}, {"seed": 1})
    for module in (ladybug, rdf):
        monkeypatch.setattr(module, "MAX_CHECKED_ON_OPEN_BYTES", 10)
    return uri


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_doctor_intact_graph_reports_no_problem(uri: str, kgrec: Command) -> None:
    done = kgrec("doctor", uri, "--json")
    assert done.code == 0
    facts = json.loads(done.out)
    assert facts["graph"].startswith("checksum matches; ")
    assert facts["runs"] == "1 intact"


def test_doctor_graph_with_flipped_bit_is_named(uri: str, kgrec: Command) -> None:
    path = Path(uri.removeprefix("oxigraph:"))
    flip(path if path.is_file() else next(path.glob("graph-1/MANIFEST-*")))
    done = kgrec("doctor", uri)
    assert done.code == 1
    assert "damaged" in done.out
    assert "NOT healthy" in done.out


@pytest.mark.parametrize("name", ["choices.json", "run.json"])
def test_doctor_damaged_run_names_its_file(uri: str, kgrec: Command, name: str) -> None:
    file = Path(uri.removeprefix("oxigraph:")).with_name("graph.runs") / "a" / name
    file.write_text(file.read_text()[:-1] + " ")
    done = kgrec("doctor", uri)
    assert done.code == 1
    assert str(file) in done.out
