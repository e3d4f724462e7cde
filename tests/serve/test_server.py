"""The server process: starts, answers, drains, and names what keeps it from starting."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


@contextmanager
def server(graph: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `kgrec serve`; give the process, and its address once it is ready."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("kgrec")), "serve", graph, "--port", str(port), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(process, address)
            yield process, address
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def wait_until_ready(process: subprocess.Popen[str], address: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            urllib.request.urlopen(f"{address}/health/ready").close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail("the server was not ready in 90 s")


def test_server_answers_and_drains(published: str) -> None:
    with server(published) as (process, address):
        with urllib.request.urlopen(f"{address}/v1/users/u1/recommendations?k=3") as answer:
            assert len(json.load(answer)["items"]) == 3
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM)
    assert '"route": "/v1/users/{user_id}/recommendations", "status": 200' in log


def test_workers_share_events(published: str) -> None:
    event = {"user_id": "u1", "item_id": "f1", "behavior": "INTERACTED", "weight": 5}
    with server(published, "--workers", "2") as (_, address):
        request = urllib.request.Request(
            f"{address}/v1/events",
            data=json.dumps({"events": [event]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request).close()
        time.sleep(1)
        for _ in range(8):
            with urllib.request.urlopen(f"{address}/v1/users/u1") as answer:
                assert json.load(answer)["events"] == 1


def test_second_server_on_a_port_is_refused(published: str, kgrec) -> None:  # type: ignore[no-untyped-def]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = kgrec("serve", published, "--port", port)
    assert (result.code, f"127.0.0.1:{port} cannot be used" in result.err) == (2, True)


def test_graph_that_is_missing_is_named(tmp_path: Path, kgrec) -> None:  # type: ignore[no-untyped-def]
    result = kgrec("serve", tmp_path / "nowhere.lbug", "--port", free_port())
    assert result.code == 1
    assert "no graph at" in result.err
