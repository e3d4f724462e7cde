"""Forget a user and an item of ml-1m-kg: seconds, and what a search of every byte finds afterwards.

    python benchmarks/forget.py DATA

DATA is a folder that holds the folder ml-1m-kg. The graph is embedded, with one run of all signals, its search bounded
to two minutes, published. The most active user and the most popular item get ids that no other bytes are like. Texts
that named a forgotten item are encoded anew, which is most of what forgetting an item takes. Beside wall-clock seconds
there are those of the processor, and the load average, since other work may share the machine. Results go to
benchmarks/results/forget.json.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.config import Config
from kgrec.data.tables import GraphTables
from kgrec.jobs.forget.job import Role, forget
from kgrec.jobs.train import publish_run, train_run
from kgrec.store import open_graph
from kgrec.store.load import check_source

RESULTS = Path(__file__).parent / "results" / "forget.json"
CANARIES = {"user": "canary-user-5f1c9e2d7a", "item": "canary-item-8b3d6a1c4e"}


def renamed(column: pa.ChunkedArray, old: str, new: str) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(column, old), new, column)


def with_canaries(tables: GraphTables) -> GraphTables:
    """Rename the most active user and the most popular item."""
    roles = tables.schema.roles
    for role, labels, end in (("user", roles.users, "src"), ("item", roles.items, "dst")):
        [label] = labels
        key = tables.schema.nodes[label].key
        [behavior] = [t for t in tables.edges if tables.schema.is_behavior(t)]
        counts = tables.edges[behavior].column(end).value_counts()
        [most] = pc.top_k_unstable(counts.field("counts"), 1).to_pylist()
        old, new = counts.field("values")[most].as_py(), CANARIES[role]
        nodes = tables.nodes[label]
        nodes = nodes.set_column(nodes.column_names.index(key), key, renamed(nodes.column(key), old, new))
        edges = dict(tables.edges)
        for edge_type, table in tables.edges.items():
            for i, side in ((0, "src"), (2, "dst")):
                if edge_type[i] == label:
                    column = renamed(table.column(side), old, new)
                    table = table.set_column(table.column_names.index(side), side, column)
            edges[edge_type] = table
        tables = replace(tables, nodes={**tables.nodes, label: nodes}, edges=edges)
    return tables


def holding(folder: Path, id_: str) -> int:
    """Count the files that hold an id, in their bytes or in a column."""
    n = 0
    for file in (path for path in folder.rglob("*") if path.is_file()):
        columns = pq.read_table(file).columns if file.suffix == ".parquet" else []
        texts = [c for c in columns if pa.types.is_string(c.type) or pa.types.is_large_string(c.type)]
        in_column = any(pc.any(pc.equal(text, id_)).as_py() for text in texts)
        n += bool(in_column or id_.encode() in file.read_bytes())
    return n


def measured(graph: str, folder: Path, role: Role) -> dict[str, Any]:
    before, start, used = holding(folder, CANARIES[role]), time.perf_counter(), time.process_time()
    receipt = forget(graph, role, CANARIES[role])
    return {
        "load_average": round(os.getloadavg()[0], 1),
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "files_that_held_it": before,
        "files_that_hold_it": holding(folder, CANARIES[role]),
        "removed": receipt["removed"],
        "searched": receipt["searched"],
    }


def main(data: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        graph = str(folder / "films.lbug")
        os.environ["KGREC_CACHE"] = str(folder / "cache")
        tables = with_canaries(check_source("atomic", str(data / "ml-1m-kg")))
        with open_graph(graph, create=True) as store:
            store.write(tables)
        run = train_run(graph, Config(budget="2min"), k=20)
        publish_run(graph)
        result = {role: measured(graph, folder, role) for role in CANARIES}
    result["machine"] = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    result["graph"] = {**tables.counts(), "run": {name: run.info["summary"][name] for name in ("users", "items")}}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
