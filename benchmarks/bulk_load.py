"""Bulk load and snapshot of a graph of one million behaviors, beside the engine's own COPY of the same Arrow tables.

    python benchmarks/bulk_load.py

Both write the same tables into a fresh file with the same DDL, in turn, in one process. kgrec's time includes the
check of every id, value and key. Results go to benchmarks/results/bulk_load.json.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ladybug
import numpy as np
import pyarrow as pa

from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.store.ladybug.engine import open_file
from kgrec.store.ladybug.store import LadybugStore

RESULTS = Path(__file__).parent / "results" / "bulk_load.json"
ROUNDS = 5
N_USERS, N_ITEMS, N_ATTRIBUTES = 50_000, 30_000, 40_000
N_BEHAVIORS, N_ATTRIBUTE_EDGES = 1_000_000, 300_000
SCHEMA = Schema.parse(
    """
    name: bulk
    nodes:
      User: {key: user_id}
      Item: {key: item_id, name: title, properties: {title: string}}
      Attribute: {key: attribute_id}
    relationships:
      RATED: {from: User, to: Item, properties: {rating: float, timestamp: float}}
      HAS: {from: Item, to: Attribute}
    roles: {users: User, items: Item, behaviours: {RATED: {weight: rating, time: timestamp}}}
    """
)


def make_tables() -> GraphTables:
    rng = np.random.default_rng(0)
    users, items, attributes = (
        np.array([f"{kind}{i}" for i in range(n)])
        for kind, n in (("user", N_USERS), ("item", N_ITEMS), ("attribute", N_ATTRIBUTES))
    )
    nodes = {
        "User": pa.table({"user_id": users}),
        "Item": pa.table({"item_id": items, "title": items}),
        "Attribute": pa.table({"attribute_id": attributes}),
    }
    rated = {
        "src": users[rng.integers(0, N_USERS, N_BEHAVIORS)],
        "dst": items[rng.integers(0, N_ITEMS, N_BEHAVIORS)],
        "rating": rng.integers(1, 6, N_BEHAVIORS).astype(float),
        "timestamp": 1e9 + rng.permutation(N_BEHAVIORS),
    }
    pairs = rng.choice(N_ITEMS * N_ATTRIBUTES, N_ATTRIBUTE_EDGES, replace=False)
    has = {"src": items[pairs // N_ATTRIBUTES], "dst": attributes[pairs % N_ATTRIBUTES]}
    edges = {("User", "RATED", "Item"): pa.table(rated), ("Item", "HAS", "Attribute"): pa.table(has)}
    return GraphTables(SCHEMA, nodes, edges)


def raw_copy(tables: GraphTables, path: Path) -> None:
    with open_file(path, read_only=False) as database, ladybug.Connection(database) as connection:
        connection.execute("CREATE NODE TABLE User(user_id STRING PRIMARY KEY)")
        connection.execute("CREATE NODE TABLE Item(item_id STRING PRIMARY KEY, title STRING)")
        connection.execute("CREATE NODE TABLE Attribute(attribute_id STRING PRIMARY KEY)")
        connection.execute("CREATE REL TABLE RATED(FROM User TO Item, rating DOUBLE, timestamp DOUBLE)")
        connection.execute("CREATE REL TABLE HAS(FROM Item TO Attribute)")
        for label, table in tables.nodes.items():
            connection.execute(f"COPY {label} FROM $rows", {"rows": table})
        for (_, type_, _), table in tables.edges.items():
            connection.execute(f"COPY {type_} FROM $rows", {"rows": table})


def kgrec_write(tables: GraphTables, path: Path) -> None:
    with LadybugStore(path) as store:
        store.write(tables)


def kgrec_snapshot(path: Path) -> None:
    with LadybugStore(path, read_only=True) as store:
        snapshot = store.snapshot()
    assert len(snapshot.behaviors) == N_BEHAVIORS


def seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    tables = make_tables()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: dict[str, list[tuple[float, float]]] = {"raw_copy": [], "kgrec_write": [], "kgrec_snapshot": []}
    with tempfile.TemporaryDirectory() as place:
        for turn in range(ROUNDS):
            raw, graph = Path(place) / f"raw{turn}.lbug", Path(place) / f"graph{turn}.lbug"
            times["raw_copy"].append(seconds(lambda raw=raw: raw_copy(tables, raw)))
            times["kgrec_write"].append(seconds(lambda graph=graph: kgrec_write(tables, graph)))
            times["kgrec_snapshot"].append(seconds(lambda graph=graph: kgrec_snapshot(graph)))
            print({name: f"{rounds[-1][0]:.2f} s" for name, rounds in times.items()})
    report(times, before)


def report(times: dict[str, list[tuple[float, float]]], before: int) -> None:
    medians = {
        name: {
            "wall_s": round(statistics.median(wall for wall, _ in rounds), 3),
            "cpu_s": round(statistics.median(cpu for _, cpu in rounds), 3),
            "wall_s_all": [round(wall, 3) for wall, _ in rounds],
        }
        for name, rounds in times.items()
    }
    result = {
        "command": "python benchmarks/bulk_load.py",
        "graph": f"{N_USERS} users, {N_ITEMS} items, {N_BEHAVIORS} behaviors, {N_ATTRIBUTE_EDGES} attribute edges",
        "rounds": ROUNDS,
        "medians": medians,
        "write_to_raw_wall": round(medians["kgrec_write"]["wall_s"] / medians["raw_copy"]["wall_s"], 3),
        "write_to_raw_cpu": round(medians["kgrec_write"]["cpu_s"] / medians["raw_copy"]["cpu_s"], 3),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "memory_before_mb": before // 1024,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, ladybug {ladybug.__version__}",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
