"""Node texts, text encoders and the vector cache; precomputed vectors of nodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kgrec._util.types import FloatArray
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.text.base import CountTokens, TextEncoder, encodes_behaviors, token_counter
from kgrec.text.cache import VectorCache
from kgrec.text.encoder import TransformersEncoder, default_encoder, encoder_of
from kgrec.text.precomputed import given_vectors
from kgrec.text.tuned_weights import FineTunedWeights
from kgrec.text.verbalize import behavior_sentences, describe, latest_items

__all__ = [
    "CountTokens",
    "FineTunedWeights",
    "TextEncoder",
    "TransformersEncoder",
    "VectorCache",
    "default_encoder",
    "describe",
    "encoded_texts",
    "encoder_of",
    "given_vectors",
    "text_vectors",
    "token_counter",
]


def text_vectors(snapshot: GraphSnapshot, encoder: TextEncoder, cache: VectorCache) -> Vectors:
    """Return the vectors of nodes: embeddings of their texts, concatenated with their properties of type `vector`.

    All labels share one vector space. The dimensions of the text come first, then those of each vector property, which
    are zero for a node without it. Each part of a row has length 1, so text and picture have equal weight. Sentences
    about behaviors are not encoded; see `encoded_texts`. A user with no other text gets the mean vector of the items
    that they name.

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
    described = encoded_texts(snapshot, encoder) if encoder.dim else {}
    texts = {label: text for label, text in described.items() if (text != "").any()}
    if not texts:
        return {}
    vectors = cache.encode(np.concatenate(list(texts.values())), encoder)
    ends = np.cumsum([len(text) for text in texts.values()])
    by_label = dict(zip(texts, np.split(vectors, ends[:-1]), strict=True))
    return by_label if encodes_behaviors(encoder) else {**by_label, **_by_items(snapshot, by_label)}


def encoded_texts(snapshot: GraphSnapshot, encoder: TextEncoder) -> dict[str, npt.NDArray[np.object_]]:
    """Return the texts that an encoder gets: label → text of each node, "" for none; labels with a template only.

    Sentences about behaviors are among them only if the encoder's attribute `encodes_behaviors` is true. They change
    with every interaction, and would be most of the tokens.
    """
    count, behaviors = token_counter(encoder), encodes_behaviors(encoder)
    return {x: describe(snapshot, x, count, behaviors) for x in snapshot.nodes if snapshot.schema.nodes[x].text}


def _by_items(snapshot: GraphSnapshot, vectors: Vectors) -> Vectors:
    """Return the vectors of user labels with sentences about behaviors; `vectors` has those of other sentences.

    A user without another sentence gets the mean vector of the items that the sentences would name, of length 1.
    """
    labels = [x for x in snapshot.present(snapshot.schema.roles.users) if behavior_sentences(snapshot.schema, x)]
    parts = snapshot.present(snapshot.schema.roles.items)
    if not labels or not any(label in vectors for label in parts):
        return {}
    width = next(iter(vectors.values())).shape[1]
    blank = {label: np.zeros((snapshot.nodes[label].num_rows, width), np.float32) for label in (*labels, *parts)}
    items = np.concatenate([vectors.get(label, blank[label]) for label in parts])
    return {
        label: _where_empty(vectors.get(label, blank[label]), np.asarray(latest_items(snapshot, label) @ items))
        for label in labels
    }


def _where_empty(vectors: FloatArray, sums: FloatArray) -> FloatArray:
    """Return vectors [n, d] with rows of zeros replaced by those of `sums`, scaled to length 1."""
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.where(vectors.any(axis=1, keepdims=True), vectors, means)
