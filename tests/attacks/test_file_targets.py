"""Files that kgrec did not write are never overwritten or removed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CINEMA, Command
from safetensors.numpy import load, save

from kgrec._util.files import check_target, remove_leftovers, write_atomic
from kgrec.errors import RunError, StoreError, UsageError
from kgrec.jobs.benchmark import _prepare
from kgrec.jobs.refresh.metrics import write_metrics
from kgrec.runs.folder import remove_leftovers as remove_leftovers_of_runs
from kgrec.runs.folder import remove_run, root_of, write_run
from kgrec.store import open_graph
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.store_contract import contract_tables
from kgrec.text import VectorCache
from kgrec.text.finetune.checkpoint import Progress, drop_checkpoints, load_checkpoint, save_checkpoint


def link(path: Path) -> None:
    victim = path.with_name("victim.txt")
    victim.write_text("mine")
    path.symlink_to(victim)


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def device(path: Path) -> None:
    if not Path("/dev/null").is_char_device():
        pytest.skip("no device here: /dev/null is no character device")
    path.symlink_to("/dev/null")


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket has a hundred characters at most
        made.bind(path.name)
        os.chdir(here)


STRANGE = [link, dangling, device, os.mkfifo, os.mkdir, bind]
Plant = Callable[[Path], None]


@pytest.fixture(params=STRANGE, ids=lambda plant: plant.__name__)
def strange(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Something that is no plain file, in a folder of its own."""
    (tmp_path / "planted").mkdir()
    path = tmp_path / "planted" / "target"
    request.param(path)
    return path


def held(folder: Path) -> dict[str, object]:
    """Return what is in a folder: name → kind, and content of plain files."""
    return {p.name: (p.lstat().st_mode, p.read_text() if p.is_file() else "") for p in folder.iterdir()}


def test_atomic_write_to_special_file_is_refused(strange: Path) -> None:
    before = held(strange.parent)
    with pytest.raises(UsageError, match="expected a plain file, or a free name"):
        write_atomic(strange, "text")
    assert held(strange.parent) == before


@pytest.mark.parametrize("uri", ["{}", "oxigraph:{}"])
def test_open_foreign_file_is_one_error(strange: Path, uri: str) -> None:
    before = held(strange.parent)
    with pytest.raises(StoreError):  # and no wait for what never comes
        open_graph(uri.format(strange), read_only=True)
    assert held(strange.parent) == before


def test_check_target_refuses_a_device() -> None:
    if not Path("/dev/null").is_char_device():
        pytest.skip("no device here: /dev/null is no character device")
    with pytest.raises(UsageError, match="/dev/null is a device; expected a plain file"):
        check_target("/dev/null")


def test_atomic_write_ignores_planted_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (".a.writing", ".kgrec-1", ".a"):
        (tmp_path / name).symlink_to(victim)
    write_atomic(tmp_path / "a", "text")
    assert (victim.read_text(), (tmp_path / "a").read_text()) == ("mine", "text")


@pytest.mark.parametrize("marker", [None, "", "{}", "[]", '{"id": "other"}', '{"id": "1234', "[" * 9_000])
def test_leftovers_without_own_marker_stay(tmp_path: Path, marker: str | None) -> None:
    folder = tmp_path / ".kgrec-1234"
    folder.mkdir()
    (folder / "photo.jpg").write_text("mine")
    if marker is not None:
        (folder / "kgrec.json").write_text(marker)
    remove_leftovers(tmp_path)
    assert (folder / "photo.jpg").read_text() == "mine"


def test_leftovers_behind_a_link_stay(tmp_path: Path) -> None:
    made = tmp_path / "photos"
    made.mkdir()
    (made / "kgrec.json").write_text(json.dumps({"id": "1234", "host": socket.gethostname()}))
    (tmp_path / ".kgrec-1234").symlink_to(made)
    remove_leftovers(tmp_path)
    assert (made / "kgrec.json").exists()


@pytest.mark.parametrize("name", [".x.host-999999-abc", f".x.{socket.gethostname()}-999999-0a1b2c3d"])
def test_leftovers_named_as_kgrec_would_stay(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / name, {}, {}, {})
    (run.folder / "photo.jpg").write_text("mine")
    (tmp_path / f"{name}0").mkdir()
    os.utime(run.folder / "run.json", (0, 0))
    remove_leftovers_of_runs(tmp_path)
    assert (run.folder / "photo.jpg").exists()
    assert (tmp_path / f"{name}0").exists()


