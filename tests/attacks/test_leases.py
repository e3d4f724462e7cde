"""A job lock holds exactly as long as its process lives, whatever its file says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kgrec._util.owner import HOST, started
from kgrec.errors import StoreError, StoreLocked
from kgrec.store.job_lock import lease_file, leased

pytestmark = pytest.mark.slow

NOW = time.time()
MINE = f"{HOST}:{os.getpid()}:abc"
GRAPHS = ("shop.lbug", "oxigraph:shop")

GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "binary": bytes(range(256)),
    "half": b'{"owner": "ho',
    "a list": b"[1, 2]",
    "a number": b"7",
    "nested": b"[" * 4000,
    "huge": b'{"owner": "' + b"x" * 5_000_000,
    "no beat": json.dumps({"owner": MINE}).encode(),
    "a list as beat": json.dumps({"owner": MINE, "beat": [1]}).encode(),
    "true as beat": json.dumps({"owner": MINE, "beat": True}).encode(),
    "a huge beat": json.dumps({"owner": MINE, "beat": 10**400}).encode(),
    "nan": f'{{"owner": "{MINE}", "beat": NaN}}'.encode(),
    "infinity": f'{{"owner": "{MINE}", "beat": Infinity}}'.encode(),
    "a number as owner": json.dumps({"owner": 7, "beat": NOW}).encode(),
    "an owner in two parts": json.dumps({"owner": "host:1", "beat": NOW}).encode(),
    "an owner without a number": json.dumps({"owner": "host:one:abc", "beat": NOW}).encode(),
    "an owner of escapes": json.dumps({"owner": "\x1b[31m:1:abc", "beat": NOW}).encode(),
    "the future": json.dumps({"owner": "elsewhere:1:abc", "beat": NOW + 1e6}).encode(),
    "the future of a process that lives": json.dumps({"owner": MINE, "beat": NOW + 1e6}).encode(),
    "a pid of no process": b'{"pid": 999999999, "host": "here"}',
    "a pid that another process has": json.dumps({"pid": os.getppid(), "host": HOST}).encode(),
    "a pid of this process": json.dumps({"pid": os.getpid(), "host": HOST}).encode(),
    "the past": json.dumps({"owner": "elsewhere:1:abc", "beat": NOW - 1e6}).encode(),
    "a process that is gone": json.dumps({"owner": f"{HOST}:999999999:abc", "beat": NOW}).encode(),
    "a number that another process has": json.dumps({"owner": MINE, "started": "boot:1", "beat": NOW}).encode(),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextmanager
def holder(graph: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the lock of a graph; it is killed in the end."""
    code = "import sys, time; from kgrec.store.job_lock import leased\n"
    code += "with leased(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code, graph], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("graph", GRAPHS)
def test_abandoned_lease_is_taken_over(graph: str, content: bytes) -> None:
    lease_file(graph).write_bytes(content)
    with leased(graph) as check:
        check()
    assert lease_file(graph).read_bytes() == b""


@pytest.mark.parametrize("graph", GRAPHS)
def test_lock_of_live_process_holds_until_it_ends(graph: str) -> None:
    with holder(graph) as process:
        with pytest.raises(StoreLocked, match=f"process {process.pid} on {HOST} is working on {graph}"), leased(graph):
            pass
        for content in GARBAGE.values():
            lease_file(graph).write_bytes(content)
            with pytest.raises(StoreLocked, match="process"), leased(graph):
                pass
    with leased(graph) as check:
        check()


def test_lock_excludes_second_job_of_the_process() -> None:
    with leased("shop.lbug"):
        with pytest.raises(StoreLocked, match=f"process {os.getpid()} on {HOST} is working"), leased("shop.lbug"):
            pass
        assert json.loads(lease_file("shop.lbug").read_bytes()) == {"pid": os.getpid(), "host": HOST}
    with leased("shop.lbug"):
        pass


def test_lock_file_that_was_replaced_is_a_lost_lock() -> None:
    with leased("shop.lbug") as check:
        lease_file("shop.lbug").unlink()
        with leased("shop.lbug"), pytest.raises(StoreError, match="was removed, so another job may have started"):
            check()


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def make_link(path: Path) -> None:
    path.symlink_to("victim")


@pytest.mark.parametrize(
    "make", [make_folder, os.mkfifo, make_link, make_socket], ids=["folder", "pipe", "link", "socket"]
)
def test_lock_target_that_is_not_a_file_is_refused_and_kept(make: Any, place: Path) -> None:
    make(lease_file("shop.lbug"))
    with pytest.raises(StoreError, match=r"\.shop\.lbug\.lease.* remove it|Remove it"), leased("shop.lbug"):
        pass
    assert not (place / "victim").exists()


@pytest.fixture
def marker(neo4j_uri: str) -> Iterator[Any]:
    """Sets what the marker of jobs on a server says."""
    import neo4j

    auth = os.environ.get("NEO4J_USER", "neo4j"), os.environ["NEO4J_PASSWORD"]
    with neo4j.GraphDatabase.driver(neo4j_uri, auth=auth) as driver:

        def put(**values: Any) -> str:
            query = "MERGE (k:`_Kgrec` {id: 'job'}) SET k = $values, k.beat = CASE WHEN k.beat = 'now' "
            query += "THEN timestamp() WHEN k.beat = 'ahead' THEN timestamp() + 999999999 ELSE k.beat END"
            driver.execute_query(query, values={"id": "job", **values})
            return neo4j_uri

        yield put


@pytest.mark.neo4j
def test_abandoned_marker_is_taken_over(marker: Any) -> None:
    for values in (
        {"writer": "elsewhere:1:abc", "beat": "ahead"},
        {"writer": MINE, "started": "boot:1", "beat": "now"},
        {"writer": MINE, "beat": "now"},  # of this process, which knows that it does not hold it
        {"writer": f"{HOST}:999999999:abc", "beat": "now"},
        {"writer": 7, "beat": "now"},
        {"writer": float("nan"), "beat": "now"},
        {"writer": ["a"], "beat": ["b"]},
        {"writer": "no owner", "beat": 1.5},
        {"writer": "elsewhere:1:abc", "beat": True},
        {"version": "x", "writer": None},
        {"version": [1], "writer": "elsewhere:1:abc"},
    ):
        with leased(marker(**values)) as check:
            check()


@pytest.mark.neo4j
def test_marker_of_live_writer_holds(marker: Any) -> None:
    other = os.getppid()
    for values in ({"writer": "elsewhere:1:abc"}, {"writer": f"{HOST}:{other}:abc", "started": started(other)}):
        with pytest.raises(StoreLocked, match="is being written by process"), leased(marker(**values, beat="now")):
            pass
