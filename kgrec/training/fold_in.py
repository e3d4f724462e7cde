"""Fold-in: a trained model scores the users and items of a later snapshot without being trained again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec._util.types import FloatArray
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.errors import UsageError
from kgrec.hybrid.learn_blends import even_blend
from kgrec.hybrid.model import HybridModel
from kgrec.text import TextEncoder, VectorCache, encoded_texts, given_vectors
from kgrec.text.encoder_pair import EncoderPair
from kgrec.training.pipeline import Trained

SAME_ENCODER_COSINE: Final = 0.99
"""Minimum cosine of two embeddings of one text by the same encoder."""


class KnownTexts(VectorCache):
    """The embeddings of the training texts, bit for bit; only new texts are encoded, by the same encoder.

    Args:
        trained: the result of training.
        cache: cache for the embeddings of new texts.
        encoders: those of the fit; loaded only if the fit has text vectors.
    """

    def __init__(self, trained: Trained, cache: VectorCache, encoders: EncoderPair) -> None:
        super().__init__(cache.folder)
        self._cache, self._checked = cache, False
        train = trained.model.train
        given = sum(next(iter(of.values())).shape[1] for of in given_vectors(train).values())
        texts = encoded_texts(train, encoders.text) if trained.vectors else {}
        labels = [label for label in trained.vectors if label in texts]
        self.width = max((vectors.shape[1] for vectors in trained.vectors.values()), default=0)
        known = pd.Index(np.concatenate([np.array([""], dtype=object), *(texts[label] for label in labels)]))
        rows = [trained.vectors[label][:, : self.width - given] for label in labels]
        first = ~known.duplicated()
        self.texts = known[first]
        self.vectors = np.concatenate([np.zeros((1, self.width - given), np.float32), *rows])[first]

    def encode(self, texts: Sequence[str] | npt.NDArray[np.object_], encoder: TextEncoder) -> FloatArray:
        """Return the embeddings of texts, float32 [texts, d].

        Raises:
            UsageError: a text is new and the encoder differs from that of the fit.
        """
        texts = np.asarray(texts, dtype=object)
        at = self.texts.get_indexer(pd.Index(texts))
        if (at >= 0).all():
            return np.asarray(self.vectors[at])
        self.check(encoder)
        vectors = np.empty((len(texts), encoder.dim), np.float32)
        vectors[at >= 0] = self.vectors[at[at >= 0]]
        vectors[at < 0] = self._cache.encode(texts[at < 0], encoder)
        return vectors

    def check(self, encoder: TextEncoder) -> None:
        """Encode a training text again, once, and compare the embeddings.

        Raises:
            UsageError: the embeddings differ, so the encoder is not that of the fit.
        """
        if not self._checked and self.vectors.any():
            known = int(np.argmax(self.vectors.any(axis=1)))
            expected, vector = self.vectors[known], self._cache.encode([self.texts[known]], encoder)[0]
            if vector.shape != expected.shape or vector @ expected < SAME_ENCODER_COSINE:
                raise UsageError(
                    "the text encoder differs from the one of the fit. Expected the same: "
                    "Recommender.load(folder, encoder=…), or the same setting `encoder`"
                )
        self._checked = True

    def beside_given(self, vectors: FloatArray) -> FloatArray:
        """Return text embeddings padded with zeros in place of vectors given as node properties, float32 [n, width]."""
        return np.pad(vectors, ((0, 0), (0, self.width - vectors.shape[1])))


def check_schema(trained: Trained, train: GraphSnapshot) -> None:
    """Check that a graph has the schema of the fit.

    Raises:
        UsageError: the schemas differ.
    """
    schema, expected = train.schema, trained.model.train.schema
    if schema.digest != expected.digest:
        raise UsageError(
            f"the graph's schema {schema.name!r} differs from that of the fit. "
            f"Expected {expected.name!r} as it was then. Fit again to use the new schema"
        )


def fold_in(trained: Trained, train: GraphSnapshot, vectors: Vectors) -> Trained:
    """Return the trained model for a later snapshot; signals, blends and settings are not learned again.

    Args:
        trained: the result of training or of an earlier fold-in.
        train: the later snapshot, without test interactions, with the schema of the fit.
        vectors: text vectors of the later snapshot; see `KnownTexts`.
    """
    old = trained.model
    delta = GraphDelta(old.train, train, vectors)
    signals = {name: signal.fold_in(delta) for name, signal in old.signals.items()}
    blends = {domain: even_blend(list(signals)) for domain in sorted(set(train.item_domains) - set(old.blends))}
    later = (old.added_after_fit | set(train.items.ids[delta.items < 0])) & set(train.items.ids)
    second = old.second and old.second.for_graph(train)
    segment_models = old.segment_models.fold_in(delta)
    model = HybridModel(train, signals, {**old.blends, **blends}, frozenset(later), segment_models, second)
    return replace(trained, model=model, vectors=vectors)
