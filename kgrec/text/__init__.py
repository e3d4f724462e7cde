"""Node texts, text encoders and the vector cache; precomputed vectors of nodes."""

from __future__ import annotations

import numpy as np

from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.text.base import CountTokens, TextEncoder, token_counter
from kgrec.text.cache import VectorCache
from kgrec.text.encoder import TransformersEncoder, default_encoder, encoder_of
from kgrec.text.precomputed import given_vectors
from kgrec.text.tuned_weights import FineTunedWeights
from kgrec.text.verbalize import describe

__all__ = [
    "CountTokens",
    "FineTunedWeights",
    "TextEncoder",
    "TransformersEncoder",
    "VectorCache",
    "default_encoder",
    "describe",
    "encoder_of",
    "given_vectors",
    "text_vectors",
    "token_counter",
]


def text_vectors(snapshot: GraphSnapshot, encoder: TextEncoder, cache: VectorCache) -> Vectors:
    """Return the vectors of nodes: embeddings of their texts, concatenated with their properties of type `vector`.

    All labels share one vector space. The dimensions of the text come first, then those of each vector property, which
    are zero for a node without it. Each part of a row has length 1, so text and picture have equal weight.

    Args:
        snapshot: the graph; for training, the train snapshot.
        encoder: the text encoder.
        cache: vectors of earlier runs; only other texts are encoded.

    Returns:
        Label → float32 [nodes of the label, d]; a row of zeros is a node without text or vector. A label without any is
        left out.

    Raises:
        DataError: vector properties of one name differ in length.
        UsageError: the encoder does not load, returns NaN or infinite vectors, or was fine-tuned on another schema.
    """
    if isinstance(encoder, TransformersEncoder) and encoder.tuned:
        encoder.tuned.check_schema(snapshot.schema)
    parts = [_encoded(snapshot, encoder, cache), *given_vectors(snapshot).values()]
    parts = [part for part in parts if part]
    sizes = [next(iter(part.values())).shape[1] for part in parts]
    return {
        label: np.hstack(
            [part.get(label, np.zeros((table.num_rows, d), np.float32)) for part, d in zip(parts, sizes, strict=True)]
        )
        for label, table in snapshot.nodes.items()
        if any(label in part for part in parts)
    }


def _encoded(snapshot: GraphSnapshot, encoder: TextEncoder, cache: VectorCache) -> Vectors:
    """Describe and encode the nodes of every label that has a text template."""
    count = token_counter(encoder)
    described = {x: describe(snapshot, x, count) for x in snapshot.nodes if snapshot.schema.nodes[x].text}
    texts = {label: text for label, text in described.items() if (text != "").any()}
    if not texts:
        return {}
    vectors = cache.encode(np.concatenate(list(texts.values())), encoder)
    ends = np.cumsum([len(text) for text in texts.values()])
    return dict(zip(texts, np.split(vectors, ends[:-1]), strict=True))
