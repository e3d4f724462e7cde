"""Counting tokens, which is what limits in text templates are in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kgrec._util.types import IntArray
from kgrec.text.encoder import TextEncoder

CountTokens = Callable[[Sequence[str]], IntArray]
"""From texts to how many tokens each has, int64 [texts]."""


def count_words(texts: Sequence[str]) -> IntArray:
    """Return how many words each text has, int64 [texts]: its tokens where there is no tokenizer."""
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def token_counter(encoder: TextEncoder) -> CountTokens:
    """Return what counts tokens as an encoder does: its method `count_tokens`, or words where it has none."""
    counter: CountTokens = getattr(encoder, "count_tokens", count_words)
    return counter
