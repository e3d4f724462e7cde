"""Items that nobody has chosen yet: how often they reach those who take them, and what that costs the others.

    python benchmarks/cold_items.py DATA [--seed 0]

DATA is a folder of atomic files with test behaviors, such as ml-1m-kg. All behaviors with a tenth of the items, drawn
by seed, are taken out of train; kgrec learns from the rest with its defaults and is told of nothing. Recall@20 among
all items is of the test rows of the withheld items, beside popularity and a random order; NDCG@20 is of all other test
rows, with and without what gives new items a score of their own. Writes benchmarks/results/cold_items.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given
from kgrec.evaluation.evaluate import measure
from kgrec.evaluation.measured import Measured
from kgrec.evaluation.protocols import cold_item
from kgrec.hybrid.model import HYBRID, HybridModel
from kgrec.jobs.benchmark import PROTOCOL
from kgrec.metrics.significance import paired_test
from kgrec.recommender import Recommender
from kgrec.store.load import load

RESULT = Path(__file__).parent / "results" / "cold_items.json"
SHARE, K = 0.1, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    split = by_given(GraphSnapshot.from_tables(load("atomic", arguments.data)))
    withheld = np.isin(np.arange(split.graph.n_items), cold_item(split.train, SHARE, arguments.seed).test.item_num)
    split = kept(split, split.is_test | ~withheld[split.graph.behaviors.item_num])
    model = Recommender(Config(seed=arguments.seed)).fit(split, "train")._model
    of_withheld = withheld[split.graph.behaviors.item_num]
    cold = measure(model, kept(split, ~split.is_test | of_withheld), [K])
    warm = kept(split, ~(split.is_test & of_withheld))
    with_new, without = (per_user(measure(m, warm, [K]), HYBRID, "NDCG") for m in (model, blended_alike(model)))
    test, base = paired_test(with_new, without, arguments.seed), float(without.mean())
    recall = {name: float(per_user(cold, name, "Recall").mean()) for name in (HYBRID, "popularity", *model.signals)}
    result = {
        "command": f"python benchmarks/cold_items.py {arguments.data.name} --seed {arguments.seed}",
        "protocol": f"fit on train without {withheld.sum()} of {len(withheld)} items; {PROTOCOL}",
        "users asked for withheld items": len(per_user(cold, HYBRID, "Recall")),
        f"Recall@{K} of withheld items": {**recall, "random": random_recall(split, cold)},
        f"NDCG@{K} of the others": {"with new items": float(with_new.mean()), "without": base},
        "cost": [test.difference / base, test.low / base, test.high / base],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def kept(split: Split, rows: npt.NDArray[np.bool_]) -> Split:
    """Return the split with some of its behaviors."""
    graph = split.graph.with_behaviors(rows)
    return replace(split, graph=graph, is_valid=split.is_valid[rows], is_test=split.is_test[rows])


def blended_alike(model: HybridModel) -> HybridModel:
    """Return the model without what gives new items a score of their own."""
    return replace(model, blends={domain: replace(blend, cold_items=None) for domain, blend in model.blends.items()})


def per_user(measured: dict[str, Measured], name: str, metric: str) -> npt.NDArray[Any]:
    return np.concatenate([found.evaluations[name].per_user[f"{metric}@{K}"] for found in measured.values()])


def random_recall(split: Split, cold: dict[str, Measured]) -> float:
    """Return what a random order of all unseen items reaches on average."""
    seen = np.diff(split.train_and_valid.interactions.indptr)
    users = np.concatenate([found.user_num for found in cold.values()])
    return float(np.mean(K / (split.graph.n_items - seen[users])))


if __name__ == "__main__":
    main()
