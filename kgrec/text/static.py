"""Static encoder: the mean of token vectors, which a transformer gives once for each token instead of for each text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
from kgrec.text.cache import VectorCache
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.hf_model import n_embedding_parameters, n_parameters
from kgrec.text.token_batches import Tokens

CENTER_TOKENS: Final = 1_000
"""Tokens, evenly spaced in the vocabulary, whose mean vector is the center of all token vectors."""

BYTES_PER_SECOND: Final = 14_000
"""Bytes of texts that the packaged model encodes in a second, on one core in full precision.

In any script, a token has about as many bytes in UTF-8: some four letters of English, or one or two of Chinese.
"""
PACKAGED_PARAMETERS: Final = 10_993_280
"""Parameters of the packaged model without its token embeddings."""


class StaticEncoder:
    """Mean of the centered vectors of a text's tokens, each the transformer's vector of the token alone.

    It encodes many times as many texts per second as the transformer, and does not read the order of words (Model2Vec,
    https://github.com/MinishLab/model2vec). The transformer encodes each token when it first occurs; the vector cache
    keeps the result.

    Args:
        model: the transformer; its prefix is not used.
        cache: cache for the token vectors.
    """

    def __init__(self, model: TransformersEncoder, cache: VectorCache | None = None) -> None:
        self.model, self.name, self.encodes_behaviors = model, f"{model.name} (static)", model.encodes_behaviors
        self._cache, self._alone = cache or VectorCache(), _SingleTokens(model)

    @property
    def identity(self) -> str:
        """Digest of the transformer's files, with all settings that change a vector."""
        return json.dumps(["static", self._alone.identity, self.model.max_tokens])

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.model.dim

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts."""
        if len(texts) == 0:
            return np.zeros((0, self.dim), np.float32)
        tokens = self._tokens(texts)
        distinct, column = np.unique(tokens.ids, return_inverse=True)
        starts = np.append(tokens.starts, len(tokens.ids))
        counts = sp.csr_matrix((np.ones(len(column), np.float32), column, starts), (len(texts), len(distinct)))
        sums = np.asarray(counts @ (self._vectors(distinct) - self._center), dtype=np.float32)
        return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> IntArray:
        """Return the number of tokens of each text, without special tokens, int64 [texts]."""
        return self.model.count_tokens(texts)

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        model = self.model
        options = {"truncation": True, "max_length": model.max_tokens, "verbose": False}
        ids = model.tokenizer(list(texts), add_special_tokens=False, **options)["input_ids"]
        return Tokens.from_lists([x or [model.pad] for x in ids])

    def _vectors(self, ids: Iterable[int]) -> FloatArray:
        """Return the transformer's vectors of tokens by id, float32 [n, dim]."""
        return self._cache.encode([str(id_) for id_ in ids], self._alone)

    @cached_property
    def _center(self) -> FloatArray:
        ids = np.unique(np.linspace(0, len(self.model.tokenizer) - 1, CENTER_TOKENS).astype(np.int64))
        return np.asarray(self._vectors(ids).mean(axis=0))


class _SingleTokens:
    """A transformer as an encoder of single tokens, which are given by their ids in digits."""

    def __init__(self, model: TransformersEncoder) -> None:
        self.model, self.name, self.dim = model, model.name, model.dim

    @property
    def identity(self) -> str:
        """Digest of the transformer's files, with all settings that change the vector of a token."""
        return json.dumps(["tokens", self.model.digest, self.model.pooling, self.model.precision])

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [tokens, dim], rows of length 1."""
        before, after = self._special
        return self.model.encode_tokens(Tokens.from_lists([[*before, int(id_), *after] for id_ in texts]))

    @cached_property
    def _special(self) -> tuple[list[int], list[int]]:
        """Ids of the special tokens before and after a text."""
        bare, whole = (self.model.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
        start = next((n for n in range(len(whole)) if whole[n : n + len(bare)] == bare), 0)
        return whole[:start], whole[start + len(bare) :]


def encoding_seconds(texts: Iterable[str], model: TransformersEncoder) -> float:
    """Return the nominal CPU seconds of encoding texts by a model: by their length and its size, without a clock."""
    parameters = n_parameters(model.folder) - n_embedding_parameters(model.folder)
    n_bytes = sum(len(text.encode()) for text in texts)
    return n_bytes / BYTES_PER_SECOND * parameters / PACKAGED_PARAMETERS
