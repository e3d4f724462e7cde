"""The text signal with and without fine-tuning of the text model, on amazon-art-office/warm.

    python benchmarks/tune.py DATA [--steps 200] [--set tune.rank=8 …] [--out benchmarks/results/tune.json]

DATA is a folder of atomic files with valid and test behaviors. The model is tuned on train alone; settings of the
signal are chosen on valid for each side; what is measured has learned from train and valid. Users' own texts, which
repeat the titles of their items, are left out on both sides. Interrupted, it goes on from the last look; what tuning
took is in the result if none of it had been done before. Everything is computed by one thread, matrix products in
bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kgrec._util.files import cache_folder
from kgrec.config import Config, TuneSettings
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.split import Split, by_given
from kgrec.evaluation.evaluate import measure
from kgrec.hybrid.learn_blends import even_blend
from kgrec.hybrid.model import HYBRID, HybridModel
from kgrec.metrics.significance import paired_test
from kgrec.signals.base import SignalSettings
from kgrec.signals.content import Embeddings
from kgrec.store.load import load
from kgrec.text import TransformersEncoder, VectorCache, default_encoder, text_vectors
from kgrec.text.finetune.contrastive import fine_tune
from kgrec.tuning.search import tune
from kgrec.tuning.validation import validation_sets

METRIC = "NDCG@10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="as for kgrec train")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tune.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Config.read(None, ["tune.method=lora", f"tune.steps={options.steps}", *options.settings]).tune
    assert settings
    command = ["python", "benchmarks/tune.py", "DATA/amazon-art-office/warm", *sys.argv[2:]]
    result = {"command": " ".join(command), **compare(without_user_texts(options.data), settings)}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def without_user_texts(data: Path) -> Split:
    tables = load("atomic", data)
    schema = tables.schema.to_dict()
    for label in tables.schema.roles.users:
        schema["nodes"][label].pop("text", None)
    return by_given(GraphSnapshot.from_tables(replace(tables, schema=Schema.from_dict(schema))))


def compare(split: Split, settings: TuneSettings) -> dict[str, Any]:
    encoder = TransformersEncoder(default_encoder().folder, precision="half", name="all-MiniLM-L6-v2")
    as_it_is = side(split, encoder)
    print(json.dumps(as_it_is["valid"]), flush=True)
    cpu, known = time.process_time(), set((cache_folder() / "tuning").glob("*"))
    tuned = fine_tune(split.train, encoder, VectorCache(), settings)
    cpu = time.process_time() - cpu
    anew = known != set((cache_folder() / "tuning").glob("*"))
    fine_tuned = side(split, encoder.with_tuning(tuned))
    before, after = (np.concatenate(list(found.pop("per_user").values())) for found in (as_it_is, fine_tuned))
    test = paired_test(after, before)
    return {
        "model": encoder.name,
        "settings": settings.model_dump(),
        "metric": METRIC,
        "losses_on_held_out_users": tuned.losses,
        "tuning_cpu_seconds": round(cpu, 1) if anew else None,
        "megabytes": round(sum(w.nbytes for w in tuned.weights.values()) / 1e6, 2),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "as_it_is": as_it_is,
        "fine_tuned": fine_tuned,
        "gain": {
            "share": float(after.mean() / before.mean()) - 1,
            "difference": test.difference,
            "low": test.low,
            "high": test.high,
        },
    }


def text_alone(split: Split, settings: SignalSettings, vectors: Vectors) -> HybridModel:
    """Return a model of nothing but the text signal, which has learned from train and valid."""
    final = split.train_and_valid
    signal = Embeddings(settings).fit(final, vectors)
    return HybridModel(
        final, {"embeddings": signal}, {domain: even_blend(["embeddings"]) for domain in set(final.item_domains)}
    )


def side(split: Split, encoder: TransformersEncoder) -> dict[str, Any]:
    """Return what the text signal reaches with an encoder, on valid and on test."""
    vectors = text_vectors(split.train, encoder, VectorCache())
    choice = tune(Embeddings, split.train, vectors, validation_sets(split.train, split.valid))
    measured = measure(text_alone(split, choice.signal.settings, vectors), split, [10])
    per_user = {domain: found.evaluations[HYBRID].per_user[METRIC] for domain, found in sorted(measured.items())}
    return {
        "settings": choice.signal.settings.model_dump(),
        "valid": {"NDCG@20": choice.metric_value},
        "test": {domain: float(values.mean()) for domain, values in per_user.items()},
        "per_user": per_user,
    }


if __name__ == "__main__":
    main()
