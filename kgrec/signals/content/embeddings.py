"""Embeddings: similarity of an item's text vector to the text vectors of a user and their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Array, Layout
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import row_means, user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, HalfLifeItems, LogRange, OutOfDomainWeight, Signal, SignalSettings
from kgrec.signals.domain_weighting import DomainHistories
from kgrec.signals.relevance import RelevantIf, has_user_attributes, users_are_described
from kgrec.signals.whitening import centered_rows, mean_row, part_widths, unit_rows, whitening_matrix


class EmbeddingsSettings(SignalSettings):
    """Settings of the embeddings signal."""

    own_text: Annotated[float, RelevantIf(users_are_described)] = Field(
        0.1, ge=0, le=1, description="Share of the user's own text in their vector; the rest is their items' texts."
    )
    graph_text: Annotated[float, RelevantIf(has_user_attributes)] = Field(
        0.0, ge=0, le=1, description="Share of the texts of the user's attribute nodes in their vector."
    )
    half_life_items: HalfLifeItems = None
    out_of_domain_weight: OutOfDomainWeight = 0.3
    ridge: float = Field(
        5.0, gt=0, description="Regularization of whitening, as a multiple of the mean variance of a dimension."
    )


class Embeddings(Signal):
    """Cosine similarity of the whitened vectors of a user and an item.

    A user's vector is a weighted sum of the mean vector of their items, the vector of their own text, and the mean
    vector of their attribute nodes. Vectors of language models share a dominant direction without information;
    whitening removes it (Su et al., "Whitening Sentence Representations for Better Semantics and Faster Retrieval",
    2021).
    """

    name: ClassVar[str] = "embeddings"
    group: ClassVar[Group] = "content"
    tuning_order: ClassVar[int] = 90
    supports_cold_items: ClassVar[bool] = True
    Settings = EmbeddingsSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"own_text", "graph_text", "out_of_domain_weight"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(4.0, 0.5, 64),
        "out_of_domain_weight": (0.1, 0.0, 1.0),
        "own_text": (0.0, 0.2, 0.4, 0.7),
        "graph_text": (0.1, 0.3, 0.6),
        "ridge": LogRange(6.0, 0.1, 200),
    }

    _users: FloatArray
    _items: FloatArray
    _own: FloatArray
    _linked: FloatArray
    _histories: DomainHistories
    _learned: dict[str, FloatArray]
    _widths: list[int]

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Return whether any item has a text vector."""
        return any(label in vectors and bool(vectors[label].any()) for label in train.schema.roles.items)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Learn the whitening and compute the vectors of users and items."""
        items = _gather(train, train.schema.roles.items, vectors)
        users = _gather(train, train.schema.roles.users, vectors)
        neighbors = _neighbors(train, vectors, items.shape[1])
        widths = part_widths(train, items.shape[1])
        item_mean = mean_row(items, widths)
        learned = {
            "item_mean": item_mean,
            "user_mean": mean_row(users, widths) if users.any() else item_mean,
            "neighbor_mean": mean_row(neighbors, widths) if neighbors.any() else item_mean,
            "whiten": whitening_matrix(centered_rows(items, item_mean, widths), self.settings.ridge),
        }
        return self._bind(train, vectors, learned)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return cosine similarities, float32 [n users, n_items]."""
        if len(self._histories.domains) == 1:
            return np.asarray(self._users[user_nums] @ self._items.T)
        return self._histories.scores(user_nums, self._items, partial(self._mixed, user_nums))

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users, by the texts of the items in their histories."""
        history = user_histories(users, half_life_items=self.settings.half_life_items)
        if len(self._histories.domains) == 1:
            return np.asarray(self._by_items(np.asarray(history @ self._items)) @ self._items.T)
        histories = replace(self._histories, profiles=history)
        return histories.scores(np.arange(history.shape[0]), self._items, self._by_items)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the mean vectors of items, users and attribute nodes, float32 [d], and the whitening, [d, d]."""
        return dict(self._learned)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        d = max((vectors[x].shape[1] for x in train.schema.roles.items if x in vectors), default=0)
        means = dict.fromkeys(("item_mean", "user_mean", "neighbor_mean"), Array((d,)))
        return ({**means, "whiten": Array((d, d))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, vectors, state)

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        return type(self)(self.settings)._bind(delta.new, delta.vectors, self._learned)

    def text_scores(self, texts: Sequence[str], vectors: FloatArray) -> FloatArray:
        """Return cosine similarities of queries and item texts, float32 [n texts, n_items]."""
        wanted = unit_rows(centered_rows(vectors, self._learned["item_mean"], self._widths) @ self._learned["whiten"])
        return np.asarray(wanted @ self._items.T)

    @property
    def user_vectors(self) -> FloatArray:
        """Vectors of users, float32 [n_users, d]."""
        return self._users

    @property
    def item_vectors(self) -> FloatArray:
        """Vectors of items, float32 [n_items, d]."""
        return self._items

    def _bind(self, train: GraphSnapshot, vectors: Vectors, learned: Mapping[str, FloatArray]) -> Self:
        self._learned = dict(learned)
        items = _gather(train, train.schema.roles.items, vectors)
        self._widths = part_widths(train, items.shape[1])
        users = _gather(train, train.schema.roles.users, vectors)
        self._items = unit_rows(centered_rows(items, learned["item_mean"], self._widths) @ learned["whiten"])
        linked = _neighbors(train, vectors, items.shape[1])
        self._own = self._linked = np.broadcast_to(np.float32(0), (train.n_users, items.shape[1]))  # takes no memory
        if users.any() and users.shape[1] == items.shape[1]:
            self._own = unit_rows(centered_rows(users, learned["user_mean"], self._widths) @ learned["whiten"])
        if linked.any():
            self._linked = unit_rows(centered_rows(linked, learned["neighbor_mean"], self._widths) @ learned["whiten"])
        self._histories = DomainHistories.from_snapshot(
            train, self.settings.half_life_items, self.settings.out_of_domain_weight
        )
        self._users = self._mixed(np.arange(train.n_users), np.asarray(self._histories.profiles @ self._items))
        return self

    def _by_items(self, chosen: FloatArray) -> FloatArray:
        """Return user vectors, float32 [n, d], from sums of their items' vectors alone."""
        nothing = np.zeros_like(chosen)
        mixed = _mixed(self.settings.own_text, nothing, unit_rows(chosen))
        return _mixed(self.settings.graph_text, nothing, mixed).astype(np.float32)

    def _mixed(self, user_nums: IntArray, chosen: FloatArray) -> FloatArray:
        """Return the vectors of users [n], float32 [n, d], from sums of their items' vectors and their other texts."""
        mixed = _mixed(self.settings.own_text, self._own[user_nums], unit_rows(chosen))
        return _mixed(self.settings.graph_text, self._linked[user_nums], mixed).astype(np.float32)


def _gather(train: GraphSnapshot, labels: Sequence[str], vectors: Vectors) -> FloatArray:
    """Return the vectors of all nodes of some labels in their numbering, float32 [n, d]; zeros without vectors."""
    present = train.present(labels)
    d = max((vectors[label].shape[1] for label in present if label in vectors), default=0)
    parts = [vectors.get(label, np.zeros((train.nodes[label].num_rows, d), np.float32)) for label in present]
    return np.concatenate(parts) if parts else np.zeros((0, d), np.float32)


def _neighbors(train: GraphSnapshot, vectors: Vectors, d: int) -> FloatArray:
    """Return the mean vector of each user's attribute nodes, float32 [n_users, d]; zeros without any."""
    if not train.user_attributes.nnz:
        return np.zeros((train.n_users, d), np.float32)
    nodes = _gather(train, list(train.nodes), vectors)
    described = sp.csr_matrix(train.user_attributes.multiply(nodes.any(axis=1)))
    return np.asarray(row_means(described) @ nodes, dtype=np.float32)


def _mixed(share: float, part: FloatArray, rest: FloatArray) -> FloatArray:
    """Return share · part + (1 - share) · rest, rows [n, d] scaled to length 1; `part` alone where `rest` is zero."""
    return unit_rows(np.where(rest.any(axis=1, keepdims=True), share * part + (1 - share) * rest, part))
