"""Recommendations by a history, for somebody who is no user of the graph, on MovieLens 100K with defaults.

Beside them: what fold-in gives the same people once they are users, and what it costs.

python benchmarks/anonymous.py            writes benchmarks/results/anonymous.json
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

import kgrec
from kgrec import GraphTables, Recommender

RESULT = Path(__file__).parent / "results" / "anonymous.json"
N_PEOPLE = 20
K = 10
TIMES = 10
"""Calls for each of these people that are timed; one before them, which makes what later calls use, is timed apart."""

FOLDED = 5
"""People who are folded in, one at a time."""


def main() -> None:
    tables = kgrec.load("movielens")
    users = np.array(tables.nodes["User"].column("user_id").to_pylist())
    people = np.random.default_rng(0).choice(users, N_PEOPLE, replace=False).tolist()
    model = Recommender().fit(without(tables, people))
    histories = [history_of(tables, user) for user in people]
    first = seconds(lambda: model.recommend(history=histories[0], k=K))
    calls = [seconds(lambda h=h: model.recommend(history=h, k=K)) for h in histories for _ in range(TIMES)]
    known = [seconds(lambda u=u: model.recommend([u], k=K)) for u in users[:50] if u not in people]
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    result = {
        "command": "python benchmarks/anonymous.py",
        "machine": {**machine, "load": round(os.getloadavg()[0], 1)},
        "history_ms": {"first": milliseconds([first]), "warm": milliseconds(calls)},
        "known_user_ms": milliseconds(known),
        "fold_in": beside_fold_in(model, tables, people[:FOLDED]),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def without(tables: GraphTables, users: list[str]) -> GraphTables:
    """The graph without some users and what they did."""
    gone = pa.array(users)
    edges = {
        key: table.filter(pc.invert(pc.is_in(table.column("src"), value_set=gone))) if key[0] == "User" else table
        for key, table in tables.edges.items()
    }
    kept = tables.nodes["User"].filter(pc.invert(pc.is_in(tables.nodes["User"].column("user_id"), value_set=gone)))
    return replace(tables, nodes={**tables.nodes, "User": kept}, edges=edges, gaps={})


def history_of(tables: GraphTables, user: str) -> pd.DataFrame:
    rated = tables.edges["User", "RATED", "Movie"]
    mine = rated.filter(pc.equal(rated.column("src"), user)).to_pandas()
    return mine.rename(columns={"dst": "item_id", "rating": "weight"})[["item_id", "weight", "timestamp"]]


def seconds(call: Any) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def milliseconds(calls: list[tuple[float, float]]) -> dict[str, float]:
    wall, cpu = (1000 * np.array(column) for column in zip(*calls, strict=True))
    return {
        "wall_median": round(float(np.median(wall)), 2),
        "wall_p95": round(float(np.quantile(wall, 0.95)), 2),
        "cpu_median": round(float(np.median(cpu)), 2),
        "cpu_p95": round(float(np.quantile(cpu, 0.95)), 2),
    }


def beside_fold_in(model: Recommender, tables: GraphTables, people: list[str]) -> dict[str, Any]:
    """Fold in people one at a time, and compare lists and scores with those by their histories."""
    overlap, correlation, cpu = [], [], []
    for user in people:
        now = without(tables, [u for u in all_out(model, tables) if u != user])
        start = time.process_time()
        grown = model.fold_in(now)
        cpu.append(time.process_time() - start)
        listed = [grown.recommend([user], k=10_000), model.recommend(history=history_of(tables, user), k=10_000)]
        both = listed[0].merge(listed[1], on="item_id", suffixes=("", "_new"))
        correlation.append(float(both["score"].corr(both["score_new"])))
        overlap.append(len(set(listed[0]["item_id"][:K]) & set(listed[1]["item_id"][:K])) / K)
    return {
        "people": len(people),
        "fold_in_cpu_s": round(float(np.median(cpu)), 2),
        f"overlap_at_{K}": round(float(np.mean(overlap)), 3),
        "score_correlation": round(float(np.mean(correlation)), 4),
    }


def all_out(model: Recommender, tables: GraphTables) -> list[str]:
    """Users of the tables whom the model was not fitted on."""
    known = set(model._model.train.users.ids)
    return [user for user in tables.nodes["User"].column("user_id").to_pylist() if user not in known]


if __name__ == "__main__":
    main()
