"""The whole job on made-up graphs: how CPU time and memory grow with the data.

    python benchmarks/scale.py --shape book --effort fast,balanced
    python benchmarks/scale.py --shape 0.1M,1M,10M --effort fast,balanced

Shape "book" is that of Amazon-book with its knowledge graph (KGAT, KDD 2019): 70,000 users, 25,000 items, 850,000
behaviors and 2.5 million triples of 39 relations. The others have that many behaviors, a tenth as many users, a
hundredth as many items and three triples an item. Items belong to clusters that users prefer, and the popularity of
items is a power law. It says how long the job takes, by stage, and what memory it needs; how well it does on made-up
taste says little. One thread, so that CPU seconds repeat. Writes benchmarks/results/scale.json; jobs measured before
stay in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

RESULT = Path(__file__).parent / "results" / "scale.json"
CLUSTERS = 60
EFFORTS = ("fast", "balanced", "best")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Shape(NamedTuple):
    """Numbers of nodes and of edges drawn, repeated ones included."""

    users: int
    items: int
    behaviors: int
    nodes: int
    relations: int
    triples: int


def power_law(behaviors: int) -> Shape:
    """Return the shape with a tenth as many users and a hundredth as many items as behaviors."""
    items = behaviors // 100
    return Shape(behaviors // 10, items, behaviors * 106 // 100, items // 2, 3, 3 * items)


SHAPES = {
    "book": Shape(70_679, 24_915, 900_000, 88_572, 39, 2_557_746),
    "0.1M": power_law(100_000),
    "1M": power_law(1_000_000),
    "10M": power_law(10_000_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="book", help="names of shapes, with commas: " + ", ".join(SHAPES))
    parser.add_argument("--effort", default="fast,balanced", help="efforts, with commas")
    arguments = parser.parse_args()
    for name in arguments.shape.split(","):
        with tempfile.TemporaryDirectory() as folder:
            shape = write_files(Path(folder) / "shop", SHAPES[name])
            loaded = run(Path(folder), "load", "atomic", "shop", "--into", "shop.lbug", "--json")
            for effort in arguments.effort.split(","):
                keep(f"{name} {effort}", {"shape": shape, **job(Path(folder), loaded, effort)})


def job(folder: Path, loaded: dict[str, Any], effort: str) -> dict[str, Any]:
    """Train and publish; return what each step took."""
    runs = f"{effort}.runs"
    steps = {
        "load": loaded,
        "train": run(folder, "train", "shop.lbug", "--runs", runs, "--set", f"effort={effort}", "--json"),
        "publish": run(folder, "publish", "shop.lbug", "--runs", runs, "--json"),
    }
    told = {name: step["told"] for name, step in steps.items()}
    choices = json.loads(next((folder / runs).glob("*/choices.json")).read_text(encoding="utf-8"))
    tried = choices["signals"]
    return {
        "cpu_s": round(sum(step["cpu_s"] for step in steps.values()), 1),
        "peak_memory_mb": max(step["peak_memory_mb"] for step in steps.values()),
        "steps": {name: {key: step[key] for key in step if key != "told"} for name, step in steps.items()},
        "stages_cpu_s": choices["cpu_seconds"],
        "signals_cpu_s": {name: round(sum(one["cpu_seconds"] for one in of["tried"]), 1) for name, of in tried.items()},
        "published": told["publish"]["recommendations"],
        "protocol": told["train"]["protocol"],
        "NDCG@20": {name: values["NDCG@20"] for name, values in told["train"]["metrics"]["models"].items()},
    }


def keep(name: str, measured: dict[str, Any]) -> None:
    """Add a job to the file of results, and the growth of CPU time with the behaviors from shape to shape."""
    jobs = {**(json.loads(RESULT.read_text(encoding="utf-8"))["jobs"] if RESULT.exists() else {}), name: measured}
    result = {
        "command": "python benchmarks/scale.py --shape book,0.1M,1M",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "threads": 1,
        "slopes": slopes(jobs),
        "jobs": jobs,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(name, json.dumps(measured, indent=1), flush=True)


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Run a command of kgrec: its wall and CPU seconds, its largest memory, and what it told."""
    start, told = time.perf_counter(), folder / "told.json"
    with told.open("w") as out:
        command = [str(Path(sys.executable).with_name("kgrec")), *words]
        child = subprocess.Popen(command, cwd=folder, stdout=out, env={**os.environ, **ONE_THREAD})
        _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"kgrec {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_memory_mb": used.ru_maxrss >> 10,
        "told": json.loads(told.read_text()),
    }


