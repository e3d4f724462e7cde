"""Kill a refresh at random moments, start it again, and look at what is there: whole, equal, published once.

python benchmarks/chaos.py [--kills 50] [--seed 0] [--out FILE]    writes benchmarks/results/chaos.json

On ladybug, and where NEO4J_URI names a server with nothing of value on it, on that too: it is cleared. All the while
another process reads what is published, in a loop.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import kgrec.jobs.refresh.retrain  # noqa: F401 - once, before the forks
from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.jobs.train import publish_run
from kgrec.runs.publications import publications
from kgrec.store import open_graph
from kgrec.store.uri import GraphUri

RESULT = Path(__file__).parent / "results" / "chaos.json"
FORK = multiprocessing.get_context("fork")
CONFIG = Config.read(overrides=["signals=popularity,ease"])
N_USERS, N_ITEMS, LENGTH = 300, 120, 20
SCHEMA = Schema.from_dict(
    {
        "name": "chaos",
        "nodes": {
            "User": {"key": "user_id"},
            "Item": {"key": "item_id", "properties": {"picture": "vector"}},
        },
        "relationships": {"BOUGHT": {"from": "User", "to": "Item", "properties": {"at": "float"}}},
        "roles": {"users": "User", "items": "Item", "behaviours": {"BOUGHT": {"time": "at"}}},
    }
)
LISTS = (
    "MATCH (now:Published) MATCH (u:User)-[r:RECOMMENDED]->(i:Item) WHERE r.release = now.release "
    "RETURN now.run AS now, r.run AS run, count(*) AS n"
)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=RESULT)
    given = options.parse_args()
    uris: dict[str, Callable[[Path], str]] = {"ladybug": lambda place: str(place / "shop.lbug")}
    if server := os.environ.get("NEO4J_URI"):
        uris["neo4j"] = lambda place: server
    result: dict[str, Any] = {"command": f"python benchmarks/chaos.py --kills {given.kills} --seed {given.seed}"}
    for engine, uri in uris.items():
        with tempfile.TemporaryDirectory() as folder:
            result[engine] = torment(Path(folder), uri, given.kills, given.seed)
        print(engine, json.dumps(result[engine]), flush=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if any(sum(result[engine][name] for name in ("not_equal", "mixed", "empty", "failed")) for engine in uris):
        raise SystemExit("a kill was not survived; see the figures")


def torment(folder: Path, uri: Callable[[Path], str], kills: int, seed: int) -> dict[str, Any]:
    """Kill and restart so many times; return what was found. A refresh that ends before its moment does not count."""
    base = folder / "base"
    in_child(lambda: first_night(base, uri(base)))
    place = again(base, folder / "calm", uri)
    start = time.perf_counter()
    in_child(lambda: second_night(place, uri(place)))
    seconds = time.perf_counter() - start
    expected = in_child(lambda: state(place, uri(place)))
    counts = {"kills": 0, "ended_before": 0, "not_equal": 0, "failed": 0, "reads": 0, "mixed": 0, "empty": 0}
    steps: dict[str, int] = {}
    moments = random.Random(seed)
    while counts["kills"] < kills:
        place = again(base, folder / "torment", uri)
        reader, seen = reading(uri(place))
        died_at = killed(place, uri(place), moments.random() * seconds)
        counts["ended_before" if died_at == "end" else "kills"] += 1
        steps[died_at] = steps.get(died_at, 0) + 1
        try:
            in_child(lambda place=place: second_night(place, uri(place)))
            counts["not_equal"] += in_child(lambda place=place: state(place, uri(place))) != expected
        except RuntimeError as error:
            print(died_at, error, flush=True)
            counts["failed"] += 1
        finally:
            reader.terminate()
            reader.join()
        for name, n in zip(("reads", "mixed", "empty"), seen, strict=True):
            counts[name] += n
    return {**counts, "seconds_of_a_refresh": round(seconds, 2), "killed_at": steps}


def killed(place: Path, uri: str, after: float) -> str:
    """Start a refresh, kill it after so many seconds, and return the step that it was in."""
    child = FORK.Process(target=second_night, args=(place, uri))
    child.start()
    child.join(after)
    if child.is_alive():
        os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    if child.exitcode == 0:
        return "end"
    journal = place / "runs" / "refresh.json"
    step = str(json.loads(journal.read_text(encoding="utf-8"))["step"])
    return "start" if step == "end" else step  # of the night before


def first_night(place: Path, uri: str) -> None:
    if GraphUri.parse(uri).is_server:
        with open_graph(uri, create=True) as store:
            store.cypher("MATCH (n) DETACH DELETE n", write=True)
    refresh(RefreshRequest(uri, data(False), config=CONFIG, runs=place / "runs"))


def second_night(place: Path, uri: str) -> None:
    refresh(RefreshRequest(uri, data(True), runs=place / "runs"))


def again(base: Path, place: Path, uri: Callable[[Path], str]) -> Path:
    """Lay out the state after the first night anew."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place)
    if GraphUri.parse(uri(place)).is_server:
        in_child(lambda: restored(place, uri(place)))
    return place


