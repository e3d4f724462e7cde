"""Whitening of vectors, and the whitened vectors that a graph gives its items.

Vectors of a model share a dominant direction without information; whitening removes it (Su et al., "Whitening Sentence
Representations for Better Semantics and Faster Retrieval", 2021). Vectors of text and of each
property are the parts of one row; a part of zeros, which a node lacks, stays zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from kgrec._util.types import FloatArray
from kgrec.data.snapshot import GraphSnapshot

GIVEN_RIDGE: Final = 1.0
"""Regularization of the whitening of given vectors; NDCG@20 of EASE on tiktok's validation part is flat from 0 to 5."""


def whitened_item_vectors(train: GraphSnapshot) -> list[FloatArray]:
    """Return the whitened vectors of items by each property of type `vector`, float32 [n_items, d], of length 1 or 0.

    Each property, such as pictures and sounds, is centered and whitened by itself.
    """
    from kgrec.text.precomputed import given_vectors

    present = train.present(train.schema.roles.items)
    parts = []
    for by_label in given_vectors(train).values():
        blank = {
            x: np.zeros((train.nodes[x].num_rows, next(iter(by_label.values())).shape[1]), np.float32) for x in present
        }
        items = np.concatenate([by_label.get(x, blank[x]) for x in present])
        if items.any():
            width = [items.shape[1]]
            centered = centered_rows(items, mean_row(items, width), width)
            parts.append(unit_rows(centered @ whitening_matrix(centered, GIVEN_RIDGE)))
    return parts


def part_widths(train: GraphSnapshot, width: int) -> list[int]:
    """Return the dimensions of the parts of concatenated vectors: the text, if any, then each vector property."""
    from kgrec.text.precomputed import given_widths

    given = given_widths(train)
    return [part for part in (width - sum(given), *given) if part] if 0 < sum(given) <= width else [width]


def mean_row(x: FloatArray, widths: Sequence[int]) -> FloatArray:
    """Return the mean of the rows [n, d] that have a part, for each part, float32 [d]; 0 for a part that none has."""
    parts = [part[part.any(axis=1)] for part in _split(x, widths)]
    means = [part.mean(axis=0) if len(part) else np.zeros(part.shape[1], np.float32) for part in parts]
    return np.concatenate(means).astype(np.float32)


def centered_rows(x: FloatArray, mean: FloatArray, widths: Sequence[int]) -> FloatArray:
    """Return rows [n, d] minus a mean [d]; a part of zeros, which a node lacks, stays zero."""
    has_part = np.stack([part.any(axis=1) for part in _split(x, widths)], axis=1)
    return np.asarray(np.where(np.repeat(has_part, widths, axis=1), x - mean, 0), dtype=np.float32)


def _split(x: FloatArray, widths: Sequence[int]) -> list[FloatArray]:
    return np.split(x, np.cumsum(widths)[:-1], axis=1)


def whitening_matrix(centered: FloatArray, ridge: float) -> FloatArray:
    """Return the matrix that whitens centered vectors, float32 [d, d].

    Args:
        centered: float32 [n, d].
        ridge: regularization, as a multiple of the mean variance of a dimension.
    """
    variance, axes = np.linalg.eigh(centered.T @ centered / max(1, int(centered.any(axis=1).sum())))
    scale = np.sqrt(np.maximum(variance, 0) + ridge * max(float(variance.mean()), 1e-12))
    return np.asarray(axes / scale, dtype=np.float32)


def unit_rows(x: FloatArray) -> FloatArray:
    """Return rows scaled to length 1; rows of zeros stay zero."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
