"""What a nightly refresh costs: 1 % new behaviors, nothing new, publishing 1.2M recommendations, rolling back.

python benchmarks/refresh.py ../shared/data/ml-1m-kg [WORK]     writes benchmarks/results/refresh.json

A stage whose result is in the folder WORK already is not run again: the two full builds take minutes. What a refresh
takes has the start of its process in it, what a rebuild takes has not, and the rebuild finds all texts encoded. The
data set has no times, so that the new behaviors are a random share of those to learn from.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.jobs.evaluate import evaluate_run
from kgrec.jobs.rollback import roll_back
from kgrec.jobs.train import publish_run, train_run
from kgrec.runs.folder import write_run
from kgrec.runs.publications import latest
from kgrec.runs.publish import lists_table
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.load import load

RESULT = Path(__file__).parent / "results" / "refresh.json"
SHARE = 0.01
"""Of the behaviors to learn from, how many are new."""

USERS, ITEMS, LENGTH = 12_000, 4_000, 100
"""1.2M recommendations: twice the users of ml-1m, its items, and lists as long as a run keeps."""

PAUSE = 0.01
"""Seconds between two reads of one who reads on while others publish."""

LARGE = Schema.from_dict(
    {
        "name": "large",
        "nodes": {"User": {"key": "user_id"}, "Item": {"key": "item_id"}},
        "relationships": {"BOUGHT": {"from": "User", "to": "Item"}},
        "roles": {"users": "User", "items": "Item", "behaviours": {"BOUGHT": {}}},
    }
)


def main(source: Path, work: Path) -> None:
    def stage(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = work / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(run()), encoding="utf-8")
        return dict(json.loads(path.read_text(encoding="utf-8")))

    work.mkdir(parents=True, exist_ok=True)
    stage("before", lambda: build(without_newest(source, work / "data-before"), work / "before.lbug"))
    rebuilt = stage("rebuilt", lambda: build(source, work / "rebuilt.lbug"))
    refreshed = stage("refreshed", lambda: refreshed_of(source, work / "before.lbug", work / "refreshed.lbug"))
    result = {
        "command": "python benchmarks/refresh.py ml-1m-kg",
        "load_average": round(os.getloadavg()[0], 1),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "new_behaviors": SHARE,
        "full_rebuild": rebuilt,
        "refresh": refreshed,
        "refresh_share_of_rebuild_cpu": round(refreshed["cpu_s"] / rebuilt["cpu_s"], 3),
        "refresh_share_of_rebuild_wall": round(refreshed["wall_s"] / rebuilt["wall_s"], 3),
        "ndcg_against_rebuild": round(refreshed["ndcg@20"] / rebuilt["ndcg@20"] - 1, 4),
        "nothing_new": stage("nothing-new", lambda: command("refresh", work / "refreshed.lbug", "--source", source)),
        "publish": stage("publish", lambda: publishing(work / "publish")),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def without_newest(source: Path, folder: Path) -> Path:
    """Copy atomic files, less a random share of the behaviors to learn from."""
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=lambda _, names: [n for n in names if n == "rdf"])
    [path] = folder.glob("*.train.inter")
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    kept = np.random.default_rng(0).random(len(rows)) >= SHARE
    path.write_text("\n".join([head, *np.array(rows, dtype=object)[kept]]) + "\n", encoding="utf-8")
    return folder


def build(source: Path, graph: Path) -> dict[str, Any]:
    """Load, train, measure and publish from nothing."""
    wall, cpu = time.perf_counter(), time.process_time()
    with open_graph(graph, create=True) as store:
        load("atomic", source, into=store)
    run = train_run(str(graph), Config())
    publish_run(str(graph), run.name)
    return {**spent(wall, cpu), "ndcg@20": run.info["metrics"]["models"]["hybrid"]["NDCG@20"]}


def refreshed_of(source: Path, before: Path, graph: Path) -> dict[str, Any]:
    """Refresh a copy of a graph from the whole source, of which it has all but the newest behaviors."""
    shutil.copy(before, graph)
    shutil.copytree(before.with_suffix(".runs"), graph.with_suffix(".runs"), dirs_exist_ok=True)
    cost = command("refresh", graph, "--source", source)
    measured = evaluate_run(str(graph), latest(graph.with_suffix(".runs")))
    return {**cost, "ndcg@20": measured["models"]["hybrid"]["NDCG@20"]}


def command(*words: object) -> dict[str, Any]:
    """Run the command in a process of its own, its start included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    line = [sys.executable, "-m", "kgrec", *map(str, words), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = {name: json.loads(done.stdout).get(name) for name in ("result", "mode", "why")}
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), **told}