def test_run_with_a_foreign_file_is_not_removed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", {}, {}, {})
    (run.folder / "notes.txt").write_text("mine")
    (run.folder / "tables" / "mine.parquet").write_text("mine")
    for name in ("notes.txt", "tables/mine.parquet"):
        with pytest.raises(RunError, match=f"contains {name}, which kgrec did not write"):
            remove_run(run.folder)
        with pytest.raises(RunError, match=f"contains {name}, which kgrec did not write"):
            write_run(run.folder, {}, {}, {})
        assert (run.folder / name).read_text() == "mine"
        (run.folder / name).unlink()
    remove_run(run.folder)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("to", ["a", "nowhere"])
def test_linked_run_is_neither_written_nor_removed(tmp_path: Path, to: str) -> None:
    run = write_run(tmp_path / "a", {"seed": 1}, {}, {})
    (tmp_path / "link").symlink_to(tmp_path / to)
    with pytest.raises(RunError, match=r"link is a symbolic link to .*, not a run"):
        write_run(tmp_path / "link", {"seed": 2}, {}, {})
    with pytest.raises(RunError, match=r"link is a symbolic link to .*, not a run"):
        remove_run(tmp_path / "link")
    assert run.folder.exists()
    assert (tmp_path / "link").is_symlink()


ENGINES = ["{}", "oxigraph:{}"]


def graph_at(path: Path, engine: str) -> str:
    """Make a graph; return its URI."""
    if ":" in engine:
        pytest.importorskip("pyoxigraph")
    with open_graph(engine.format(path), create=True) as store:
        store.write(contract_tables())
    return engine.format(path)


def test_graph_at_special_file_is_refused(strange: Path) -> None:
    before = held(strange.parent)
    with pytest.raises(StoreError, match=r"cannot open .* for writing"):
        open_graph(strange, create=True)
    assert held(strange.parent) == before


@pytest.mark.parametrize("engine", ENGINES)
def test_linked_graph_is_read_only(tmp_path: Path, engine: str) -> None:
    graph_at(tmp_path / "graph", engine)
    (tmp_path / "link").symlink_to(tmp_path / "graph")
    uri = engine.format(tmp_path / "link")
    with open_graph(uri, read_only=True) as store:
        assert store.schema is not None
    with pytest.raises(StoreError, match=f"symbolic link.*Expected the path of the graph: {tmp_path}/graph"):
        open_graph(uri, create=True)
    assert root_of(uri) == tmp_path / "graph.runs"


def test_graph_folder_with_foreign_files_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyoxigraph")
    folder = tmp_path / "graph"
    folder.mkdir()
    for name in ("graph-photos", "graph-1", "lock", "current"):
        (folder / name).mkdir() if name.startswith("graph") else (folder / name).write_text("mine")
        with pytest.raises(StoreError, match="is not a graph: "):
            open_graph(f"oxigraph:{folder}", create=True)
        assert [path.name for path in folder.iterdir()] == [name]
        (folder / name).rmdir() if name.startswith("graph") else (folder / name).unlink()
    open_graph(f"oxigraph:{folder}", create=True).close()
    assert folder.exists(), "a folder that was there stays"


@pytest.mark.parametrize("pointer", ["../other", "graph-1/../../other", "", "graph-", "graph-x"])
def test_graph_folder_with_outside_pointer_is_refused(tmp_path: Path, pointer: str) -> None:
    uri = graph_at(tmp_path / "graph", "oxigraph:{}")
    (tmp_path / "graph" / "current").write_text(pointer)
    with pytest.raises(StoreError, match="is not a graph: its file `current` names no version"):
        open_graph(uri, create=True)


def test_graph_folder_keeps_foreign_version_like_files(tmp_path: Path) -> None:
    uri = graph_at(tmp_path / "graph", "oxigraph:{}")
    (tmp_path / "victim").mkdir()
    for name in ("graph-photos", "graph-2", "graph-77"):
        (tmp_path / "graph" / name).mkdir()
        (tmp_path / "graph" / name / "photo.jpg").write_text("mine")
    (tmp_path / "graph" / "graph-0").symlink_to(tmp_path / "victim")
    with open_graph(uri, create=True) as store:
        store.write(contract_tables())
        store.write(contract_tables())
        store.remove("User", "a")
    with open_graph(uri, read_only=True) as store:
        assert "a" not in store.ids("User").to_pylist()
    left = {path.name for path in (tmp_path / "graph").glob("graph-*")}
    assert left == {"graph-photos", "graph-2", "graph-77", "graph-0", "graph-80"}
    assert all((tmp_path / "graph" / name / "photo.jpg").exists() for name in ("graph-photos", "graph-2", "graph-77"))


