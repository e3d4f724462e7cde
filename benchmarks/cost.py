"""Where the CPU time of a fit with defaults goes: by stage, signal and trial, and what each trial gained.

    python benchmarks/cost.py DATA [--only NAMES]

DATA is a folder with one folder of atomic files for each data set of benchmarks/accuracy.py; one that is missing is
passed over. One fit with seed 0 in one thread, which `make profile` sets. Writes benchmarks/results/cost-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accuracy import FIT_ON, RESULTS

from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.recommender import Recommender
from kgrec.store.load import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default=",".join(FIT_ON), help="names of data sets, with commas")
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        if (arguments.data / name).is_dir():
            run(arguments.data, name)
        else:
            print(f"{name}: no folder of that name in DATA, passed over", file=sys.stderr)


def run(data: Path, name: str) -> None:
    """Fit once and write what it cost."""
    start = time.process_time()
    split = by_given(GraphSnapshot.from_tables(load("atomic", data / name)))
    loading = round(time.process_time() - start, 1)
    choices = Recommender(seed=0).fit(split, fit_on=FIT_ON[name])._trained.choices
    signals = choices["signals"]
    result = {
        "command": f"python benchmarks/cost.py DATA --only {name}",
        "threads": 1,
        "cpu_seconds": {"load": loading, **choices["cpu_seconds"]},
        "signals": {signal: cost(of["tried"]) for signal, of in signals.items()},
        "worth": {group: of["worth"] for group, of in choices.get("race", {}).get("groups", {}).items()},
    }
    path = RESULTS / f"cost-{name.replace('/', '-')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(name, result["cpu_seconds"], flush=True)


def cost(tried: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the CPU seconds of a signal, and of each trial its changes, its seconds and its gain over the first."""
    first = tried[0]
    trials = [
        {
            "changed": {name: value for name, value in of["settings"].items() if value != first["settings"][name]},
            "cpu_seconds": of["cpu_seconds"],
            "gain": round(of["metric_value"] - first["metric_value"], 5),
            "low_fidelity": of.get("low_fidelity", False),
        }
        for of in tried
    ]
    return {
        "cpu_seconds": round(sum(of["cpu_seconds"] for of in tried), 2),
        "metric": first["metric_value"],
        "trials": trials,
    }


if __name__ == "__main__":
    main()