def publishing(place: Path) -> dict[str, Any]:
    """Publish 1.2M recommendations with the vectors of the items, twice, and roll back, while another thread reads."""
    place.mkdir(exist_ok=True)
    graph, root = place / "large.lbug", place / "large.runs"
    with open_graph(graph, create=True) as store:
        store.write(large())
    for seed in (0, 1):
        large_run(root / f"run-{seed}", seed)
    with open_graph(graph, read_only=True) as reader:
        return {
            "recommendations": USERS * LENGTH,
            "users": USERS,
            "items_with_vectors": ITEMS,
            "first": reading_on(reader, lambda: publish_run(str(graph), "run-0", k=LENGTH)),
            "second": reading_on(reader, lambda: publish_run(str(graph), "run-1", k=LENGTH)),
            "rollback": reading_on(reader, lambda: roll_back(str(graph), k=LENGTH)),
        }


def large() -> GraphTables:
    ids = {"User": [f"u{i}" for i in range(USERS)], "Item": [f"i{i}" for i in range(ITEMS)]}
    nodes = {"User": pa.table({"user_id": ids["User"]}), "Item": pa.table({"item_id": ids["Item"]})}
    bought = pa.table({"src": ids["User"], "dst": np.resize(ids["Item"], USERS)})
    return GraphTables(LARGE, nodes, {("User", "BOUGHT", "Item"): bought})


def large_run(folder: Path, seed: int) -> None:
    """Write a run that holds what publishing needs."""
    rng, nodes = np.random.default_rng(seed), large().nodes
    item = (rng.integers(ITEMS, size=(USERS, 1)) + np.arange(LENGTH)) % ITEMS
    shares = {name: rng.random(USERS * LENGTH) for name in ("score", "graph", "cf", "content")}
    listed = {
        "user_id": np.repeat(nodes["User"].column("user_id").to_numpy(), LENGTH),
        "item_id": nodes["Item"].column("item_id").to_numpy()[item.ravel()],
        "rank": np.tile(np.arange(1, LENGTH + 1), USERS),
    }
    info = {"schema": LARGE.to_dict(), "labels": list(nodes), "edge_types": [], "settings": {}, "single_domain": {}}
    tables = {f"nodes-{label}": table for label, table in nodes.items()}
    tables["recommendations"] = lists_table(pd.DataFrame({**listed, **shares}))
    write_run(folder, info, tables, {"vectors": {"Item": rng.normal(size=(ITEMS, 384)).astype(np.float32)}})


def reading_on(reader: GraphStore, work: Callable[[], object]) -> dict[str, Any]:
    """Time some work, and the reads of another thread meanwhile: how many, the longest, and how long lists were."""
    query = "MATCH (:User {user_id: 'u7'})-[r:RECOMMENDED]->(i:Item) RETURN i.item_id"
    spans, lengths, over = list[float](), set[int](), threading.Event()

    def read() -> None:
        while not over.wait(PAUSE):
            began = time.perf_counter()
            lengths.add(len(reader.cypher(query)))
            spans.append(time.perf_counter() - began)

    thread, wall, cpu = threading.Thread(target=read), time.perf_counter(), time.process_time()
    thread.start()
    work()
    cost = spent(wall, cpu)
    over.set()
    thread.join()
    return {**cost, "reads": len(spans), "longest_read_s": round(max(spans), 3), "lengths_read": sorted(lengths)}


def spent(wall: float, cpu: float) -> dict[str, float]:
    return {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else temporary))
