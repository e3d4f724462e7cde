"""From nodes to text, from text to vectors."""

from __future__ import annotations

import numpy as np

from kgrec.snapshot import GraphSnapshot, Vectors
from kgrec.text.cache import VectorCache
from kgrec.text.describe import describe
from kgrec.text.encoder import TextEncoder, TransformersEncoder, default_encoder, encoder_of

__all__ = [
    "TextEncoder",
    "TransformersEncoder",
    "VectorCache",
    "default_encoder",
    "describe",
    "encoder_of",
    "text_vectors",
]


def text_vectors(snapshot: GraphSnapshot, encoder: TextEncoder, cache: VectorCache) -> Vectors:
    """Describe and encode the nodes of every label that has a text template.

    Args:
        snapshot: the graph; a train snapshot, where the vectors serve to learn.
        encoder: what turns a text into a vector.
        cache: where vectors of earlier runs are; only texts it does not hold are encoded.

    Returns:
        Label → float32 [nodes of the label, encoder.dim]; a row of zeros is a node without text. A label without any
        text is left out.
    """
    described = {x: describe(snapshot, x) for x in snapshot.nodes if snapshot.schema.nodes[x].text}
    texts = {label: text for label, text in described.items() if (text != "").any()}
    if not texts:
        return {}
    vectors = cache.encode(np.concatenate(list(texts.values())), encoder)
    ends = np.cumsum([len(text) for text in texts.values()])
    return dict(zip(texts, np.split(vectors, ends[:-1]), strict=True))
