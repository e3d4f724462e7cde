"""Lists and saved models: one user's list, the lists of all users, a run's size, and `kgrec recommend`, in one thread.

    OMP_NUM_THREADS=1 python benchmarks/lists.py DATA/ml-100k [--models FOLDER]

Writes benchmarks/results/lists.json. FOLDER keeps the two models, which another call does not train again.

CPU time, since other processes of the machine lengthen the wall time. The lists of all users are compared with the
signals' own scores of the same users, without a blend or a ranking. The saved model is that of a made-up shop of 5,000
customers, 3,000 products and 60,000 purchases, whose customers prefer a few of 40 groups of products.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from side_by_side import alternate, medians

import kgrec
from kgrec.hybrid.audience import BATCH_SCORES
from kgrec.runs.folder import find_run

RESULT = Path(__file__).parent / "results" / "lists.json"
SINGLE_USERS, ROUNDS = 300, 5
N_CUSTOMERS, N_PRODUCTS, N_PURCHASES, GROUPS = 5_000, 3_000, 60_000, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.models or Path(temporary)
        movies, shop = on_movies(options.data, folder), saved_shop(folder / "shop")
    result = {
        "command": f"OMP_NUM_THREADS=1 python benchmarks/lists.py DATA/{options.data.name}",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()},
        "load": round(os.getloadavg()[0], 1),
        **movies,
        "saved_shop": shop,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def on_movies(data: Path, folder: Path) -> dict[str, Any]:
    """Train on a folder of atomic files; return the time of lists from the run."""
    graph, runs = str(folder / "movies.lbug"), folder / "movies.runs"
    if not runs.exists():
        command("load", "atomic", str(data), "--into", graph)
        command("train", graph)
    model = kgrec.Recommender.load(find_run(runs).folder)
    users = model._model.train.users.ids.tolist()
    model.recommend(users[:1])
    one = [fastest(milliseconds, partial(model.recommend, [user])) for user in users[:SINGLE_USERS]]
    sides = {"lists": lambda: model.recommend(users, k=20), "signals": lambda: signals_alone(model)}
    seconds = {name: cpu for name, (_, cpu) in medians(alternate(sides, ROUNDS)).items()}
    return {
        "one_user": {"calls": len(one), "median_ms": round(statistics.median(one), 2)},
        "all_users": {
            "users": len(users),
            "cpu_s": {name: round(cpu, 3) for name, cpu in seconds.items()},
            "ratio": round(seconds["lists"] / seconds["signals"], 2),
        },
        "recommend_two_users_cpu_s": fastest(command, "recommend", graph, *users[:2]),
        "recommend_help_cpu_s": fastest(command, "recommend", "--help"),
    }


def signals_alone(model: kgrec.Recommender) -> None:
    """Score all users by each signal, in the batches of `recommend`."""
    hybrid = model._model
    size = BATCH_SCORES // (hybrid.train.n_items * len(hybrid.signals))
    for first in range(0, hybrid.train.n_users, size):
        for signal in hybrid.signals.values():
            signal.scores(np.arange(first, min(first + size, hybrid.train.n_users)))


def milliseconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def fastest(measure: Callable[..., float], *given: object) -> float:
    """Return the least of three measurements, which other processes of the machine slowed least."""
    return round(min(measure(*given) for _ in "123"), 2)


def command(*words: str) -> float:
    """Run a command of kgrec; return its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(Path(sys.executable).with_name("kgrec")), *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def saved_shop(folder: Path) -> dict[str, Any]:
    """Save the model of the shop; return its size, and how long a load takes."""
    if not folder.exists():
        kgrec.Recommender(seed=0).fit(kgrec.from_interactions(purchases())).save(folder)
    sizes = {file.name: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
    load = fastest(milliseconds, lambda: kgrec.Recommender.load(folder))
    return {
        "megabytes": round(sum(sizes.values()) / 1e6, 1),
        "largest_files": {name: round(sizes[name] / 1e6, 1) for name in largest},
        "load_cpu_s": round(load / 1000, 2),
    }


def purchases() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    group, popularity = rng.integers(0, GROUPS, N_PRODUCTS), rng.zipf(1.6, N_PRODUCTS).clip(max=500) ** 0.7
    taste = rng.dirichlet(np.full(GROUPS, 0.08), N_CUSTOMERS).cumsum(axis=1)
    activity = rng.lognormal(0, 0.85, N_CUSTOMERS)
    user = rng.choice(N_CUSTOMERS, int(1.4 * N_PURCHASES), p=activity / activity.sum())
    wanted = (taste[user] < rng.random(len(user))[:, None]).sum(axis=1).clip(max=GROUPS - 1)
    noise = rng.random(len(user)) < 0.2
    wanted[noise] = rng.integers(0, GROUPS, noise.sum())
    item = np.empty(len(user), np.int64)
    for number in range(GROUPS):
        members, places = np.flatnonzero(group == number), wanted == number
        item[places] = rng.choice(members, places.sum(), p=popularity[members] / popularity[members].sum())
    time_ = rng.integers(1_000_000_000, 1_100_000_000, len(user))
    frame = pd.DataFrame({"user_id": user, "item_id": item, "timestamp": time_})
    return frame.drop_duplicates(["user_id", "item_id"]).head(N_PURCHASES)


if __name__ == "__main__":
    main()
