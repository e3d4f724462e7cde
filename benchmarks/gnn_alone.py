"""The graph network alone, with its defaults, on one set of benchmark files: what it reaches and what a fit takes.

    python benchmarks/gnn_alone.py DATA/ml-100k

One fit on train in one thread; full ranking of what a user does not have in train, over all users with a test row.
Writes benchmarks/results/gnn_alone.json, with the CPU seconds that RecBole's LightGCN was given beside it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

import kgrec.signals.graph.gnn_training  # noqa: F401 - what a process imports once is no part of a fit
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.metrics.ranking import ndcg_at
from kgrec.metrics.significance import bootstrap_interval
from kgrec.signals.graph.lightgcn import LightGCN
from kgrec.store.load import load

RESULTS = Path(__file__).parent / "results"
SEEDS = 5
LIGHTGCN = {"NDCG@20": 0.4129, "CPU s": 35}
"""LightGCN on ml-100k: the best NDCG@20 of two implementations, and what a fit takes with RecBole."""


def main(folder: str) -> None:
    torch.set_num_threads(1)
    split = by_given(GraphSnapshot.from_tables(load("atomic", folder)))
    train, relevant = split.train, split.graph.pairs(split.test)
    users = np.flatnonzero(np.diff(relevant.indptr))
    seconds, ndcg = [], []
    for seed in range(SEEDS):
        start = time.process_time()
        scores = LightGCN().fit(train, {}, seed).scores(users)
        seconds.append(round(time.process_time() - start, 2))
        ndcg.append(ndcg_at(scores, relevant[users], train.interactions[users], 20))
    result = {
        "command": f"python benchmarks/gnn_alone.py {Path(folder).name}",
        "data": Path(folder).name,
        "settings": LightGCN.Settings().model_dump(),
        "threads": 1,
        "cores": os.cpu_count(),
        "seeds": SEEDS,
        "NDCG@20": float(np.mean(ndcg)),
        "NDCG@20 95 %": bootstrap_interval(np.mean(ndcg, axis=0)),
        "fit_and_score_cpu_s": seconds,
        "LightGCN": LIGHTGCN,
    }
    (RESULTS / "gnn_alone.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
