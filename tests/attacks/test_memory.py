"""Out of memory: the command prints one line and exits with 1, whichever library failed."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kgrec._util import memory
from kgrec.cli import app as cli
from kgrec.errors import DataError, MissingExtra, Problem, StoreError, StoreLocked
from kgrec.store.ladybug import engine

pytestmark = pytest.mark.slow


def caused(error: Exception, by: BaseException) -> Exception:
    """An error that came of another."""
    error.__cause__ = by
    return error


RAN_OUT: dict[str, Exception] = {
    "Python": MemoryError(),
    "Arrow": pa.lib.ArrowMemoryError("malloc of size 64 failed"),
    "the system": OSError(errno.ENOMEM, "Cannot allocate memory", "shop.lbug"),
    "a library that cannot be loaded": ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    "torch": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    "a thread": RuntimeError("can't start new thread"),
    "C++": RuntimeError("std::bad_alloc"),
    "ladybug": caused(StoreError("cannot open"), RuntimeError("Buffer manager exception: Mmap for size 8 failed.")),
    "what looks like a missing package": caused(MissingExtra("Neo4j needs a package"), MemoryError()),
}
OTHERS: dict[str, Exception] = {
    "a lock": caused(StoreLocked("busy"), BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")),
    "data that speak of it": DataError([Problem("a.csv", "'out of memory'", "a number")]),
    "a graph's own": StoreError("std::bad_alloc is no label"),
}


@pytest.mark.parametrize("error", RAN_OUT.values(), ids=RAN_OUT.keys())
def test_command_out_of_memory_prints_one_line(error: Exception, kgrec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    told = kgrec("train", "shop.lbug")
    assert (told.code, told.err.count("\n"), told.out) == (1, 1, "")
    assert told.err.startswith("error: memory ran out")


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS.keys())
def test_other_errors_are_not_out_of_memory(error: Exception, kgrec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    assert "memory ran out" not in kgrec("train", "shop.lbug").err


@pytest.mark.parametrize("how", ["os.abort()", "os._exit(127)", "os.kill(os.getpid(), 11)", "os.write(2, b'noise\\n')"])
def test_aborting_library_leaves_one_line(how: str) -> None:
    code = "import os, sys; from kgrec._util.memory import run_watched; "
    code += f"sys.exit(run_watched(lambda: ({how}, sys.exit(7))))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "write" in how:
        assert (told.returncode, told.stderr) == (7, "")
    else:
        assert (told.returncode, told.stderr.count("\n")) == (1, 1)
        assert told.stderr.startswith("error: memory ran out")


@pytest.mark.parametrize("megabytes", [64, 600, 900])
def test_command_under_ulimit_v_prints_one_line(megabytes: int, cinema: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    command = [sys.executable, "-m", "kgrec", "train", str(cinema), "--set", "signals=popularity"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limited, timeout=120)
    assert (told.returncode, told.stderr.count("\n"), told.stdout) == (1, 1, "")
    assert f"(ulimit -v allows this process {megabytes} MB)" in told.stderr


def test_engine_uses_a_share_of_remaining_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.largest_file() == engine.MAX_DATABASE_BYTES
    monkeypatch.setattr(engine, "address_space_left", lambda: 3 << 30)
    assert engine.largest_file() == 1 << 29
    assert engine.buffer_pool() <= 3 << 28
    monkeypatch.setattr(engine, "address_space_left", lambda: 0)
    assert engine.largest_file() == engine.MIN_FILE_BYTES


def test_address_space_left_is_limit_minus_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "address_space_limit", lambda: 1 << 50)
    left = memory.address_space_left()
    assert left is not None
    assert 0 < left < 1 << 50
    monkeypatch.setattr(memory, "address_space_limit", lambda: None)
    assert memory.address_space_left() is None
