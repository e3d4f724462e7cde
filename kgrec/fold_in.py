"""Cold start: what was trained serves a graph that has grown, without training again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from kgrec.errors import UsageError
from kgrec.growth import Growth, moved
from kgrec.model import HybridModel
from kgrec.snapshot import FloatArray, GraphSnapshot, Vectors
from kgrec.text import describe
from kgrec.training import Trained, even_blend

EncodeTexts = Callable[[npt.NDArray[np.object_]], FloatArray]
"""Texts [n] → float32 [n, d], zeros for an empty text."""
SAME: Final = 0.99
"""Cosine of two vectors of one text, above which they come from one encoder."""


def fold_in(trained: Trained, train: GraphSnapshot, encode: EncodeTexts) -> Trained:
    """Return what was trained, for a graph that has grown; signals, blends and settings are not learnt again.

    Args:
        trained: the result of training, or of an earlier fold-in.
        train: the graph now, without test behaviours.
        encode: the encoder that training used; it gets only texts that are new or have changed.

    Raises:
        UsageError: the graph has another schema.
    """
    old = trained.model
    if train.schema.digest != old.train.schema.digest:
        found, expected = train.schema.name, old.train.schema.name
        raise UsageError(f"found a graph of schema {found!r}; expected {expected!r} as it was when fitted; fit again")
    vectors = _vectors(trained, train, encode)
    growth = Growth(old.train, train, vectors)
    signals = {name: signal.fold_in(growth) for name, signal in old.signals.items()}
    blends = {domain: even_blend(list(signals)) for domain in sorted(set(train.item_domains) - set(old.blends))}
    later = (old.came_later | set(train.items.ids[growth.items < 0])) & set(train.items.ids)
    model = HybridModel(train, signals, {**old.blends, **blends}, frozenset(later))
    return Trained(model, vectors, trained.choices, trained.seconds)


def known_text(trained: Trained) -> tuple[str, FloatArray] | None:
    """Return the text of a node and the vector [d] that training had of it; None where no node has text."""
    train = trained.model.train
    labels = sorted((x for x in trained.vectors if trained.vectors[x].any()), key=lambda x: train.nodes[x].num_rows)
    for label in labels[:1]:
        row = int(np.argmax(trained.vectors[label].any(axis=1)))
        return str(describe(train, label)[row]), trained.vectors[label][row]
    return None


def check_encoder(found: FloatArray, expected: FloatArray) -> None:
    """Compare two vectors [d] of one text.

    Raises:
        UsageError: they come from different encoders.
    """
    if found.shape != expected.shape or found @ expected < SAME * np.linalg.norm(found) * np.linalg.norm(expected):
        raise UsageError(
            "found another text encoder than the one of the fit; expected the same: "
            "Recommender.load(folder, encoder=…), or the same setting `encoder`"
        )


def _vectors(trained: Trained, train: GraphSnapshot, encode: EncodeTexts) -> Vectors:
    """Return the text vectors of the graph now; a text that was there before keeps its vector to the bit."""
    growth = Growth(trained.model.train, train, {})
    labels = [label for label in train.nodes if train.schema.nodes[label].text]
    found = {label: _label_vectors(trained, growth, label, encode) for label in labels}
    return {label: vectors for label, vectors in found.items() if vectors.any()}


def _label_vectors(trained: Trained, growth: Growth, label: str, encode: EncodeTexts) -> FloatArray:
    texts, old_num = describe(growth.new, label), growth.of_label(label)
    if label not in trained.vectors:
        return encode(texts)
    same = (old_num >= 0) & (describe(growth.old, label)[old_num] == texts)
    vectors = moved(trained.vectors[label], old_num)
    if not same.all():
        vectors[~same] = encode(texts[~same])
    return vectors
