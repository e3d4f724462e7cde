"""An epoch of RecBole's LightGCN beside one of kgrec's graph network, in CPU seconds of one thread.

    python benchmarks/peers/lightgcn_epoch.py

Both learn from the same seeded power-law graph of 50,000 users, 30,000 items and 1.5 million behaviors; an epoch has
seen every behavior (RecBole) or every user (kgrec) once. RecBole propagates over the whole graph for each of its 733
mini-batches of 2,048, so that an epoch takes more than ten minutes: 12 of them are timed, and the epoch is their mean
times 733. Results go to benchmarks/results/lightgcn_epoch.json.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from run import HERE, RESULTS, environment, threads

from kgrec import GraphSnapshot, GraphTables, Schema
from kgrec.data.table_checks import check
from kgrec.signals.graph.gnn_training import train_network
from kgrec.signals.graph.lightgcn import LightGCNSettings
from kgrec.signals.sampled_softmax import batch_size

N_USERS, N_ITEMS, N_BEHAVIORS = 50_000, 30_000, 1_500_000
DIM, LAYERS = 64, 2


def main() -> None:
    pairs = power_law()
    result = {
        "command": "python benchmarks/peers/lightgcn_epoch.py",
        "graph": f"{N_USERS} users, {N_ITEMS} items, {N_BEHAVIORS} behaviors, power law, seed 0",
        "dim": DIM,
        "layers": LAYERS,
        "threads": 1,
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "kgrec": kgrec_epoch(pairs),
        "recbole": recbole_epoch(pairs),
    }
    (RESULTS / "lightgcn_epoch.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def power_law(seed: int = 0) -> npt.NDArray[np.int64]:
    """Return distinct (user, item) pairs, int64 [N_BEHAVIORS, 2]; the r-th of users or items has ~ (r + 10) ^ -0.8."""
    rng = np.random.default_rng(seed)
    found = np.empty(0, np.int64)
    while len(found) < N_BEHAVIORS:
        users, items = (rng.permutation(n)[draw(rng, n, N_BEHAVIORS)] for n in (N_USERS, N_ITEMS))
        found = np.unique(np.concatenate([found, users * N_ITEMS + items]))
    kept = rng.choice(found, N_BEHAVIORS, replace=False)
    return np.stack([kept // N_ITEMS, kept % N_ITEMS], axis=1)


def draw(rng: np.random.Generator, n: int, size: int) -> npt.NDArray[np.int64]:
    """Draw ranks below n by a power law, int64 [size]."""
    weight = (np.arange(n) + 10.0) ** -0.8
    return rng.choice(n, size, p=weight / weight.sum())


def recbole_epoch(pairs: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Time RecBole in its own environment."""
    with tempfile.TemporaryDirectory() as place:
        np.save(Path(place) / "pairs.npy", pairs)
        done = subprocess.run(
            [environment("recbole"), "-W", "ignore", HERE.resolve() / "recbole_batches.py", "pairs.npy"],
            cwd=place,
            env=os.environ | threads(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def kgrec_epoch(pairs: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Time one epoch of kgrec's graph network, all steps in which every user is seen once, and what comes before it."""
    torch.set_num_threads(1)
    train = snapshot(pairs)
    steps = math.ceil(train.n_users / batch_size(train.n_items))
    settings = LightGCNSettings(dim=DIM, layers=LAYERS, kg_weight=0, steps=steps)
    start = time.process_time()
    train_network(train, np.empty(0, np.int64), np.empty((0, DIM), np.float32), settings, seed=0)
    return {"version": version("kgrec"), "steps": steps, "epoch_cpu_s": round(time.process_time() - start, 1)}


def snapshot(pairs: npt.NDArray[np.int64]) -> GraphSnapshot:
    """Return a graph of these (user, item) pairs, int64 [n, 2], and nothing else."""
    schema = Schema.from_dict(
        {
            "name": "pairs",
            "nodes": {"User": {"key": "user_id"}, "Item": {"key": "item_id"}},
            "relationships": {"CHOSE": {"from": "User", "to": "Item"}},
            "roles": {"users": "User", "items": "Item", "behaviours": {"CHOSE": {}}},
        }
    )
    users, items = pairs.astype(str).T
    nodes = {"User": pa.table({"user_id": np.unique(users)}), "Item": pa.table({"item_id": np.unique(items)})}
    chose = {("User", "CHOSE", "Item"): pa.table({"src": users, "dst": items})}
    return GraphSnapshot.from_tables(check(GraphTables(schema, nodes, chose)))


if __name__ == "__main__":
    main()