def restored(place: Path, uri: str) -> None:
    [known] = publications(place / "runs")
    with open_graph(uri, create=True) as store:
        store.cypher("MATCH (n) DETACH DELETE n", write=True)
        store.write(data(False))
    publish_run(uri, known.run, place / "runs")
    lines = (place / "runs" / "published.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (place / "runs" / "published.jsonl").write_text(lines[0], encoding="utf-8")


def data(second: bool) -> GraphTables:
    """Return the source of a night; in the second there are a tenth more behaviors, users and items."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(N_USERS, size=6000), (rng.integers(N_ITEMS, size=6000) * rng.random(6000)).astype(int)
    more = rng.integers(N_USERS + 10, size=600), rng.integers(N_ITEMS + 5, size=600)
    if second:
        user, item = np.r_[user, more[0]], np.r_[item, more[1]]
    users, items = (np.char.add(letter, nums.astype(str)) for letter, nums in (("u", user), ("i", item)))
    pictures = np.random.default_rng(1).random((N_ITEMS + 5, 8)).astype(np.float32)
    ids = np.unique(items)
    given = pa.array([pictures[int(i[1:])].tolist() for i in ids], pa.list_(pa.float32()))
    nodes = {"User": pa.table({"user_id": np.unique(users)}), "Item": pa.table({"item_id": ids, "picture": given})}
    bought = pa.table({"src": users, "dst": items, "at": np.arange(len(user), dtype=np.float64)})
    return GraphTables(SCHEMA, nodes, {("User", "BOUGHT", "Item"): bought})


def state(place: Path, uri: str) -> str:
    """Return a digest of all that is there: graph, lists, vectors, how much was published, what lies about."""
    with open_graph(uri, read_only=True) as store:
        lists = store.cypher(
            "MATCH (now:Published) MATCH (u:User)-[r:RECOMMENDED]->(i:Item) WHERE r.release = now.release "
            "RETURN u.user_id AS user, i.item_id AS item, r.rank AS rank, r.score AS score ORDER BY user, rank"
        )
        vectors = [store.vector("Item", f"i{num}").round(5).tolist() for num in (0, 7, N_ITEMS + 2)]
        graph = store.snapshot().digest
    nights = len(publications(place / "runs"))
    left = [path.name for path in (place / "runs").glob(".*")]
    rows = lists.assign(score=lists["score"].round(4)).to_csv(index=False)
    return hashlib.sha256(f"{graph}{rows}{vectors}{nights}{left}".encode()).hexdigest()


def reading(uri: str) -> tuple[Any, Any]:
    """Start a process that reads what is published in a loop; the array counts reads, mixed sets and empty ones."""
    seen = FORK.Array("i", 3, lock=False)
    process = FORK.Process(target=read_on, args=(uri, seen), daemon=True)
    process.start()
    return process, seen


def read_on(uri: str, seen: Any) -> None:
    whole_sets = [data(second).nodes["User"].num_rows * LENGTH for second in (False, True)]
    with open_graph(uri, read_only=True) as store:
        while True:
            rows = store.cypher(LISTS)
            seen[0] += 1
            seen[2] += rows.empty
            whole = len(rows) == 1 and rows["now"][0] == rows["run"][0] and rows["n"][0] in whole_sets
            seen[1] += not whole and not rows.empty


def in_child(work: Callable[[], Any]) -> Any:
    """Run work in a process of its own, since engines do not survive a fork."""
    ours, theirs = FORK.Pipe()

    def run() -> None:
        theirs.send(work())

    child = FORK.Process(target=run)
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"a refresh ended with {child.exitcode}")
    return ours.recv()


if __name__ == "__main__":
    main()
