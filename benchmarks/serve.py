"""The HTTP service under load, with the load generator on the same cores.

    python benchmarks/serve.py DATA/ml-100k [--only PARTS] [--seconds 60] [--swaps 200] [--kills 30] [--models FOLDER]

Writes the measured parts (routes, swaps, kills, soak) to benchmarks/results/serve.json, beside those of other calls.
Latencies count from the time at which a request was due, so that a slow answer delays no later measurement. FOLDER
keeps the trained graph, which another call does not train again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import load

from kgrec.events.intake import logged_events
from kgrec.jobs.train import publish_run
from kgrec.runs.folder import list_runs

RESULT = Path(__file__).parent / "results" / "serve.json"
KGREC = str(Path(sys.executable).with_name("kgrec"))
USERS, ITEMS = 943, 1_682
SWAP_SECONDS = 1.5
WORKERS = 2
"""Processes that answer the requests of each kind."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--swaps", type=int, default=200)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--soak", type=float, default=1_800, help="Seconds of the soak test.")
    parser.add_argument("--only", default="routes,swaps,kills,soak", help="Parts, with commas.")
    parser.add_argument("--models", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        graph = trained(given.data, given.models or Path(temporary))
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "routes": lambda: routes(graph, given.seconds),
            "swaps": lambda: swaps(graph, given.swaps),
            "kills": lambda: kills(graph, given.kills),
            "soak": lambda: soak(graph, given.soak),
        }
        for name in given.only.split(","):
            keep(name, {"load_before": round(os.getloadavg()[0], 1), **parts[name]()}, given.data.name)


def keep(part: str, measured: dict[str, Any], data: str) -> None:
    """Write a measured part to the result, beside the parts of other calls."""
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    about = {
        "command": f"python benchmarks/serve.py DATA/{data}",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
    }
    RESULT.write_text(json.dumps({**known, **about, part: measured}, indent=1) + "\n", encoding="utf-8")
    print(part, json.dumps(measured, indent=1), flush=True)


def trained(data: Path, folder: Path) -> Path:
    """Return a graph with two runs, the older one published."""
    graph = folder / "movies.lbug"
    if not graph.exists():
        run("load", "atomic", str(data), "--into", str(graph))
        run("train", str(graph), "--split", "none", "--set", "effort=fast")
        run("train", str(graph), "--split", "none", "--set", "effort=fast", "--set", "seed=1")
    publish_run(str(graph), names(graph)[0])
    return graph


def names(graph: Path) -> list[str]:
    return [known.name for known in list_runs(graph.with_suffix(".runs"))]


def run(*words: str) -> None:
    subprocess.run([KGREC, *words], check=True, capture_output=True)


