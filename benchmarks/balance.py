"""What options against imbalance do to fine-tuning: a head learned with each, on amazon-art-office/warm.

    python benchmarks/balance.py DATA [--out benchmarks/results/balance.json]

DATA is a folder of atomic files with valid and test behaviors. Every head is learned on train, from vectors of the
model as it is; settings of the text signal are chosen on valid, once, without any option; what is measured has learned
from train and valid. A target is rare if half of the users are asked for more popular ones. Users' own texts are left
out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tune import text_alone, without_user_texts

from kgrec.config import TuneSettings
from kgrec.data.snapshot import Vectors
from kgrec.data.split import Split
from kgrec.evaluation.evaluate import measure
from kgrec.hybrid.model import HYBRID, HybridModel
from kgrec.signals.content import Embeddings
from kgrec.text import VectorCache, default_encoder, text_vectors
from kgrec.text.finetune.contrastive import learn_head
from kgrec.tuning.search import tune
from kgrec.tuning.validation import validation_sets

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "no correction for popularity": {"popularity_correction": False},
    "weights": {"balance": "weights"},
    "oversample": {"balance": "oversample"},
    "undersample": {"balance": "undersample"},
    "focal 2": {"focal": 2.0},
}
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/balance.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    split = without_user_texts(options.data)
    with_head = {name: headed(split, TuneSettings(**settings)) for name, settings in OPTIONS.items()}
    chosen = tune(Embeddings, split.train, with_head["none"], validation_sets(split.train, split.valid)).signal.settings
    result = {
        "command": " ".join(["python", "benchmarks/balance.py", "DATA/amazon-art-office/warm", *sys.argv[2:]]),
        "model": default_encoder().name,
        "settings": chosen.model_dump(),
        "options": {name: measured(split, text_alone(split, chosen, vectors)) for name, vectors in with_head.items()},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def headed(split: Split, settings: TuneSettings) -> Vectors:
    """Return the text vectors of a graph's nodes behind a head that was learned in one way."""
    encoder, cache = default_encoder(), VectorCache()
    head = learn_head(split.train, encoder, cache, settings)
    vectors = text_vectors(split.train, encoder, cache)
    with torch.no_grad():
        return {label: head(torch.as_tensor(found)).numpy() for label, found in vectors.items()}


def measured(split: Split, model: HybridModel) -> dict[str, float]:
    """Return what the text signal reaches on test: of all users, and of those asked for rare and for popular items."""
    found = measure(model, split, [K])
    test = split.graph.pairs(split.test)
    ndcg, target, coverage, novelty = [], [], [], []
    for domain, of in found.items():
        holdouts = test[of.user_num].multiply(model.train.item_domains == domain).tocsr()
        target.append(holdouts @ model.popularity / holdouts.sum(axis=1).A1)
        ndcg.append(of.evaluations[HYBRID].per_user[f"NDCG@{K}"])
        coverage.append(of.evaluations[HYBRID].coverage[K])
        novelty.append(of.evaluations[HYBRID].novelty[K])
    every, asked_for = np.concatenate(ndcg), np.concatenate(target)
    rare = asked_for <= np.median(asked_for)
    return {
        f"NDCG@{K}": float(every.mean()),
        f"NDCG@{K}, rare": float(every[rare].mean()),
        f"NDCG@{K}, popular": float(every[~rare].mean()),
        f"Coverage@{K}": float(np.mean(coverage)),
        f"Novelty@{K}": float(np.mean(novelty)),
    }


if __name__ == "__main__":
    main()
