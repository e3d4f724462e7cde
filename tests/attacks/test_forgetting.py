"""A forget fails on anything it cannot read, and no concurrent job restores an erased user."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec.config import Config
from kgrec.errors import RunError, StoreError, StoreLocked, UnknownUser
from kgrec.jobs import train as jobs
from kgrec.jobs.copy import copy_graph
from kgrec.jobs.forget import job as forgetting
from kgrec.jobs.forget import receipts
from kgrec.jobs.forget.job import forget, matches
from kgrec.jobs.forget.residue import Search
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.jobs.train import publish_run, train_run
from kgrec.runs.folder import find_run, list_runs, root_of
from kgrec.store import open_graph
from kgrec.store.load import load

pytestmark = pytest.mark.slow

GRAPHS = ("shop.lbug", "oxigraph:shop")
USER = 'canary-"user"-0123456789'
ROOT = Path("shop.runs")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph in two engines, and one run of it; only to be copied."""
    place = tmp_path_factory.mktemp("forgetting")
    pairs = [(f"u{user}", f"i{(user + item) % 7}") for user in range(8) for item in range(4)]
    rows = [f"{USER if user == 'u3' else user}\t{item}" for user, item in pairs]
    (place / "data").mkdir()
    (place / "data" / "data.inter").write_text("\n".join(["user_id:token\titem_id:token", *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("KGREC_CACHE", "cache")
        for graph in GRAPHS:
            with open_graph(graph, create=True) as store:
                load("atomic", "data", into=store)
        train_run(GRAPHS[0], Config(signals=("popularity",)), split="none", k=3)
    return place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Path:
    """A copy of the workspace, where a test is."""
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KGREC_CACHE", "cache")
    return tmp_path


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest, place: Path) -> str:
    """A graph in the place."""
    return str(request.param)


def users(graph: str) -> list[str]:
    """The users of a graph."""
    with open_graph(graph, read_only=True) as store:
        return list(store.ids("User").to_pylist())


def knows(root: Path) -> list[str]:
    """Names of runs that have the user."""
    return [run.name for run in list_runs(root) if USER in run.table("nodes-User").column("user_id").to_pylist()]


def the_receipt() -> dict[str, Any]:
    """The one receipt there is."""
    [file] = Path("shop.receipts").glob("*.json")
    return dict(json.loads(file.read_text()))


def another(name: str = "20200101-000000-aaaa") -> Path:
    """A second run, to be made unreadable."""
    folder = ROOT / name
    shutil.copytree(find_run(ROOT).folder, folder)
    return folder


def told_otherwise(**facts: Any) -> Callable[[Path], None]:
    """Changes what run.json says; None takes a key away."""

    def change(run: Path) -> None:
        info = {**json.loads((run / "run.json").read_text()), **facts}
        (run / "run.json").write_text(json.dumps({key: value for key, value in info.items() if value is not None}))

    return change


def moved(run: Path) -> None:
    run.rename("elsewhere")
    run.symlink_to(Path("elsewhere").resolve())


def moved_tables(run: Path) -> None:
    (run / "tables").rename("elsewhere")
    (run / "tables").symlink_to(Path("elsewhere").resolve())


def cut_table(run: Path) -> None:
    (run / "tables" / "nodes-User.parquet").write_bytes(b"PAR1")


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "an older format": told_otherwise(format=1),
    "a newer format": told_otherwise(format=99),
    "no format": told_otherwise(format=None),
    "no labels": told_otherwise(labels=None),
    "labels of another type": told_otherwise(labels=7),
    "a schema of another type": told_otherwise(schema=[1]),
    "half of run.json": lambda run: (run / "run.json").write_text('{"format": 4'),
    "run.json is a list": lambda run: (run / "run.json").write_text("[2]"),
    "no run.json": lambda run: (run / "run.json").unlink(),
    "a table cut off": cut_table,
    "a table gone": lambda run: (run / "tables" / "nodes-User.parquet").unlink(),
    "a linked run": moved,
    "linked tables": moved_tables,
    "a pipe": lambda run: os.mkfifo(run / "tables" / "pipe"),
    "a file of others": lambda run: (run / "notes.txt").write_text("mine"),
    "being written": lambda run: run.rename(run.with_name(".20200101-000000-aaaa.elsewhere-1-0123abcd")),
}


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_run_stops_a_forget(damage: Callable[[Path], object], place: Path) -> None:
    damage(another())
    with pytest.raises(RunError, match=r"(?s)nothing was removed.*20200101-000000-aaaa.*remove it"):
        forget("shop.lbug", "user", USER)
    assert USER in users("shop.lbug")
    assert not Path("shop.receipts").exists()


def test_all_unreadable_runs_are_named(kgrec: Any, place: Path) -> None:
    for name in ("20200101-000000-aaaa", "20200101-000000-bbbb"):
        told_otherwise(format=1)(another(name))
    told = kgrec("forget", "shop.lbug", "user", USER)
    assert told.code == 1
    assert "Traceback" not in told.err
    assert all(name in told.err for name in ("20200101-000000-aaaa", "20200101-000000-bbbb"))
    assert kgrec("forget", "shop.lbug", "user", "nobody").code == 1, "a run that cannot be read may hold anybody"


def test_link_to_a_sibling_run_is_accepted(place: Path) -> None:
    (ROOT / "latest").symlink_to(find_run(ROOT).name)
    assert forget("shop.lbug", "user", USER)["searched"]["found"] == []
    assert knows(ROOT) == []


def test_empty_work_folder_is_accepted(place: Path) -> None:
    (ROOT / f".kgrec-{'0' * 32}").mkdir()
    assert forget("shop.lbug", "user", USER)["searched"]["found"] == []


def test_linked_graph_is_refused(graph: str) -> None:
    engine, _, name = graph.rpartition(":")
    link = f"{engine}:link" if engine else "link.lbug"
    Path(link.rpartition(":")[2]).symlink_to(name)
    with pytest.raises(StoreError, match=r"symbolic link.*Expected the path of the graph"):
        forget(link, "user", USER, runs=ROOT)
    assert USER in users(graph)


def test_linked_runs_folder_is_followed(place: Path) -> None:
    ROOT.rename("elsewhere")
    ROOT.symlink_to("elsewhere")
    assert len(forget("shop.lbug", "user", USER)["removed"]["runs"]) == 1
    assert knows(Path("elsewhere")) == []


def test_runs_beside_the_graph_are_searched(place: Path) -> None:
    shutil.copytree(ROOT, "other")
    receipt = forget("shop.lbug", "user", USER, runs="other")
    assert knows(ROOT) == knows(Path("other")) == []
    assert len(receipt["looked_at"]) == 4


def test_train_started_before_forget_saves_no_run(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = jobs.summary_of
    monkeypatch.setattr(jobs, "summary_of", lambda *args: (forget(graph, "user", USER), told(*args))[1])
    with pytest.raises(StoreError, match="no longer has 1 of the users and items"):
        train_run(graph, Config(signals=("popularity",)), split="none", k=3)
    assert len(list_runs(ROOT)) == 1
    assert knows(ROOT) == []


def test_refresh_that_lost_its_lease_saves_no_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kgrec.jobs.refresh import retrain

    told = retrain.summary_of

    def meanwhile(*args: Any) -> Any:
        Path(".shop.lbug.lease").unlink()
        forget("shop.lbug", "user", USER)
        return told(*args)

    monkeypatch.setattr(retrain, "summary_of", meanwhile)
    with pytest.raises(StoreError, match="no longer has 1 of the users and items"):
        refresh(RefreshRequest("shop.lbug", "data", config=Config(signals=("popularity",))))
    assert knows(ROOT) == []


@pytest.mark.parametrize("job", ["refresh", "publish"])
def test_running_job_blocks_a_forget(job: str, graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from kgrec.jobs.refresh import job as refreshing

    def meanwhile(*_: Any) -> Any:
        with pytest.raises(StoreLocked):
            forget(graph, "user", USER)
        raise RunError("far enough")

    monkeypatch.setattr(jobs, "publish", meanwhile)
    monkeypatch.setattr(refreshing, "ingest_delta", meanwhile)
    with pytest.raises(RunError, match="far enough"):
        publish_run(graph) if job == "publish" else refresh(RefreshRequest(graph, "data"))


def test_copy_started_before_forget_is_discarded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kgrec.store.oxigraph.store import RdfStore

    write = RdfStore.write
    monkeypatch.setattr(
        RdfStore, "write", lambda store, tables: (forget("shop.lbug", "user", USER), write(store, tables))[1]
    )
    with pytest.raises(StoreError, match="the copy was not kept"):
        copy_graph("shop.lbug", "oxigraph:copy")
    assert not Path("copy").exists()


class Killed(BaseException):
    """What ends a forget at some step."""


@pytest.mark.parametrize("step", ["drop_checkpoints", "_removed", "rewrite", "_search", "finish"])
def test_forget_interrupted_at_any_step_resumes_to_a_receipt(
    step: str, graph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(receipts if step == "finish" else forgetting, step, killed)
        with pytest.raises(Killed):
            forget(graph, "user", USER)
    begun = the_receipt()
    assert begun["state"].startswith("begun")
    assert USER not in json.dumps(begun)
    receipt = forget(graph, "user", USER)
    assert the_receipt()["state"] == receipts.FINISHED
    assert (receipt["digest"], receipt["begun"], receipt["graph_digest"]["before"]) == (
        begun["digest"],
        begun["begun"],
        begun["graph_digest"]["before"],
    )
    assert matches(receipt, USER)
    assert USER not in users(graph)
    assert knows(ROOT) == []
    with pytest.raises(UnknownUser):
        forget(graph, "user", USER)


def test_unwritable_receipt_stops_a_forget(place: Path) -> None:
    Path("shop.receipts").write_text("in the way")
    with pytest.raises(RunError, match="nothing was removed"):
        forget("shop.lbug", "user", USER)
    assert USER in users("shop.lbug")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"state": 7, "role": "user"}', "[" * 9000])
def test_foreign_file_among_receipts_is_one_error(content: str, place: Path) -> None:
    Path("shop.receipts").mkdir()
    Path("shop.receipts/forget-x.json").write_text(content)
    with pytest.raises(RunError, match=r"shop\.receipts/forget-x\.json is not a readable receipt"):
        forget("shop.lbug", "user", USER)
    assert USER in users("shop.lbug")


def test_forget_keeps_file_modes(graph: str) -> None:
    path = Path(graph.rpartition(":")[2])
    run = find_run(ROOT).folder
    files = [path, *(path.rglob("*") if path.is_dir() else ()), run, *run.rglob("*")]
    for file in files:
        file.chmod(0o700 if file.is_dir() else 0o600)
    forget(graph, "user", USER)
    again = [path, *(path.rglob("*") if path.is_dir() else ()), run, *run.rglob("*")]
    assert {oct(stat.S_IMODE(file.stat().st_mode)) for file in again if not file.is_dir()} == {"0o600"}
    assert {oct(stat.S_IMODE(file.stat().st_mode)) for file in again if file.is_dir()} == {"0o700"}


def test_receipt_lists_searched_and_unsearched_places(graph: str) -> None:
    receipt = forget(graph, "user", USER)
    places = [Path(graph.rpartition(":")[2]), ROOT, Path("cache/vectors")]
    assert receipt["looked_at"] == [str(place.resolve()) for place in places]
    text = " ".join(receipt["not_searched"])
    for place in ("Sources", "Backups", "other accounts", "other hosts", "--runs", "hard links"):
        assert place in text
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in receipt["not_searched"])
    assert USER not in Path(receipt["receipt"]).read_text()


def test_unsearchable_places_are_named_with_exit_code_1(kgrec: Any, place: Path) -> None:
    (ROOT / "old.txt.gz").write_bytes(gzip.compress(USER.encode()))
    (ROOT / "strange.parquet").write_bytes(b"no table")
    told = kgrec("forget", "shop.lbug", "user", USER)
    assert told.code == 1
    assert "not searched, may hold residue" in told.out
    unread = the_receipt()["searched"]["unread"]
    assert ["old.txt.gz" in unread[0], "strange.parquet" in unread[1]] == [True, True]


def test_search_finds_id_in_any_encoding(tmp_path: Path) -> None:
    id_ = 'märz "user" 0123456789'
    rows = {
        "plain": pa.array([id_]),
        "large": pa.array([[id_]], pa.large_list(pa.string())),
        "category": pa.array([id_]).dictionary_encode(),
        "struct": pa.array([{"who": {"id": id_}}]),
        "map": pa.array([[(id_, 1)]], pa.map_(pa.string(), pa.int64())),
    }
    for name, column in rows.items():
        pq.write_table(pa.table({"x": column}), tmp_path / f"{name}.parquet", compression="zstd")
    (tmp_path / "ascii.json").write_text(json.dumps([id_]))
    (tmp_path / "utf8.json").write_text(json.dumps([id_], ensure_ascii=False), encoding="utf-8")
    (tmp_path / "iri.nt").write_text("<http://x/m%C3%A4rz%20%22user%22%200123456789>")
    (tmp_path / "other.txt").write_text("nothing")
    search = Search.for_id(id_, [])
    search.in_files([tmp_path])
    assert len(search.found) == len(rows) + 3


@pytest.mark.neo4j
def test_train_on_server_before_forget_saves_no_run(
    neo4j_uri: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_graph(neo4j_uri, create=True) as store:
        load("atomic", "data", into=store)
    told, receipt = jobs.summary_of, dict[str, Any]()
    monkeypatch.setattr(
        jobs, "summary_of", lambda *args: (receipt.update(forget(neo4j_uri, "user", USER)), told(*args))[1]
    )
    with pytest.raises(StoreError, match="no longer has 1 of the users and items"):
        train_run(neo4j_uri, Config(signals=("popularity",)), split="none", k=3)
    assert list_runs(root_of(neo4j_uri)) == []
    assert set(receipts.ON_A_SERVER) < set(receipt["not_searched"])
