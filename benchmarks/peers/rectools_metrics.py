"""Metrics of RecTools beside `kgrec.evaluate`, on the same made-up lists.

    python benchmarks/peers/rectools_metrics.py

It writes tests/data/rectools_metrics.json, by which a test compares the two without RecTools, and fails if they differ.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

OUT = Path(__file__).parents[2] / "tests" / "data" / "rectools_metrics.json"
KS = (1, 5, 10)
N_USERS, N_ITEMS, LENGTH = 40, 30, 10


def made_up(seed: int = 0) -> dict[str, list[list[Any]]]:
    """Return rows of train, of test and of lists; some users of test have no list.

    Lists without test are none of these: RecTools counts them in Coverage and Novelty, kgrec does not.
    """
    rng = np.random.default_rng(seed)
    users, items = [f"u{n:02d}" for n in range(N_USERS)], [f"i{n:02d}" for n in range(N_ITEMS)]
    popularity = rng.dirichlet(np.ones(N_ITEMS) / 2) / 2 + 1 / (2 * N_ITEMS)
    # Every item is in train, since RecTools gives an item that is not no novelty.
    train = [[users[n % N_USERS], item] for n, item in enumerate(items)]
    train += [[user, item] for user in users for item in rng.choice(items, 4, replace=False, p=popularity)]
    test = [[user, item] for user in users[:35] for item in rng.choice(items, rng.integers(1, 13), replace=False)]
    lists = [
        [user, item, rank + 1]
        for user in users[3:35]
        for rank, item in enumerate(rng.choice(items, LENGTH, replace=False))
    ]
    return {"train": sorted(map(list, {tuple(row) for row in train})), "test": test, "lists": lists}


def of_rectools(data: dict[str, list[list[Any]]]) -> dict[str, float]:
    """Measure with RecTools; NDCG is divided by what can be reached, as kgrec does. Its MAP is another."""
    from rectools import Columns
    from rectools import metrics as m

    columns = [Columns.User, Columns.Item]
    train, test = (pd.DataFrame(data[name], columns=columns) for name in ("train", "test"))
    lists = pd.DataFrame(data["lists"], columns=[*columns, Columns.Rank])
    kinds = {
        "NDCG": lambda k: m.NDCG(k, divide_by_achievable=True),
        "Recall": m.Recall,
        "Precision": m.Precision,
        "HR": m.HitRate,
        "MRR": m.MRR,
        "Coverage": lambda k: m.CatalogCoverage(k, normalize=True),
        "Novelty": m.MeanInvUserFreq,
    }
    wanted = {f"{name}@{k}": make(k) for name, make in kinds.items() for k in KS}
    catalog = sorted({row[1] for row in data["train"]})
    return m.calc_metrics(wanted, reco=lists, interactions=test, prev_interactions=train, catalog=catalog)


def main() -> None:
    from run import environment

    from kgrec.metrics.frames import evaluate

    data = made_up()
    done = subprocess.run(
        [environment("rectools"), "-W", "ignore", __file__, "--rectools"],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    OUT.write_text(json.dumps({**found, **data}) + "\n", encoding="utf-8")
    frames = {name: pd.DataFrame(data[name], columns=["user_id", "item_id"]) for name in ("train", "test")}
    lists = pd.DataFrame(data["lists"], columns=["user_id", "item_id", "rank"])
    catalog = frames["train"]["item_id"].unique()
    ours = evaluate(lists, frames["test"], list(found["metrics"]), train=frames["train"], catalog=catalog)
    for name, theirs in found["metrics"].items():
        print(f"{name:14} RecTools {theirs:.6f}  kgrec {ours[name]:.6f}")
    if not np.allclose(list(ours.values()), [found["metrics"][name] for name in ours], atol=1e-6):
        sys.exit("they differ")


if __name__ == "__main__":
    if "--rectools" in sys.argv:
        from importlib.metadata import version

        measured = of_rectools(json.load(sys.stdin))
        measured = {name: float(value) for name, value in measured.items()}
        print(json.dumps({"rectools": version("rectools"), "metrics": measured}))
    else:
        main()
