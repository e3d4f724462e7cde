"""Static encoder: the mean of the vectors of a text's tokens in the model's embedding table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
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
    """Mean of the centered vectors of a text's tokens, rows of the model's embedding table.

    It encodes a thousand times as many texts per second as the transformer, which is not even loaded, and does not read
    the order of words. Vectors by which the transformer encodes each token alone (Model2Vec,
    https://github.com/MinishLab/model2vec) rank about as well, and take seconds to make.

    Args:
        model: the model; its prefix, its pooling and its layers are not used.
    """

    def __init__(self, model: TransformersEncoder) -> None:
        self.model, self.name, self.encodes_behaviors = model, f"{model.name} (static)", model.encodes_behaviors

    @property
    def identity(self) -> str:
        """Digest of the model's files, with all settings that change a vector."""
        return json.dumps(["static", "embedding table", self.model.digest, self.model.max_tokens])

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.model.token_table.shape[1])

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts."""
        if len(texts) == 0:
            return np.zeros((0, self.dim), np.float32)
        limit = self.model.max_tokens
        tokens = Tokens.from_lists([ids[:limit] or [0] for ids in self.model.token_ids(texts)])
        distinct, column = np.unique(tokens.ids, return_inverse=True)
        starts = np.append(tokens.starts, len(tokens.ids))
        counts = sp.csr_matrix((np.ones(len(column), np.float32), column, starts), (len(texts), len(distinct)))
        sums = np.asarray(counts @ (self._vectors(distinct) - self._center), dtype=np.float32)
        return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> IntArray:
        """Return the number of tokens of each text, without special tokens, int64 [texts]."""
        return self.model.count_tokens(texts)

    def _vectors(self, ids: IntArray) -> FloatArray:
        """Return the rows of the embedding table of tokens by id, float32 [n, dim]."""
        return np.asarray(self.model.token_table[ids].float().numpy())

    @cached_property
    def _center(self) -> FloatArray:
        ids = np.unique(np.linspace(0, len(self.model.token_table) - 1, CENTER_TOKENS).astype(np.int64))
        return np.asarray(self._vectors(ids).mean(axis=0))


def encoding_seconds(texts: Iterable[str], model: TransformersEncoder) -> float:
    """Return the nominal CPU seconds of encoding texts by a model: by their length and its size, without a clock."""
    parameters = n_parameters(model.folder) - n_embedding_parameters(model.folder)
    n_bytes = sum(len(text.encode()) for text in texts)
    return n_bytes / BYTES_PER_SECOND * parameters / PACKAGED_PARAMETERS
