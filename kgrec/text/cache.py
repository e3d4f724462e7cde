"""Vector cache on disk, so that no text is encoded twice.

The folder has one subfolder per encoder, with safetensors files of keys (a hash of the text) and vectors. A file is
named by a hash of its content and its encoder and never changed, so processes can read and write concurrently. A
damaged file, or one of another encoder, does not match its name: it is deleted, and its texts are encoded again.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError
from safetensors.numpy import load, save

from kgrec._util.array_layout import Array, check_arrays
from kgrec._util.files import cache_folder, check_target, place, remove_leftovers, strange_target, work_folder
from kgrec._util.progress import track
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.errors import UsageError
from kgrec.text.base import TextEncoder

logger = logging.getLogger(__name__)

CHUNK_TEXTS = 512
"""Texts encoded between two writes: a few seconds on a CPU, the most that an interrupted run loses."""

MAX_FILES = 64
"""More files than this are merged into one, so that loading stays fast."""

KEY_BYTES = 16
Keys = npt.NDArray[np.uint8]


class VectorCache:
    """Encodes only texts that are not in the cache for an encoder of the same identity.

    Attributes:
        folder: folder of the vectors.
        encoded: number of distinct texts that this object encoded.
        hits: number of distinct texts that this object read from disk.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else cache_folder() / "vectors"
        self.encoded = 0
        self.hits = 0

    def encode(self, texts: Sequence[str] | npt.NDArray[np.object_], encoder: TextEncoder) -> FloatArray:
        """Return the vectors of texts, float32 [texts, encoder.dim]; a row of zeros for an empty text.

        Finished chunks stay on disk if the run is interrupted. If the folder is not writable, nothing is cached.

        Raises:
            UsageError: the encoder returns vectors of another length than its `dim`, or NaN or infinite ones.
        """
        codes, distinct = pd.factorize(np.asarray(texts, dtype=object))
        vectors = np.zeros((len(distinct), encoder.dim), dtype=np.float32)
        shelf = _Shelf(self.folder / hashlib.sha256(encoder.identity.encode()).hexdigest()[:32])
        keys = _text_keys(distinct)
        known = shelf.read(keys, vectors)
        new = np.flatnonzero(~known & (distinct != ""))
        self.hits += int(known.sum())
        # Texts of similar length need little padding, so they are sorted before they are divided into chunks.
        new = new[np.argsort([len(text) for text in distinct[new]], kind="stable")]
        for rows in track(_chunks(new), "Encoding texts", total=-(-len(new) // CHUNK_TEXTS)):
            vectors[rows] = _checked(encoder.encode(list(distinct[rows])), list(distinct[rows]), encoder)
            shelf.write(keys[rows], vectors[rows])
            self.encoded += len(rows)
        return vectors[codes]

    def drop(self, texts: Collection[str]) -> int:
        """Remove the vectors of texts, of all encoders; return the number removed."""
        keys = _text_keys(texts)
        return sum(_Shelf(folder).drop(keys) for folder in self.folder.glob("*")) if len(keys) else 0


class _Shelf:
    """The files of one encoder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, keys: Keys, vectors: FloatArray) -> BoolArray:
        """Fill in the rows of `vectors` [n, dim] whose key [n, 16] is on disk; return a mask [n] of them."""
        known = np.zeros(len(keys), dtype=bool)
        files = list(self.folder.glob("*.safetensors"))
        for file in files:
            if arrays := self._load(file, vectors.shape[1]):
                at = _positions(keys, arrays["keys"])
                hit = np.flatnonzero(at >= 0)
                vectors[hit] = arrays["vectors"][at[hit]]
                known[hit] = True
        if len(files) > MAX_FILES:
            self._merge(files)
        return known

    def write(self, keys: Keys, vectors: FloatArray) -> Path | None:
        """Write one file atomically and return its path; None if the folder is not writable."""
        content = save({"keys": keys, "vectors": vectors})
        file = self.folder / f"{self._digest(content)}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            check_target(file)
            with work_folder(file) as work:
                (work / "part").write_bytes(content)  # not *.safetensors, so that no reader opens a partial file
                place(work / "part", file)
        except (OSError, UsageError) as error:
            logger.info(f"Vectors are not cached: {error}")
            return None
        return file

    def drop(self, keys: Keys) -> int:
        """Remove vectors by their keys [n, 16] and return the number removed; files that held some are rewritten."""
        dropped = 0
        remove_leftovers(self.folder)
        for part in self.folder.glob("*.part"):  # of a killed job; a running job loses one chunk of the cache
            part.unlink(missing_ok=True)
        for file in self.folder.glob("*.safetensors"):
            arrays = self._load(file)
            kept = _positions(arrays["keys"], keys) < 0 if arrays else np.ones(0, bool)
            if arrays and not kept.all():
                if kept.any():
                    self.write(arrays["keys"][kept], arrays["vectors"][kept])
                file.unlink(missing_ok=True)
                dropped += int((~kept).sum())
        return dropped

    def _load(self, file: Path, dim: int | None = None) -> dict[str, npt.NDArray[Any]] | None:
        """Return a file's keys and vectors, of length `dim` if given; None if it is damaged, or already merged."""
        with suppress(OSError):
            if strange_target(file):
                return None
            content = file.read_bytes()
            if self._digest(content) == file.stem and (arrays := _whole(content, dim)):
                return arrays
            logger.info(f"{file} is damaged, or of another encoder; its texts are encoded again")
            if re.fullmatch(r"[0-9a-f]{32}", file.stem):  # otherwise kgrec did not write it
                file.unlink()
        return None

    def _digest(self, content: bytes) -> str:
        return hashlib.blake2b(content, digest_size=16, key=self.folder.name.encode()[:64]).hexdigest()

    def _merge(self, files: Sequence[Path]) -> None:
        """Merge files into one; an interruption leaves vectors in two files, but loses none."""
        loaded = {file: arrays for file in files if (arrays := self._load(file))}
        if not loaded:
            return
        keys = np.concatenate([arrays["keys"] for arrays in loaded.values()])
        vectors = np.concatenate([arrays["vectors"] for arrays in loaded.values()])
        distinct, first = np.unique(keys, axis=0, return_index=True)
        merged = self.write(distinct, vectors[first])
        if merged:
            for file in loaded.keys() - {merged}:
                file.unlink(missing_ok=True)


def _whole(content: bytes, dim: int | None) -> dict[str, npt.NDArray[Any]] | None:
    """Return the keys and vectors of a file's content; None if its arrays have other names, types or shapes."""
    try:
        arrays = load(content)
        check_arrays(arrays, [{"keys": Array(("n", KEY_BYTES), ("uint8",)), "vectors": Array(("n", dim or "d"))}])
    except (SafetensorError, ValueError):
        return None
    return arrays if np.isfinite(arrays["vectors"]).all() else None


def _checked(vectors: FloatArray, texts: Sequence[str], encoder: TextEncoder) -> FloatArray:
    """Return an encoder's vectors of texts after a check of their shape and values."""
    if vectors.shape != (len(texts), encoder.dim):
        raise UsageError(
            f"encoder {encoder.name} gives vectors of shape {vectors.shape} for {len(texts)} texts; "
            f"expected ({len(texts)}, {encoder.dim}), by its `dim`"
        )
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        text = texts[int(np.argmin(finite))]
        raise UsageError(
            f"encoder {encoder.name} gives NaN or infinite vectors for {(~finite).sum()} texts, such as {text[:60]!r}; "
            "expected finite ones. Half precision may overflow: set encoder.precision=full"
        )
    return vectors


def _chunks(rows: IntArray) -> Iterator[IntArray]:
    for start in range(0, len(rows), CHUNK_TEXTS):
        yield rows[start : start + CHUNK_TEXTS]


def _text_keys(texts: Iterable[str]) -> Keys:
    digests = [hashlib.sha256(text.encode()).digest()[:KEY_BYTES] for text in texts]
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, KEY_BYTES)


def _positions(keys: Keys, stored: Keys) -> IntArray:
    """Return the row of each key among the stored ones, -1 if there is none."""
    return np.asarray(pc.index_in(_as_arrow(keys), value_set=_as_arrow(stored)).fill_null(-1), dtype=np.int64)


def _as_arrow(keys: Keys) -> pa.Array:
    buffer = pa.py_buffer(np.ascontiguousarray(keys))
    return pa.Array.from_buffers(pa.binary(KEY_BYTES), len(keys), [None, buffer])