def slopes(jobs: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return effort → pair of shapes → slope of log CPU seconds against log behaviors; 1: cost grows as the data."""
    found: dict[str, dict[str, float]] = {}
    for effort in EFFORTS:
        sizes = [name for name in ("0.1M", "1M", "10M") if f"{name} {effort}" in jobs]
        for small, large in pairwise(sizes):
            low, high = jobs[f"{small} {effort}"], jobs[f"{large} {effort}"]
            growth = math.log(high["shape"]["behaviors"] / low["shape"]["behaviors"])
            slope = math.log(high["cpu_s"] / low["cpu_s"]) / growth
            found.setdefault(effort, {})[f"{small} to {large}"] = round(slope, 3)
    return found


def write_files(folder: Path, shape: Shape) -> dict[str, int]:
    """Write the graph as atomic files; return the numbers of what is in it."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, CLUSTERS, shape.items)
    user, item = _behaviors(rng, cluster, shape)
    time_ = rng.integers(1_000_000_000, 1_100_000_000, len(user))
    _write(
        folder / "shop.inter",
        {"user_id:token": ("u", user), "item_id:token": ("i", item), "timestamp:float": ("", time_)},
    )
    head, relation, tail = _triples(rng, cluster, shape)
    triples = {"head_id:token": ("e", head), "relation_id:token": ("r", relation), "tail_id:token": ("x", tail)}
    _write(folder / "shop.kg", triples)
    every = np.arange(shape.items)
    _write(folder / "shop.link", {"item_id:token": ("i", every), "entity_id:token": ("e", every)})
    return {"users": shape.users, "items": shape.items, "behaviors": len(user), "triples": len(head)}


def _behaviors(rng: np.random.Generator, cluster: Any, shape: Shape) -> tuple[Any, Any]:
    """Draw users and what they choose, each [n]: mostly popular items of the few clusters that each prefers."""
    popularity = rng.zipf(1.6, shape.items).clip(max=2_000) ** 0.7
    taste = rng.dirichlet(np.full(CLUSTERS, 0.08), shape.users).cumsum(axis=1).clip(max=1)
    activity = np.maximum(8, rng.lognormal(np.log(shape.behaviors / shape.users) - 0.35, 0.85, shape.users))
    user = np.repeat(np.arange(shape.users), (activity * shape.behaviors / activity.sum()).astype(int).clip(5))
    taste += np.arange(shape.users)[:, None]
    wanted = np.searchsorted(taste.ravel(), user + rng.random(len(user))) - user * CLUSTERS
    wanted = wanted.clip(0, CLUSTERS - 1)
    noise = rng.random(len(user)) < 0.2
    wanted[noise] = rng.integers(0, CLUSTERS, noise.sum())
    item = np.empty(len(user), np.int64)
    for number in range(CLUSTERS):
        members, places = np.flatnonzero(cluster == number), wanted == number
        item[places] = rng.choice(members, places.sum(), p=popularity[members] / popularity[members].sum())
    user, item = np.divmod(np.unique(user * shape.items + item), shape.items)
    return user, item


def _triples(rng: np.random.Generator, cluster: Any, shape: Shape) -> tuple[Any, Any, Any]:
    """Draw triples: three in five lead to nodes of the item's cluster, a few of which are frequent."""
    head, per_cluster = rng.integers(0, shape.items, shape.triples), shape.nodes // CLUSTERS
    own = cluster[head] * per_cluster + (rng.pareto(1.1, shape.triples) * 20).astype(int) % per_cluster
    tail = np.where(rng.random(shape.triples) < 0.6, own, rng.integers(0, shape.nodes, shape.triples))
    relation = rng.integers(0, shape.relations, shape.triples)
    head, rest = np.divmod(
        np.unique((head * shape.relations + relation) * shape.nodes + tail), shape.relations * shape.nodes
    )
    return head, *np.divmod(rest, shape.nodes)


def _write(path: Path, columns: dict[str, tuple[str, Any]]) -> None:
    """Write tab-separated numbers, each column with a letter before them."""
    texts = {
        name: pc.binary_join_element_wise(prefix, pc.cast(pa.array(nums), pa.string()), "")
        for name, (prefix, nums) in columns.items()
    }
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with path.open("wb") as out:
        out.write(("\t".join(columns) + "\n").encode())
        pyarrow.csv.write_csv(pa.table(texts), out, options)


if __name__ == "__main__":
    main()
