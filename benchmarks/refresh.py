"""What a nightly refresh costs: 1 % new behaviours, nothing new, publishing 1.2M recommendations, rolling back.

python benchmarks/refresh.py ../shared/data/ml-1m-kg [WORK]     writes benchmarks/results/refresh.json

A stage whose result is in the folder WORK already is not run again: the two full builds take minutes.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kgrec.config import Config
from kgrec.jobs import publish_run, train_run
from kgrec.loading import load
from kgrec.store import open_store

RESULT = Path(__file__).parent / "results" / "refresh.json"
SHARE = 0.01
"""Of the behaviours to learn from, how many are new."""


def main(source: Path, work: Path) -> None:
    def stage(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = work / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(run()), encoding="utf-8")
        return dict(json.loads(path.read_text(encoding="utf-8")))

    work.mkdir(parents=True, exist_ok=True)
    stage("before", lambda: build(without_newest(source, work / "data-before"), work / "before.lbug"))
    rebuilt = stage("rebuilt", lambda: build(source, work / "rebuilt.lbug"))
    result = {
        "command": "python benchmarks/refresh.py ml-1m-kg",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "new_behaviours": SHARE,
        "full_rebuild": rebuilt,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def without_newest(source: Path, folder: Path) -> Path:
    """Copy atomic files, less a random share of the behaviours to learn from: the data set has no times."""
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=lambda _, names: [n for n in names if n == "rdf"])
    [path] = folder.glob("*.train.inter")
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    kept = np.random.default_rng(0).random(len(rows)) >= SHARE
    path.write_text("\n".join([head, *np.array(rows, dtype=object)[kept]]) + "\n", encoding="utf-8")
    return folder


def build(source: Path, graph: Path) -> dict[str, Any]:
    """Load, train, measure and publish from nothing; the time of other work on the machine is in `wall_s`."""
    wall, cpu = time.perf_counter(), time.process_time()
    with open_store(graph) as store:
        load("atomic", source, into=store)
    run = train_run(str(graph), Config())
    publish_run(str(graph), run.name)
    return {**spent(wall, cpu), "ndcg@20": run.info["metrics"]["models"]["hybrid"]["NDCG@20"]}


def spent(wall: float, cpu: float) -> dict[str, float]:
    return {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else temporary))
