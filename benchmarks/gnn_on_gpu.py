"""The graph network with its defaults on a GPU and on the CPU of the same machine: what a fit takes and reaches.

    python benchmarks/gnn_on_gpu.py DATA/ml-1m-kg [--rounds 3]

Fits on train and scores every user with a test row; full ranking of what a user does not have in train. Wall seconds,
in alternation and after one fit of each that loads libraries; the CPU uses all its cores. "repeats" is whether another
fit of the same seed reaches the same to the digit. Writes benchmarks/results/gnn_on_gpu.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch

from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given
from kgrec.metrics.ranking import ndcg_at
from kgrec.signals.graph.lightgcn import LightGCN
from kgrec.store.load import load

RESULT = Path(__file__).parent / "results" / "gnn_on_gpu.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    split = by_given(GraphSnapshot.from_tables(load("atomic", arguments.data)))
    rounds = [{device: fit(split, device, seed) for device in ("cuda", "cpu")} for seed in range(arguments.rounds + 1)]
    seconds = {device: [of[device][0] for of in rounds[1:]] for device in ("cuda", "cpu")}
    result = {
        "command": f"python benchmarks/gnn_on_gpu.py {arguments.data.name} --rounds {arguments.rounds}",
        "protocol": "fit on train; full ranking of what a user does not have in train; users with a test row",
        "machine": {"gpu": torch.cuda.get_device_name(), "cores": os.cpu_count(), "torch": torch.__version__},
        "settings": LightGCN.Settings().model_dump(),
        "NDCG@20": {device: float(np.mean([of[device][1] for of in rounds[1:]])) for device in seconds},
        "repeats": {device: fit(split, device, 0)[1] == rounds[0][device][1] for device in seconds},
        "fit_and_score_s": seconds,
        "median_s": {device: median(found) for device, found in seconds.items()},
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def fit(split: Split, device: str, seed: int) -> tuple[float, float]:
    """Return wall seconds of one fit and its scores, and its NDCG@20."""
    train, relevant = split.train, split.graph.pairs(split.test)
    users, start = np.flatnonzero(np.diff(relevant.indptr)), time.perf_counter()
    with patch("kgrec.signals.graph.gnn_training.best_device", return_value=device):
        scores = LightGCN().fit(train, {}, seed).scores(users)
    seconds = round(time.perf_counter() - start, 3)
    return seconds, float(ndcg_at(scores, relevant[users], train.interactions[users], 20).mean())


if __name__ == "__main__":
    main()