@pytest.mark.parametrize("ending", [".wal", ".shadow", ".wal.checkpoint"])
def test_graph_beside_a_planted_log_is_not_opened(tmp_path: Path, ending: str) -> None:
    uri = graph_at(tmp_path / "graph", "{}")
    log = tmp_path / f"graph{ending}"
    log.write_bytes(b"planted")
    for read_only in (True, False):
        with pytest.raises(
            StoreError, match=f"found a log file beside the graph that kgrec did not write: .*graph{ending}"
        ):
            open_graph(uri, read_only=read_only)
    log.unlink()
    (tmp_path / f".graph.writing{ending}").write_bytes(b"planted")
    with open_graph(uri, create=True) as store:
        store.write(contract_tables())
    assert (tmp_path / f".graph.writing{ending}").read_bytes() == b"planted"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A small graph, in a folder of its own."""
    (tmp_path / "home").mkdir()
    return Path(graph_at(tmp_path / "home" / "graph.lbug", "{}"))


def test_commands_refuse_special_files(strange: Path, graph: Path, kgrec: Command) -> None:
    before = held(strange.parent)
    out = strange.with_name("target.ttl")
    commands = [
        ["check", "atomic", CINEMA, "--write-schema", strange],
        ["refresh", graph, "--source", CINEMA, "--metrics", strange],
        ["load", "atomic", CINEMA, "--into", strange],
        ["copy", graph, strange],
    ]
    for words in commands:
        done = kgrec(*words)
        assert done.code in (1, 2), words
        assert done.err.startswith("error: "), words
        assert held(strange.parent) == before, words
    strange.rename(out)
    before = held(strange.parent)
    done = kgrec("export", graph, out)
    assert (done.code, "expected a plain file" in done.err) == (2, True)
    assert held(strange.parent) == before


def test_export_does_not_write_through_a_planted_link(graph: Path, tmp_path: Path, kgrec: Command) -> None:
    pytest.importorskip("pyoxigraph")
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".shop.ttl.writing").symlink_to(tmp_path / "victim")
    assert kgrec("export", graph, tmp_path / "shop.ttl").code == 0
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / ".shop.ttl.writing").is_symlink()


def test_binary_metrics_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "kgrec.prom"
    file.write_bytes(b'\xff\nkgrec_refresh_last_success_timestamp_seconds{graph="g"} soon\n')
    write_metrics(file, "g", "failed", {}, 1.0)
    assert "kgrec_refresh_result" in file.read_text()


def test_benchmark_to_a_planted_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "metrics.json").symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError, match=r"metrics\.json is a symbolic link"):
        _prepare(tmp_path)


def test_vectors_of_another_encoder_or_owner_are_not_used(tmp_path: Path) -> None:
    encoder, texts = WordEncoder(), ["a film", "a stone"]
    vectors = VectorCache(tmp_path).encode(texts, encoder)
    [file] = tmp_path.glob("*/*.safetensors")
    arrays = load(file.read_bytes())
    content = save({"keys": arrays["keys"], "vectors": arrays["vectors"] * 0 + 9})
    (file.parent / f"{hashlib.blake2b(content, digest_size=16).hexdigest()}.safetensors").write_bytes(content)
    other = file.parent.with_name("0" * 32)
    other.mkdir()
    file.rename(other / file.name)
    (other / file.name).rename(file.parent / f"{'1' * 32}.safetensors")
    (file.parent / "photos.safetensors").write_bytes(b"mine")
    again = VectorCache(tmp_path)
    np.testing.assert_array_equal(again.encode(texts, encoder), vectors)
    assert again.encoded == 2
    assert (file.parent / "photos.safetensors").read_bytes() == b"mine"


def test_checkpoint_with_a_flipped_bit_is_not_resumed(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_checkpoint(file, Progress(3, [(3, 0.5)]), {"best": {"w": torch.arange(8.0)}}, "schema")
    assert load_checkpoint(file) is not None
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    assert load_checkpoint(file) is None


def test_foreign_checkpoints_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path))
    folder = tmp_path / "tuning"
    save_checkpoint(folder / "mine.safetensors", Progress(), {}, "gone")
    for name in ("photos.safetensors", "film.part", f"{'0' * 32}.safetensors", f"{'1' * 32}.part"):
        (folder / name).write_text("content")
    assert drop_checkpoints(["gone"]) == 3
    assert sorted(os.listdir(folder)) == ["film.part", "photos.safetensors"]
