"""Files are written atomically, with the right mode; leftovers of killed writers are found by their marker."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from pathlib import Path

import pytest

from kgrec._util import files
from kgrec._util.files import MARKER, atomic_path, checksum, locked, remove_leftovers, work_folder, write_json
from kgrec.errors import RunError
from kgrec.runs.publications import append, publications


def left_behind(folder: Path, **marker: str) -> Path:
    """A work folder without a living writer."""
    work = folder / ".kgrec-0123"
    work.mkdir()
    content = {"id": "0123", "host": socket.gethostname(), **marker}
    (work / MARKER).write_text(json.dumps(content))
    (work / "a.json").write_text("half")
    return work


def test_atomic_path_replaces_without_leftovers(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"n": 1})
    write_json(tmp_path / "a.json", {"n": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 2}
    assert os.listdir(tmp_path) == ["a.json"]


def test_atomic_path_failed_block_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(TypeError), atomic_path(tmp_path / "a") as made:
        made.write_text(5)  # type: ignore[arg-type]
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_atomic_path_new_file_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a") as made:
            made.touch(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_atomic_path_keeps_the_mode(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(mode)
    write_json(tmp_path / "a", {})
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_write_json_to_missing_folder_fails(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone/a\.json cannot be written: No such file or directory"):
        write_json(tmp_path / "gone" / "a.json", {})


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    left_behind(tmp_path)
    write_json(tmp_path / "b.json", {})
    assert os.listdir(tmp_path) == ["b.json"]


@pytest.mark.parametrize("marker", [{"id": "other"}, {"host": "elsewhere"}])
def test_leftovers_in_use_or_foreign_stay(tmp_path: Path, marker: dict[str, str]) -> None:
    work = left_behind(tmp_path, **marker)
    remove_leftovers(tmp_path)
    assert work.exists()


def test_leftovers_of_another_host_are_removed_after_a_day(tmp_path: Path) -> None:
    work = left_behind(tmp_path, host="elsewhere")
    os.utime(work / MARKER, (0, 0))
    remove_leftovers(tmp_path)
    assert not work.exists()


def test_leftovers_of_a_living_writer_stay(tmp_path: Path) -> None:
    with work_folder(tmp_path / "a") as work:
        remove_leftovers(tmp_path)
        assert work.exists()
    assert os.listdir(tmp_path) == []


def test_checksum_equals_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert checksum(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_locked_is_exclusive(tmp_path: Path) -> None:
    seen: list[int] = []

    def work() -> None:
        with locked(tmp_path):
            seen.append(len(seen))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == list(range(8))


def test_publications_of_concurrent_writers_are_all_kept(tmp_path: Path) -> None:
    threads = [threading.Thread(target=append, args=(tmp_path, f"run-{i}", "publish")) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {known.run for known in publications(tmp_path)} == {f"run-{i}" for i in range(12)}


def test_leftovers_with_interrupted_removal_are_recognized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = left_behind(tmp_path)
    (work / "tables").mkdir()
    monkeypatch.setattr(files.shutil, "rmtree", lambda *_, **__: None)
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(work)) == [MARKER, "tables"]
    monkeypatch.undo()
    remove_leftovers(tmp_path)
    assert not work.exists()


@pytest.mark.parametrize("marker", [None, ""])
def test_empty_work_folder_is_removed_after_a_minute(tmp_path: Path, marker: str | None) -> None:
    work = tmp_path / f".kgrec-{'0' * 32}"
    work.mkdir()
    if marker is not None:
        (work / MARKER).write_text(marker)
    remove_leftovers(tmp_path)
    assert work.exists()  # its writer may be about to write the marker
    os.utime(work, (0, 0))
    remove_leftovers(tmp_path)
    assert not work.exists()


def test_folder_of_another_name_or_content_stays(tmp_path: Path) -> None:
    for name, file in ((".kgrec-mine", MARKER), (f".kgrec-{'0' * 32}", "notes.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
        os.utime(tmp_path / name, (0, 0))
    remove_leftovers(tmp_path)
    assert len(os.listdir(tmp_path)) == 2


def test_reason_of_a_full_disk_is_readable() -> None:
    assert files.reason(OSError(errno.ENOSPC, "Failed: detail", "a", None, "b")) == "no space left on device"
    assert files.reason(ValueError("Odd")) == "odd"
