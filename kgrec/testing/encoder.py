"""Text encoder without a model, for tests of other parts."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from kgrec._util.types import FloatArray


class WordEncoder:
    """Counts of hashed words (Weinberger et al., 2009): texts with common words have close vectors.

    Args:
        dim: length of a vector.
        encodes_behaviors: whether it gets the sentences about a user's behaviors.
    """

    name = "words"

    def __init__(self, dim: int = 64, encodes_behaviors: bool = False) -> None:
        self.dim, self.encodes_behaviors = dim, encodes_behaviors
        self.identity = f"words {dim}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1."""
        return np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(-1, self.dim)

    def _vector(self, text: str) -> FloatArray:
        words = [zlib.crc32(word.encode()) % self.dim for word in text.lower().split()]
        counts = np.bincount(words or [0], minlength=self.dim).astype(np.float32)
        return counts / np.float32(np.linalg.norm(counts))
