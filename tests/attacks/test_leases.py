"""A lease holds while its owner lives, and no longer: not for a clock, a process number, or a file of garbage."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kgrec._util.owner import HOST, started
from kgrec.errors import StoreError, StoreLocked
from kgrec.store import job_lock
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
    "the past": json.dumps({"owner": "elsewhere:1:abc", "beat": NOW - 1e6}).encode(),
    "a process that is gone": json.dumps({"owner": f"{HOST}:999999999:abc", "beat": NOW}).encode(),
    "a number that another process has": json.dumps({"owner": MINE, "started": "boot:1", "beat": NOW}).encode(),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_lease_that_nobody_holds_is_taken_over(graph: str, content: bytes) -> None:
    lease_file(graph).write_bytes(content)
    with leased(graph) as check:
        check()
    assert lease_file(graph).stat().st_size < job_lock.MAX_LEASE_BYTES


@pytest.mark.parametrize("began", [None, "mine"])
def test_a_lease_of_a_process_that_lives_holds(began: str | None) -> None:
    held = {"owner": MINE, "started": started() if began else None, "beat": time.time()}
    lease_file("shop.lbug").write_text(json.dumps(held))
    with pytest.raises(StoreLocked, match=f"process {os.getpid()} on"), leased("shop.lbug"):
        pass


def test_a_clock_that_is_a_little_ahead_holds() -> None:
    lease_file("shop.lbug").write_text(json.dumps({"owner": "elsewhere:1:abc", "beat": time.time() + 20}))
    with pytest.raises(StoreLocked, match="process 1 on elsewhere"), leased("shop.lbug"):
        pass


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
def test_what_is_no_file_is_said_and_left(make: Any, place: Path) -> None:
    make(lease_file("shop.lbug"))
    with pytest.raises(StoreError, match=r"\.shop\.lbug\.lease.* remove it|Remove it"), leased("shop.lbug"):
        pass
    assert not (place / "victim").exists()


def test_a_file_locked_by_a_stranger_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_lock, "LOCK_TRIES", 2)
    with lease_file("shop.lbug").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreLocked, match="does not let go"), leased("shop.lbug"):
            pass


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
def test_a_marker_that_nobody_holds_is_taken_over(marker: Any) -> None:
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
def test_a_marker_of_a_writer_that_lives_holds(marker: Any) -> None:
    other = os.getppid()
    for values in ({"writer": "elsewhere:1:abc"}, {"writer": f"{HOST}:{other}:abc", "started": started(other)}):
        with pytest.raises(StoreLocked, match="is being written by process"), leased(marker(**values, beat="now")):
            pass
