"""kgrec with nothing but defaults on the benchmark files, several seeds each, against what has been published.

    python benchmarks/accuracy.py DATA [--only NAMES] [--seeds 5]

DATA is a folder with one folder of atomic files for each data set below; one that is missing is passed over. Writes
benchmarks/results/accuracy-NAME.json, which is what `kgrec benchmark` writes; benchmarks/make_tables.py makes the
table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIT_ON = {
    "lastfm-kg": "train",
    "ml-100k": "train",
    "ml-1m-kg": "train",
    "amazon-beauty-seq": "train+valid",
    "amazon-art-office/warm": "train+valid",
    "tiktok": "train",
    "douban-book-social": "train",
    "cloth-sport": "train",
    "prescriptions": "train",
}
LENGTHS = {"prescriptions": "5,10,20"}
"""Lengths of the lists that are measured, if not 10 and 20."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", default=",".join(FIT_ON), help="names of data sets, with commas")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        if (arguments.data / name).is_dir():
            run(arguments.data / name, FIT_ON[name], arguments.seeds, name.replace("/", "-"))
        else:
            print(f"{name}: no folder of that name in DATA, passed over", file=sys.stderr)


def run(folder: Path, fit_on: str, seeds: int, name: str) -> None:
    """Run `kgrec benchmark` in a process of its own, whose peak memory is then this data set's alone."""
    out = ROOT / "build" / "accuracy" / name
    kgrec = str(Path(sys.executable).with_name("kgrec"))
    options = ["--fit-on", fit_on, "--k", LENGTHS.get(name, "10,20"), "--seeds", str(seeds), "--out", str(out)]
    subprocess.run([kgrec, "benchmark", str(folder), *options], check=True)
    shutil.copy(out / "metrics.json", RESULTS / f"accuracy-{name}.json")
    mean = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["mean"]["hybrid"]
    print(name, {metric: round(value, 4) for metric, value in mean.items()}, flush=True)


if __name__ == "__main__":
    main()
