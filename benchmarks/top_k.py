"""Exact top-20 of every user beside a bare torch matmul + topk of the same batches.

    python benchmarks/top_k.py [--users 50000] [--items 30000] [--dim 64] [--out benchmarks/results/top_k.json]

Both give every user's 20 best items by inner product, in batches of the same size; `rank_all` also leaves out what a
user has seen. Rounds alternate, which is first alternates too; medians over rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from side_by_side import Seconds, alternate, medians, rounds_of, write

from kgrec._util.types import FloatArray, IntArray
from kgrec.ranking.top_k import BATCH_BYTES, rank_all

K = 20
SEEN_PER_USER = 30


def main() -> None:
    options = parse()
    users, items, seen = make_data(options.users, options.items, options.dim)
    batch_size = BATCH_BYTES // (4 * options.items)
    sides = {
        "kgrec": lambda: ranked(users, items, seen, batch_size),
        "torch": lambda: bare(users, items, batch_size),
    }
    for side in sides.values():  # the first call of each loads libraries
        side()
    seconds = alternate(sides, options.rounds)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "users": options.users,
        "items": options.items,
        "dim": options.dim,
        "k": K,
        "seen_per_user": SEEN_PER_USER,
        "batch_size": batch_size,
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        **summary(seconds),
    }
    write(result, options.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/top_k.json"))
    return parser.parse_args()


def make_data(n_users: int, n_items: int, dim: int) -> tuple[FloatArray, FloatArray, sp.csr_matrix]:
    rng = np.random.default_rng(0)
    users = rng.standard_normal((n_users, dim), dtype=np.float32)
    items = rng.standard_normal((n_items, dim), dtype=np.float32)
    row = np.repeat(np.arange(n_users), SEEN_PER_USER)
    column = rng.integers(n_items, size=len(row))
    return users, items, sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(n_users, n_items))


def ranked(users: FloatArray, items: FloatArray, seen: sp.csr_matrix, batch_size: int) -> None:
    def scores(user_nums: IntArray) -> FloatArray:
        return (torch.from_numpy(users[user_nums]) @ torch.from_numpy(items).T).numpy()

    rank_all(scores, np.arange(len(users)), K, seen, batch_size=batch_size)


def bare(users: FloatArray, items: FloatArray, batch_size: int) -> None:
    user_rows, item_columns = torch.from_numpy(users), torch.from_numpy(items).T
    torch.cat([torch.topk(batch @ item_columns, K).indices for batch in user_rows.split(batch_size)])


def summary(seconds: Seconds) -> dict[str, object]:
    median = medians(seconds)
    return {
        "wall_seconds": {name: round(wall, 3) for name, (wall, _) in median.items()},
        "cpu_seconds": {name: round(cpu, 3) for name, (_, cpu) in median.items()},
        "wall_ratio": round(median["kgrec"][0] / median["torch"][0], 3),
        "cpu_ratio": round(median["kgrec"][1] / median["torch"][1], 3),
        **rounds_of(seconds),
    }


if __name__ == "__main__":
    main()
