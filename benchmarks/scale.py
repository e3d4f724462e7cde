"""The whole job on a made-up graph of the shape of Amazon-book with its knowledge graph (KGAT, KDD 2019).

    python benchmarks/scale.py            writes benchmarks/results/scale.json

70,000 users, 25,000 items, 850,000 behaviors and 2.5 million triples of 39 relations: clusters of items that users
prefer and that lead to nodes of their own, among noise. It says how long the job takes and what memory it needs; how
well it does on made-up taste says little.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "scale.json"
N_USERS, N_ITEMS, N_BEHAVIORS = 70_679, 24_915, 900_000
N_NODES, N_RELATIONS, N_TRIPLES = 88_572, 39, 2_557_746
CLUSTERS = 60


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shape = write_files(place / "books")
        steps = {
            "load": run(place, "load", "atomic", "books", "--into", "books.lbug", "--json"),
            "train": run(place, "train", "books.lbug", "--json"),
            "publish": run(place, "publish", "books.lbug", "--json"),
        }
    told = {name: step.pop("told") for name, step in steps.items()}
    result = {
        "command": "python benchmarks/scale.py",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "shape": shape,
        "steps": steps,
        "published": told["publish"]["recommendations"],
        "protocol": told["train"]["protocol"],
        "NDCG@20": {name: values["NDCG@20"] for name, values in told["train"]["metrics"]["models"].items()},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Run a command of kgrec: its wall and CPU seconds, its largest memory, and what it told."""
    start, told = time.perf_counter(), folder / "told.json"
    with told.open("w") as out:
        child = subprocess.Popen([str(Path(sys.executable).with_name("kgrec")), *words], cwd=folder, stdout=out)
        _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"kgrec {' '.join(words)} ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_memory_mb": used.ru_maxrss >> 10,
        "told": json.loads(told.read_text()),
    }


def write_files(folder: Path) -> dict[str, int]:
    """Write the graph as atomic files; return its shape."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, CLUSTERS, N_ITEMS)
    behaviors = _behaviors(rng, cluster)
    time_ = rng.integers(1_000_000_000, 1_100_000_000, len(behaviors))
    _write(folder / "books.inter", "user_id:token\titem_id:token\ttimestamp:float", "u%d\ti%d\t%d", behaviors, time_)
    triples = _triples(rng, cluster)
    _write(folder / "books.kg", "head_id:token\trelation_id:token\ttail_id:token", "e%d\tr%d\tx%d", triples)
    _write(folder / "books.link", "item_id:token\tentity_id:token", "i%d\te%d", np.arange(N_ITEMS), np.arange(N_ITEMS))
    return {"users": N_USERS, "items": N_ITEMS, "behaviors": len(behaviors), "triples": len(triples)}


def _behaviors(rng: np.random.Generator, cluster: Any) -> Any:
    """Draw what users do, [n, 2]: mostly popular items of the few clusters that each prefers."""
    popularity = rng.zipf(1.6, N_ITEMS).clip(max=2_000) ** 0.7
    taste = rng.dirichlet(np.full(CLUSTERS, 0.08), N_USERS).cumsum(axis=1)
    activity = np.maximum(8, rng.lognormal(np.log(N_BEHAVIORS / N_USERS) - 0.35, 0.85, N_USERS))
    user = np.repeat(np.arange(N_USERS), (activity * N_BEHAVIORS / activity.sum()).astype(int).clip(5))
    wanted = (taste[user] < rng.random(len(user))[:, None]).sum(axis=1).clip(max=CLUSTERS - 1)
    noise = rng.random(len(user)) < 0.2
    wanted[noise] = rng.integers(0, CLUSTERS, noise.sum())
    item = np.empty(len(user), np.int64)
    for number in range(CLUSTERS):
        members, places = np.flatnonzero(cluster == number), wanted == number
        item[places] = rng.choice(members, places.sum(), p=popularity[members] / popularity[members].sum())
    return np.unique(np.stack([user, item], axis=1), axis=0)


def _triples(rng: np.random.Generator, cluster: Any) -> Any:
    """Draw triples, [n, 3]: three in five lead to nodes of the item's cluster, a few of which are frequent."""
    head, per_cluster = rng.integers(0, N_ITEMS, N_TRIPLES), N_NODES // CLUSTERS
    own = cluster[head] * per_cluster + (rng.pareto(1.1, N_TRIPLES) * 20).astype(int) % per_cluster
    tail = np.where(rng.random(N_TRIPLES) < 0.6, own, rng.integers(0, N_NODES, N_TRIPLES))
    return np.unique(np.stack([head, rng.integers(0, N_RELATIONS, N_TRIPLES), tail], axis=1), axis=0)


def _write(path: Path, header: str, line: str, *columns: Any) -> None:
    np.savetxt(path, np.column_stack(columns), fmt=line, header=header, comments="")


if __name__ == "__main__":
    main()
