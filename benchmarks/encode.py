"""Encoding texts beside a bare transformers loop over length-sorted batches of the same model.

    python benchmarks/encode.py [--texts 600] [--batch-size 64] [--model FOLDER] [--out benchmarks/results/encode.json]

Both turn the same texts into the same vectors (mean of the tokens, length 1), on the same device and in the same
precision. The loop tokenizes batch by batch; kgrec encodes into an empty vector cache, so what keeping vectors on disk
costs is counted. Rounds alternate, which is first alternates too; medians over rounds.

`encoders` has the texts per CPU second of the model in full and in half precision, and of the static encoder, whose
token vectors are made before; and the smallest cosine of a text's vector in half precision and that in full precision.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import Seconds, alternate, medians, rounds_of, write
from transformers import AutoModel, AutoTokenizer

from kgrec._util.types import FloatArray
from kgrec.text import TransformersEncoder, VectorCache, default_encoder
from kgrec.text.static import StaticEncoder

WORDS = np.array(["film", "ship", "robot", "garden", "filter", "heist", "river", "brush", "engine", "actor", "doctor"])


def main() -> None:
    options = parse()
    texts = make_texts(options.texts)
    encoder = TransformersEncoder(options.model, pooling="mean") if options.model else default_encoder()
    loop = Loop(encoder, options.batch_size)
    sides = {"kgrec": lambda: cached(encoder, texts), "loop": lambda: loop.encode(texts)}
    first = {name: side() for name, side in sides.items()}  # the first call of each loads libraries
    difference = float(np.abs(first["kgrec"] - first["loop"]).max())
    seconds = alternate(sides, options.rounds)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "model": encoder.name,
        "precision": encoder.precision,
        "texts": options.texts,
        "batch_size_of_the_loop": options.batch_size,
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__, **gpu()},
        "largest_difference": difference,
        **summary(seconds, options.texts),
        "encoders": by_encoder(encoder, texts, options.rounds),
    }
    write(result, options.out)


def by_encoder(given: TransformersEncoder, texts: list[str], rounds: int) -> dict[str, float]:
    full, half = (TransformersEncoder(given.settings, name=given.name, precision=p) for p in ("full", "half"))
    static = StaticEncoder(given)
    cosine = float(np.einsum("nd,nd->n", full.encode(texts), half.encode(texts)).min())
    static.encode(texts)
    sides = {"full": full, "half": half, "static": static}
    seconds = alternate({name: partial(side.encode, texts) for name, side in sides.items()}, rounds)
    speeds = {name: round(len(texts) / cpu, 1) for name, (_, cpu) in medians(seconds).items()}
    return {**speeds, "smallest_cosine_of_half": round(cosine, 5)}


def gpu() -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="folder of a model without a prefix of its own; the packaged one if not given")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/encode.json"))
    return parser.parse_args()


def make_texts(n: int) -> list[str]:
    """Return n distinct texts of 3 to 120 words, most of them short, as descriptions of nodes are."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3, 0.8, n), 3, 120).astype(int)
    return [f"{i}: {' '.join(rng.choice(WORDS, length))}" for i, length in enumerate(lengths)]


def cached(encoder: TransformersEncoder, texts: list[str]) -> FloatArray:
    with tempfile.TemporaryDirectory() as folder:
        return VectorCache(folder).encode(texts, encoder)


class Loop:
    """What one would write without kgrec."""

    half = torch.float16 if torch.cuda.is_available() else torch.bfloat16

    def __init__(self, encoder: TransformersEncoder, batch_size: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(encoder.folder)
        dtype = self.half if encoder.precision == "half" else torch.float32
        self.model = AutoModel.from_pretrained(encoder.folder, dtype=dtype).to(self.device).eval()
        self.batch_size = batch_size
        self.max_tokens = encoder.max_tokens

    def encode(self, texts: list[str]) -> FloatArray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors = np.zeros((len(texts), self.model.config.hidden_size), np.float32)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            vectors[rows] = self.batch([texts[i] for i in rows])
        return vectors

    def batch(self, texts: list[str]) -> FloatArray:
        given: Any = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.device)
        with torch.inference_mode():
            hidden = self.model(**given).last_hidden_state.float()
        weight = given["attention_mask"].unsqueeze(2)
        pooled = (hidden * weight).sum(1) / weight.sum(1)
        return np.asarray(torch.nn.functional.normalize(pooled, dim=1).cpu().numpy())


def summary(seconds: Seconds, n_texts: int) -> dict[str, object]:
    median = medians(seconds)
    return {
        "texts_per_second": {name: round(n_texts / wall, 1) for name, (wall, _) in median.items()},
        "throughput_ratio": round(median["loop"][0] / median["kgrec"][0], 3),
        "throughput_ratio_by_cpu": round(median["loop"][1] / median["kgrec"][1], 3),
        **rounds_of(seconds),
    }


if __name__ == "__main__":
    main()
