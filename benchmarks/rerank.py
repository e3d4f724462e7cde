"""What re-ranking is worth on public data: a second stage beside the first stage that it reads the best items of.

    python benchmarks/rerank.py DATA [--set signals=… …] [--out benchmarks/results/rerank.json]

DATA is a folder of atomic files with texts, such as amazon-art-office/cold. Learns from train with the settings given
and otherwise defaults, `rerank.method=lora` among them; wants a GPU. The gain is the mean difference of a user's metric
between the two stages on the same test rows, with its 95 % interval by bootstrap over users.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.evaluation.evaluate import FIRST, measure
from kgrec.evaluation.measured import Measured
from kgrec.hybrid.model import HYBRID
from kgrec.jobs.benchmark import PROTOCOL
from kgrec.metrics.significance import paired_test
from kgrec.recommender import Recommender
from kgrec.store.load import load

RESULT = Path(__file__).parent / "results" / "rerank.json"
METRICS = ("NDCG@10", "HR@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as for kgrec train")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    start, config = time.perf_counter(), Config.read(None, ["rerank.method=lora", *options.settings])
    split = by_given(GraphSnapshot.from_tables(load("atomic", options.data)))
    trained = Recommender(config).fit(split, fit_on="train")._trained
    fitted = time.perf_counter()
    measured = measure(trained.model, split, [10]) if trained.model.second else {}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    name = "/".join(options.data.parts[-2:])
    result = {
        "command": " ".join(["python benchmarks/rerank.py", name, *(f"--set {s}" for s in options.settings)]),
        "protocol": f"fit on train; settings and weight chosen on a cut of train; {PROTOCOL}",
        "machine": {"gpu": gpu, "cores": os.cpu_count(), "torch": torch.__version__},
        "signals": list(trained.model.signals),
        "rerank": trained.choices["rerank"],
        "domains": {domain: of_domain(found, config.seed) for domain, found in measured.items()},
        "seconds": {**trained.seconds, "rank and measure": round(time.perf_counter() - fitted, 1)},
        "total_seconds": round(time.perf_counter() - start, 1),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def of_domain(found: Measured, seed: int) -> dict[str, Any]:
    facts: dict[str, Any] = {"questions": len(found.user_num)}
    for metric in METRICS:
        second, first = (found.evaluations[name].per_user[metric] for name in (HYBRID, FIRST))
        test = paired_test(second, first, seed)
        facts[metric] = {
            "first stage": float(first.mean()),
            "re-ranked": float(second.mean()),
            "gain": [test.difference, test.low, test.high],
        }
    return facts


if __name__ == "__main__":
    main()
