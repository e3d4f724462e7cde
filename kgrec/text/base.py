"""The port of text encoders, and the counting of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from kgrec._util.types import FloatArray, IntArray

CountTokens = Callable[[Sequence[str]], IntArray]
"""Texts → number of tokens of each, int64 [texts]."""


class TextEncoder(Protocol):
    """Encodes texts as vectors; similar texts have close vectors."""

    @property
    def name(self) -> str:
        """Display name."""
        ...

    @property
    def identity(self) -> str:
        """Key of the vector cache; equal for two encoders only if their vectors are equal."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts.

        The vector of a text does not depend on the other texts: equal within 1e-5, in half precision within that.
        """
        ...


class NoText:
    """The encoder of a run without a text model: vectors of no dimensions."""

    name, identity, dim = "none", "none", 0

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, 0]."""
        return np.zeros((len(texts), 0), np.float32)


def count_words(texts: Sequence[str]) -> IntArray:
    """Return the number of words of each text, int64 [texts]: the token count of encoders without a tokenizer."""
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def token_counter(encoder: TextEncoder) -> CountTokens:
    """Return the function that counts tokens for an encoder: its method `count_tokens`, else `count_words`."""
    counter: CountTokens = getattr(encoder, "count_tokens", count_words)
    return counter


def encodes_behaviors(encoder: TextEncoder) -> bool:
    """Return whether sentences about behaviors are encoded: the encoder's attribute of that name, else false."""
    return bool(getattr(encoder, "encodes_behaviors", False))
