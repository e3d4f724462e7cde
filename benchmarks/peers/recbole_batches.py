"""CPU seconds of RecBole's LightGCN for a mini-batch of 2,048, and so for an epoch: recbole_batches.py PAIRS.npy."""

from __future__ import annotations

import json
import statistics
import sys
from importlib.metadata import version
from itertools import islice

import numpy as np
import torch
from peer_recbole import prepare
from recbole.utils import get_model
from task import cpu_seconds, to_csr

N_BATCHES = 12
SETTINGS = {"embedding_size": 64, "n_layers": 2, "train_batch_size": 2048}


def main() -> None:
    rows = np.load(sys.argv[1])
    matrix = to_csr(rows, tuple(rows.max(axis=0) + 1))
    config, loader, _ = prepare("LightGCN", matrix, to_csr(rows[:1], matrix.shape), SETTINGS)
    model = get_model("LightGCN")(config, loader._dataset)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    spent = []
    start = cpu_seconds()
    for batch in islice(loader, N_BATCHES + 1):
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
        spent.append(cpu_seconds() - start)
        start = cpu_seconds()
    seconds = spent[1:]  # the first warms up
    result = {
        "version": version("recbole"),
        "batches": len(loader),
        "batch_cpu_s": round(statistics.mean(seconds), 3),
        "batch_cpu_s_all": [round(second, 3) for second in seconds],
        "epoch_cpu_s": round(statistics.mean(seconds) * len(loader)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