@contextmanager
def server(graph: Path, workers: int = 1) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    """Start the service without an event log; give its port, its process, and the seconds until it was ready."""
    for file in graph.with_suffix(".events").glob("*"):
        file.unlink()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    start = time.perf_counter()
    command = [KGREC, "serve", str(graph), "--port", str(port), "--no-access-log", "--workers", str(workers)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").close()
                break
            except OSError:
                time.sleep(0.02)
        yield port, process, time.perf_counter() - start
        process.send_signal(signal.SIGTERM)


def memory(process: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of a process in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def routes(graph: Path, seconds: float) -> dict[str, Any]:
    """Return latencies of each kind of request by itself, at its rate."""
    rng = random.Random(0)

    def published(_: int) -> bytes:
        return load.get(f"/v1/users/{rng.randint(1, USERS)}/recommendations?k=10")

    def filtered(_: int) -> bytes:
        return load.get(
            f"/v1/users/{rng.randint(1, USERS)}/recommendations?k=10&where=release_year={rng.randint(1950, 1995)}"
        )

    def session(_: int) -> bytes:
        events = [{"item_id": str(rng.randint(1, ITEMS - 100))} for _ in range(5)]
        return load.post("/v1/sessions/recommendations", json.dumps({"events": events}).encode())

    def events(number: int) -> bytes:
        return load.post("/v1/events", batch(number, 100, rng))

    with server(graph, WORKERS) as (port, _, ready):
        kinds = {"published": (published, 1_000), "filtered": (filtered, 100), "session": (session, 100)}
        measured: dict[str, Any] = {"workers": WORKERS, "ready_s": round(ready, 2)}
        for name, (make, rate) in {**kinds, "events in batches of 100": (events, 20)}.items():
            measured[name] = load.run(port, make, rate, seconds).summary(seconds)
            print(name, measured[name], flush=True)
        accepted = len(logged_events(graph.with_suffix(".events")))
        measured |= {"events_sent": 100 * int(20 * seconds), "events_logged": accepted}
    return measured


def batch(number: int, size: int, rng: random.Random) -> bytes:
    """Return a body of events with ids that no other batch has."""
    events = [
        {
            "event_id": f"{number}-{place}",
            "user_id": str(rng.randint(1, USERS)),
            "item_id": str(rng.randint(1, ITEMS - 100)),
            "behavior": "INTERACTED",
            "weight": 4,
        }
        for place in range(size)
    ]
    return json.dumps({"events": events}).encode()


def swaps(graph: Path, n: int) -> dict[str, Any]:
    """Return failures and mixed answers while releases are swapped at 200 requests a second, beside a quiet minute."""
    rng, per_user = random.Random(0), 50

    def make(_: int) -> bytes:
        return load.get(f"/v1/users/{rng.randint(1, per_user)}/recommendations?k=10")

    with server(graph) as (port, _, _):
        quiet = load.run(port, make, 200, 30)
        seconds, done = SWAP_SECONDS * n, 0

        def swap() -> None:
            nonlocal done
            for number in range(n):
                due = start + SWAP_SECONDS * (number + 1)
                publish_run(str(graph), names(graph)[(number + 1) % 2])
                done += 1
                time.sleep(max(0.0, due - time.perf_counter()))

        start = time.perf_counter()
        thread = threading.Thread(target=swap)
        thread.start()
        during = load.run(port, make, 200, seconds, keep=True)
        thread.join()
    lists: dict[tuple[str, str], set[str]] = {}
    for path, body in zip(during.sent, during.bodies, strict=True):
        answer = json.loads(body)
        lists.setdefault((answer["release"], path), set()).add(json.dumps(answer["items"]))
    return {
        "swaps": done,
        "releases_seen": len({release for release, _ in lists}),
        "mixed": sum(len(of_one) > 1 for of_one in lists.values()),
        "quiet": quiet.summary(30),
        "during": during.summary(seconds),
        "p99_ratio": round(during.summary(1)["p99_ms"] / quiet.summary(1)["p99_ms"], 2),  # type: ignore[operator]
    }


def kills(graph: Path, n: int) -> dict[str, Any]:
    """Return how many acknowledged events are in the log once, after kills at random moments."""
    rng, acknowledged, intact, total = random.Random(0), set[str](), 0, 0
    for _ in range(n):
        with server(graph) as (port, process, _):
            threading.Timer(0.2 + rng.random(), process.kill).start()
            number = 0
            try:
                while True:
                    request = urllib.request.Request(
                        f"http://127.0.0.1:{port}/v1/events",
                        data=batch(number, 20, rng),
                        headers={"Content-Type": "application/json"},
                    )
                    with urllib.request.urlopen(request) as answer:
                        outcomes = json.load(answer)["outcomes"]
                        acknowledged |= {one["event_id"] for one in outcomes if one["outcome"] == "accepted"}
                    number += 1
            except (OSError, HTTPException):
                process.wait()
            logged = [event.event_id for event in logged_events(graph.with_suffix(".events"))]
            intact += acknowledged <= set(logged) and n_lines(graph) == len(logged)
            total, acknowledged = total + len(acknowledged), set()
    return {"kills": n, "intact": intact, "acknowledged": total}


def n_lines(graph: Path) -> int:
    """Return the number of complete lines of the event log."""
    log = graph.with_suffix(".events") / "events.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def soak(graph: Path, seconds: float) -> dict[str, Any]:
    """Return the growth of memory over a long run at 200 requests a second."""
    rng = random.Random(0)

    def make(number: int) -> bytes:
        if number % 10 == 0:
            return load.get(
                f"/v1/users/{rng.randint(1, USERS)}/recommendations?where=release_year={rng.randint(1950, 1995)}"
            )
        return load.get(f"/v1/users/{rng.randint(1, USERS)}/recommendations?k=10")

    with server(graph) as (port, process, _):
        load.run(port, make, 200, min(60, seconds))
        before = memory(process)
        measured = load.run(port, make, 200, seconds).summary(seconds)
        after = memory(process)
    return {**measured, "memory_mb": [round(before, 1), round(after, 1)], "growth": round(after / before - 1, 4)}


if __name__ == "__main__":
    main()
