"""Text: the user's text, the texts of their items and of their neighbours against the text of an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec.data.graph_delta import Growth
from kgrec.data.histories import history, row_means
from kgrec.data.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors
from kgrec.signals.base import Elsewhere, Grid, Group, Ladder, Recent, Signal, SignalSettings
from kgrec.signals.domain_weighting import items_by_domain, scores_at_home
from kgrec.signals.layout import Array, Layout


class TextSettings(SignalSettings):
    """Settings of the text signal."""

    own_text: float = Field(0.1, ge=0, le=1, description="Share of the user's own text, the rest being their items'.")
    graph_text: float = Field(
        0.0, ge=0, le=1, description="Share of the texts of the user's neighbours in the knowledge graph in all of it."
    )
    recent: Recent = None
    elsewhere: Elsewhere = 0.3
    ridge: float = Field(
        5.0, gt=0, description="Pull of whitening towards none, as a multiple of the mean variance of a dimension."
    )


class Text(Signal):
    """Cosine similarity of a user's vector and an item's, both whitened.

    The user's vector mixes three, by shares that validation chooses: the mean of their items' vectors, the vector of
    their own text, and the mean of the vectors of what the knowledge graph links them to. Vectors of language models
    share one strong direction that says little; whitening takes it away (Su et al., "Whitening Sentence Representations
    for Better Semantics and Faster Retrieval", 2021).
    """

    name: ClassVar[str] = "text"
    group: ClassVar[Group] = "content"
    knows_new_items: ClassVar[bool] = True
    Settings = TextSettings
    scoring: ClassVar[frozenset[str]] = frozenset({"own_text", "graph_text", "elsewhere"})
    grid: ClassVar[Grid] = {
        "recent": Ladder(4.0, 0.5, 64),
        "elsewhere": (0.1, 0.0, 1.0),
        "own_text": (0.0, 0.2, 0.4, 0.7),
        "graph_text": (0.1, 0.3, 0.6),
        "ridge": Ladder(6.0, 0.1, 200),
    }

    _users: FloatArray
    _items: FloatArray
    _own: FloatArray
    _linked: FloatArray
    _held: sp.csr_matrix
    _domains: list[IntArray]
    _learnt: dict[str, FloatArray]

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether any item has a text vector."""
        return any(label in vectors and bool(vectors[label].any()) for label in train.schema.roles.items)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Learn to whiten the vectors, and place every user among the items."""
        items = _gather(train, train.schema.roles.items, vectors)
        users = _gather(train, train.schema.roles.users, vectors)
        neighbours = _neighbours(train, vectors, items.shape[1])
        item_mean = _mean(items)
        learnt = {
            "item_mean": item_mean,
            "user_mean": _mean(users) if users.any() else item_mean,
            "neighbour_mean": _mean(neighbours) if neighbours.any() else item_mean,
            "whiten": _whitening(_centred(items, item_mean), self.settings.ridge),
        }
        return self._take(train, vectors, learnt)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return cosine similarities, float32 [n users, n_items]."""
        if len(self._domains) == 1:
            return np.asarray(self._users[user_nums] @ self._items.T)
        finished = partial(self._mixed, user_nums)
        return scores_at_home(self._held[user_nums], self._items, self._domains, self.settings.elsewhere, finished)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the means of the vectors of items, users and their neighbours, and what whitens, float32 [d, d]."""
        return dict(self._learnt)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        d = max((vectors[x].shape[1] for x in train.schema.roles.items if x in vectors), default=0)
        means = dict.fromkeys(("item_mean", "user_mean", "neighbour_mean"), Array((d,)))
        return ({**means, "whiten": Array((d, d))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._take(train, vectors, state)

    def fold_in(self, growth: Growth) -> Self:
        """Place what was learnt in a graph that has grown; see `Signal`."""
        return type(self)(self.settings)._take(growth.new, growth.vectors, self._learnt)

    def text_scores(self, texts: Sequence[str], vectors: FloatArray) -> FloatArray:
        """Return cosine similarities of texts and the items' texts, float32 [n texts, n_items]."""
        wanted = _unit(_centred(vectors, self._learnt["item_mean"]) @ self._learnt["whiten"])
        return np.asarray(wanted @ self._items.T)

    @property
    def user_vectors(self) -> FloatArray:
        """Vectors of users, float32 [n_users, d]."""
        return self._users

    @property
    def item_vectors(self) -> FloatArray:
        """Vectors of items, float32 [n_items, d]."""
        return self._items

    def _take(self, train: GraphSnapshot, vectors: Vectors, learnt: Mapping[str, FloatArray]) -> Self:
        self._learnt = dict(learnt)
        items = _gather(train, train.schema.roles.items, vectors)
        users = _gather(train, train.schema.roles.users, vectors)
        self._items = _unit(_centred(items, learnt["item_mean"]) @ learnt["whiten"])
        linked = _neighbours(train, vectors, items.shape[1])
        self._own = self._linked = np.broadcast_to(np.float32(0), (train.n_users, items.shape[1]))  # takes no memory
        if users.any() and users.shape[1] == items.shape[1]:
            self._own = _unit(_centred(users, learnt["user_mean"]) @ learnt["whiten"])
        if linked.any():
            self._linked = _unit(_centred(linked, learnt["neighbour_mean"]) @ learnt["whiten"])
        self._held, self._domains = history(train, recent=self.settings.recent), items_by_domain(train)
        self._users = self._mixed(np.arange(train.n_users), np.asarray(self._held @ self._items))
        return self

    def _mixed(self, user_nums: IntArray, chosen: FloatArray) -> FloatArray:
        """Return the vectors of users [n], float32 [n, d], from sums of their items' vectors."""
        mixed = _mixed(self.settings.own_text, self._own[user_nums], _unit(chosen))
        return _mixed(self.settings.graph_text, self._linked[user_nums], mixed).astype(np.float32)


def _gather(train: GraphSnapshot, labels: Sequence[str], vectors: Vectors) -> FloatArray:
    """Vectors of all nodes of a role in its numbering, float32 [n, d]; zeros for a label without vectors."""
    present = train.present(labels)
    d = max((vectors[label].shape[1] for label in present if label in vectors), default=0)
    parts = [vectors.get(label, np.zeros((train.nodes[label].num_rows, d), np.float32)) for label in present]
    return np.concatenate(parts) if parts else np.zeros((0, d), np.float32)


def _neighbours(train: GraphSnapshot, vectors: Vectors, d: int) -> FloatArray:
    """Mean vector of the nodes that the knowledge graph links each user with, float32 [n_users, d]; zeros for none."""
    if not train.user_attributes.nnz:
        return np.zeros((train.n_users, d), np.float32)
    nodes = _gather(train, list(train.nodes), vectors)
    described = sp.csr_matrix(train.user_attributes.multiply(nodes.any(axis=1)))
    return np.asarray(row_means(described) @ nodes, dtype=np.float32)


def _mixed(share: float, part: FloatArray, rest: FloatArray) -> FloatArray:
    """Mix rows of length 1 [n, d], of which `part` has a share; where the rest is missing, it is all there is."""
    return _unit(np.where(rest.any(axis=1, keepdims=True), share * part + (1 - share) * rest, part))


def _mean(x: FloatArray) -> FloatArray:
    """Return the mean of the rows that have text, float32 [d]."""
    return np.asarray(x[x.any(axis=1)].mean(axis=0), dtype=np.float32)


def _centred(x: FloatArray, mean: FloatArray) -> FloatArray:
    """Subtract a mean [d] from rows [n, d]; rows without text stay zero."""
    return np.asarray(np.where(x.any(axis=1, keepdims=True), x - mean, 0), dtype=np.float32)


def _whitening(centred: FloatArray, ridge: float) -> FloatArray:
    """Return the matrix that makes centred vectors uncorrelated, float32 [d, d]."""
    variance, axes = np.linalg.eigh(centred.T @ centred / max(1, int(centred.any(axis=1).sum())))
    scale = np.sqrt(np.maximum(variance, 0) + ridge * max(float(variance.mean()), 1e-12))
    return np.asarray(axes / scale, dtype=np.float32)


def _unit(x: FloatArray) -> FloatArray:
    """Scale rows to length 1; rows of zeros stay zero."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
