"""The port of text encoders, and the counting of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from kgrec._util.types import FloatArray, IntArray

CountTokens = Callable[[Sequence[str]], IntArray]
"""From texts to how many tokens each has, int64 [texts]."""


class TextEncoder(Protocol):
    """Turns texts into vectors; the closer two vectors, the more alike the texts."""

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    @property
    def identity(self) -> str:
        """Equal for two encoders only if they give equal vectors; the vector cache files vectors under it."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts.

        The vector of a text does not depend on the other texts: equal within 1e-5, on a GPU within half precision.
        """
        ...


def count_words(texts: Sequence[str]) -> IntArray:
    """Return the number of words of each text, int64 [texts]: the token count of encoders without a tokenizer."""
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def token_counter(encoder: TextEncoder) -> CountTokens:
    """Return the function that counts tokens for an encoder: its method `count_tokens`, else `count_words`."""
    counter: CountTokens = getattr(encoder, "count_tokens", count_words)
    return counter
