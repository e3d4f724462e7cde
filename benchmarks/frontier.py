"""Accuracy against CPU seconds: kgrec with each effort beside other packages, on three data sets.

    python benchmarks/frontier.py DATA [--data NAMES] [--only SYSTEMS]

DATA is a folder with one folder of atomic files for each data set; one that is missing is passed over. Each system does
the whole job in a process of its own, in one thread: import, load, choose settings on the validation split, fit, list
the 20 best items of every test user. Its CPU seconds are those of that process; kgrec starts without cached text
vectors. All lists are measured by kgrec's evaluator. A system that needs more than LIMIT seconds is ended.

Writes benchmarks/results/frontier.json, where a system that was not run keeps its entry, and draws
docs/reference/frontier.svg. Drawing needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from frontier_picture import draw
from peers.run import HERE as PEERS
from peers.run import RESULTS, ROOT, Question, environment, measured, threads, write_task

from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.jobs.benchmark import PROTOCOL
from kgrec.store.load import load

DATA = ("lastfm-kg", "ml-100k", "ml-1m-kg")
SYSTEMS = {
    "implicit": ("implicit", "iALS 64, one setting"),
    "implicit-search": ("implicit", "iALS, the best of 20 random settings"),
    "rectools-ease": ("rectools", "EASE"),
    "cornac-bpr": ("cornac", "BPR 64"),
    "recbole-ease": ("recbole", "EASE, defaults"),
    "recbole-lightgcn": ("recbole", "LightGCN, defaults"),
    "kgrec-fast": ("kgrec", "fast"),
    "kgrec-balanced": ("kgrec", "balanced"),
    "kgrec-best": ("kgrec", "best"),
}
"""System → package and model; `MODELS` of benchmarks/peers/peer_PACKAGE.py has the settings."""
KEPT = ("NDCG@10", "NDCG@20", "Recall@10", "Recall@20")
FACTS = ("version", "settings", "settings_tried", "stages_cpu_s", "peak_memory_mb")
LIMIT = 1_200
RESULT = RESULTS / "frontier.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_folder", metavar="DATA", type=Path)
    parser.add_argument("--data", default=",".join(DATA), help="names of data sets, with commas")
    parser.add_argument("--only", default=",".join(SYSTEMS), help=f"with commas: {', '.join(SYSTEMS)}")
    options = parser.parse_args()
    if not find_spec("matplotlib"):
        parser.error("matplotlib, which draws the picture, is not installed. Run: pip install matplotlib")
    if unknown := set(options.only.split(",")) - set(SYSTEMS):
        parser.error(f"unknown systems: {', '.join(sorted(unknown))}. Expected some of {', '.join(SYSTEMS)}")
    for name in options.data.split(","):
        if (options.data_folder / name).is_dir():
            run(options.data_folder / name, options.only.split(","))
        else:
            print(f"{name}: no folder of that name in DATA, passed over", file=sys.stderr)
    if RESULT.exists():
        draw(json.loads(RESULT.read_text(encoding="utf-8")), ROOT / "docs" / "reference" / "frontier.svg")


def run(folder: Path, systems: list[str]) -> None:
    """Measure systems on one data set; each is written when it is done."""
    question = Question.of(by_given(GraphSnapshot.from_tables(load("atomic", folder))), "train")
    with tempfile.TemporaryDirectory() as task:
        write_task(Path(task), question, folder)
        for system in systems:
            package, model = SYSTEMS[system]
            source = folder.resolve() if package == "kgrec" else Path(task)
            entry = {"package": package, "model": model, **attempt(package, model, source, question)}
            write(folder.name, system, entry, len(question.user_num))
            print(folder.name, system, entry["cpu_s"], entry.get("error") or entry["metrics"], flush=True)


def attempt(package: str, model: str, source: Path, question: Question) -> dict[str, Any]:
    """Return the CPU seconds and the metrics of one system, or why it has none."""
    python = python_of(package)
    load_before, before = os.getloadavg()[0], cpu_of_children()
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        done = subprocess.run(
            [python, "-W", "ignore", PEERS.resolve() / f"peer_{package}.py", source, out, model],
            cwd=out,
            env=os.environ | threads() | {"KGREC_CACHE": str(out / "cache")},
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_CPU, (LIMIT, LIMIT)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        cost = {"cpu_s": round(cpu_of_children() - before, 1), "load_before": round(load_before, 1)}
        if done.returncode:
            return cost | {"error": why(done)}
        facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))
        found = measured(np.load(out / "lists.npy").astype(np.int64), question)
    about = {name: facts[name] for name in FACTS if name in facts}
    metrics = {name: found["metrics"][name] for name in KEPT}
    return cost | about | {"metrics": metrics, "interval": found["intervals"]["NDCG@20"]}


def python_of(package: str) -> str:
    """Return the Python of a package's environment; kgrec runs in this one."""
    return sys.executable if package == "kgrec" else str(environment(package))


def why(done: subprocess.CompletedProcess[str]) -> str:
    """Return why a process failed."""
    if done.returncode < 0:
        return f"not done after {LIMIT:,} CPU s"
    return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1].replace(str(ROOT), ".")


def cpu_of_children() -> float:
    """Return the CPU seconds of all processes waited for, in user and system mode."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write(data: str, system: str, entry: Mapping[str, Any], users: int) -> None:
    """Write one entry into the result."""
    before = json.loads(RESULT.read_text(encoding="utf-8"))["data"] if RESULT.exists() else {}
    systems = {**before.get(data, {}).get("systems", {}), system: entry}
    of_data = {"users": users, "systems": {name: systems[name] for name in SYSTEMS if name in systems}}
    both = {**before, data: of_data}
    result = {
        "command": "python benchmarks/frontier.py DATA",
        "protocol": f"fit on train; {PROTOCOL}",
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "threads": 1,
        "cpu_limit_s": LIMIT,
        "data": {name: both[name] for name in DATA if name in both},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
