"""Text: the user's text and the texts of their items against the text of an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kgrec.signals.base import Grid, Group, Ladder, Recent, Signal, SignalSettings
from kgrec.signals.history import history
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors


class TextSettings(SignalSettings):
    """Settings of the text signal."""

    own_text: float = Field(0.1, ge=0, le=1, description="Share of the user's own text, the rest being their items'.")
    recent: Recent = None
    ridge: float = Field(
        5.0, gt=0, description="Pull of whitening towards none, as a multiple of the mean variance of a dimension."
    )


class Text(Signal):
    """Cosine similarity of a user's vector and an item's, both whitened.

    The user's vector mixes the vector of their own text with the mean of their items' vectors. Vectors of language
    models share one strong direction that says little; whitening takes it away (Su et al., "Whitening Sentence
    Representations for Better Semantics and Faster Retrieval", 2021).
    """

    name: ClassVar[str] = "text"
    group: ClassVar[Group] = "content"
    Settings = TextSettings
    grid: ClassVar[Grid] = {
        "recent": Ladder(4.0, 0.5, 64),
        "own_text": (0.0, 0.4),
        "ridge": Ladder(6.0, 0.1, 200),
    }

    _users: FloatArray
    _items: FloatArray

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether any item has a text vector."""
        return any(label in vectors and bool(vectors[label].any()) for label in train.schema.roles.items)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Whiten the vectors and place every user among the items."""
        items = _gather(train, train.schema.roles.items, vectors)
        users = _gather(train, train.schema.roles.users, vectors)
        whiten = _whitening(items, self.settings.ridge)
        self._items = _unit(_centred(items) @ whiten)
        share = self.settings.own_text
        own = _unit(_centred(users) @ whiten) if users.shape[1] == items.shape[1] else 0.0
        chosen = _unit(np.asarray(history(train, recent=self.settings.recent) @ self._items))
        self._users = _unit(share * own + (1 - share) * chosen).astype(np.float32)
        return self

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return cosine similarities, float32 [n users, n_items]."""
        return np.asarray(self._users[user_nums] @ self._items.T)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the vectors of users and items."""
        return {"users": self._users, "items": self._items}

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        self._users, self._items = state["users"], state["items"]
        return self

    @property
    def user_vectors(self) -> FloatArray:
        """Vectors of users, float32 [n_users, d]."""
        return self._users

    @property
    def item_vectors(self) -> FloatArray:
        """Vectors of items, float32 [n_items, d]."""
        return self._items


def _gather(train: GraphSnapshot, labels: Sequence[str], vectors: Vectors) -> FloatArray:
    """Vectors of all nodes of a role in its numbering, float32 [n, d]; zeros for a label without vectors."""
    present = train.present(labels)
    d = max((vectors[label].shape[1] for label in present if label in vectors), default=0)
    parts = [vectors.get(label, np.zeros((train.nodes[label].num_rows, d), np.float32)) for label in present]
    return np.concatenate(parts) if parts else np.zeros((0, d), np.float32)


def _centred(x: FloatArray) -> FloatArray:
    """Subtract the mean of the rows that have text; rows without stay zero."""
    has_text = np.asarray(x.any(axis=1))
    mean = x[has_text].mean(axis=0) if has_text.any() else np.zeros(x.shape[1], x.dtype)
    return np.asarray(np.where(has_text[:, None], x - mean, 0), dtype=np.float32)


def _whitening(items: FloatArray, ridge: float) -> FloatArray:
    """Return the matrix that makes centred vectors uncorrelated, float32 [d, d]."""
    centred = _centred(items)
    variance, axes = np.linalg.eigh(centred.T @ centred / max(1, int(items.any(axis=1).sum())))
    scale = np.sqrt(np.maximum(variance, 0) + ridge * max(float(variance.mean()), 1e-12))
    return np.asarray(axes / scale, dtype=np.float32)


def _unit(x: FloatArray) -> FloatArray:
    """Scale rows to length 1; rows of zeros stay zero."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
