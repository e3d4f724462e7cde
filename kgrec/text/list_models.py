"""List of the text models on this machine, with their size and speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import pandas as pd

from kgrec.config import MULTILINGUAL_MODEL
from kgrec.errors import UsageError
from kgrec.text.encoder import TransformersEncoder, default_encoder
from kgrec.text.hf_model import cached_models, n_parameters
from kgrec.text.multilingual import is_installed, multilingual_folder

_TEXT: Final = "a quiet film about two friends who drive north to find an old lighthouse and the man who kept it"
_SAMPLE: Final = [_TEXT[: 20 + n] for n in range(64)]


def encoders_table(measure: bool = False) -> pd.DataFrame:
    """Return the packaged text model, the multilingual one if installed, and those in the Hugging Face cache.

    Args:
        measure: encode a few short texts with each model.

    Returns:
        Columns model, where, parameters, megabytes (of the files), dim (length of a vector), max_tokens (of the input),
        pooling, texts_per_second (only if measured), note (the error of a model that cannot be used).
    """
    packaged = default_encoder()
    rows = [_row("packaged", packaged.name, packaged.folder, measure)]
    rows += [_row("extra", MULTILINGUAL_MODEL, multilingual_folder(), measure)] if is_installed() else []
    rows += [_row("cache", name, folder, measure) for name, folder in cached_models().items()]
    return pd.DataFrame(rows, dtype=object)


def _row(where: str, name: str, folder: Path, measure: bool) -> dict[str, Any]:
    weights = folder.glob("*.safetensors")
    row: dict[str, Any] = {
        "model": name,
        "where": where,
        "parameters": n_parameters(folder),
        "megabytes": round(sum(file.stat().st_size for file in weights) / 1e6),
    }
    try:
        encoder = TransformersEncoder(folder)
        row |= {"dim": encoder.dim, "max_tokens": encoder.limit, "pooling": encoder.pooling}
        row |= {"texts_per_second": _speed(encoder)} if measure else {}
    except UsageError as error:
        return {**row, "note": str(error)}
    return {**row, "note": ""}


def _speed(encoder: TransformersEncoder) -> float:
    encoder.encode(_SAMPLE[:8])  # loads the model
    start = time.perf_counter()
    encoder.encode(_SAMPLE)
    return round(len(_SAMPLE) / (time.perf_counter() - start), 1)
