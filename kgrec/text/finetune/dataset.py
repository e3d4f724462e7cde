"""Training data for text models: sequences of users' items, and negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.config import Balance
from kgrec.data.histories import sequences
from kgrec.data.snapshot import GraphSnapshot
from kgrec.text.base import CountTokens, count_words
from kgrec.text.verbalize import describe

HARD_NEGATIVE_POOL_ITEMS: Final = 100
"""Hard negatives are sampled from this many items closest to a user's: the closest ones are often false negatives."""

Texts = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Windows:
    """Consecutive items of some users; each item is a target of those before it.

    Attributes:
        user: int64 [n].
        item: int64 [n, w], the latest last; padded with -1 on the left.
    """

    user: IntArray
    item: IntArray


class Histories:
    """Sequences of users' items, by time, or in random order if there are no times.

    Items without text are left out. A user's own text excludes interactions, since these are the targets.

    Args:
        train: the training graph.
        seed: of the order without times, and of the choice of held-out users.
        count_tokens: counts tokens for limits of texts in tokens.

    Attributes:
        texts: str, object [n_items + n_users]: texts of the items, then the users' own.
        popularity: int64 [n_items], users of each item.
        held_out: bool [n_users], users for early stopping, on whom the model is not trained.
    """

    def __init__(self, train: GraphSnapshot, seed: int, count_tokens: CountTokens = count_words) -> None:
        rng = np.random.default_rng(seed)
        silent = train.with_behaviors(np.zeros(len(train.behaviors), dtype=bool))
        items, users = (train, train.schema.roles.items), (silent, train.schema.roles.users)
        self.texts = np.concatenate([_texts(*of, count_tokens) for of in (items, users)])
        self.taken = train.interactions
        self.domains = train.item_domain_nums
        self.popularity = np.diff(self.taken.tocsc().indptr).astype(np.int64)
        self.held_out = np.zeros(train.n_users, dtype=bool)
        self.held_out[rng.permutation(train.n_users)[: min(256, 1 + train.n_users // 20)]] = True
        _, user, item, time = sequences(train)
        order = np.lexsort((rng.random(len(user)), time, user))
        order = order[self.texts[item[order]] != ""]
        self._user, self._item = user[order], item[order]
        self._start = np.searchsorted(self._user, self._user)

    @property
    def is_target(self) -> BoolArray:
        """Mask of the interactions that can be targets, bool [n]: those of a user with an earlier item or a text."""
        return np.asarray((np.arange(len(self._user)) > self._start) | self.has_text(self._user))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.taken.shape[1]

    def has_text(self, user: IntArray) -> BoolArray:
        """Return which users have a text of their own, bool like `user`."""
        return np.asarray(self.texts[self.n_items + user] != "")

    def draw(self, n: int, size: int, rng: np.random.Generator, *, held_out: bool = False) -> Windows:
        """Return up to `n` windows of `size` items that end at random, distinct interactions."""
        ends = np.flatnonzero(self.is_target & (self.held_out[self._user] == held_out))
        ends = rng.choice(ends, min(n, len(ends)), replace=False)
        at = ends[:, None] + np.arange(1 - size, 1)
        return Windows(self._user[ends], self._items(at, self._start[ends]))

    def latest(self, user: IntArray, size: int) -> IntArray:
        """Return the latest `size` items of users [n], int64 [n, size], the latest last, padded with -1 on the left."""
        ends = np.searchsorted(self._user, user, side="right")
        at = ends[:, None] + np.arange(-size, 0)
        return self._items(at, np.searchsorted(self._user, user))

    def _items(self, at: IntArray, start: IntArray) -> IntArray:
        """Return the items at positions [n, size] of the order; -1 before each user's `start`, int64 [n]."""
        return np.where(at >= start[:, None], np.append(self._item, -1)[np.maximum(at, 0)], -1)

    def hard_negatives(self, windows: Windows, vectors: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
        """Return `n` hard negatives per window: unseen items closest to its items by vectors [n_items, d].

        They are in the domain of the window's last item. Returns int64 [windows · n].
        """
        own = vectors[windows.item[:, :-1]] * (windows.item[:, :-1, None] >= 0)
        scores = own.sum(axis=1) @ vectors.T
        scores[self.taken[windows.user].toarray() > 0] = -np.inf
        scores[self.domains[windows.item[:, -1], None] != self.domains] = -np.inf
        scores[:, self.texts[: self.n_items] == ""] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :HARD_NEGATIVE_POOL_ITEMS]
        drawn = np.take_along_axis(best, rng.integers(best.shape[1], size=(len(best), n)), axis=1)
        return np.asarray(drawn[np.isfinite(np.take_along_axis(scores, drawn, axis=1))])

    def is_candidate(self, user: IntArray, target: IntArray, items: IntArray) -> BoolArray:
        """Return which items compete with a target: unseen items of its domain, and itself.

        Args:
            user, target: int64 [n].
            items: int64 [m].

        Returns:
            bool [n, m].
        """
        users, row = np.unique(user, return_inverse=True)
        taken = sp.csr_matrix(self.taken[users][:, items]).toarray() > 0
        others = ~taken[row] & (self.domains[target, None] == self.domains[items])
        return np.asarray(others | (target[:, None] == items))

    def log_share(self, items: IntArray, hard: float) -> FloatArray:
        """Return log sampling probabilities of items: by popularity, and a share `hard` uniformly; float32 [items]."""
        by_popularity = self.popularity[items] / max(int(self.popularity.sum()), 1)
        return np.log((1 - hard) * by_popularity + hard / self.n_items).astype(np.float32)

    def target_weights(self, target: IntArray, balance: Balance, rng: np.random.Generator) -> FloatArray:
        """Return the weight of each target [n], float32: higher for rare items, or lower for popular ones.

        The weight is the square root of mean popularity over the item's popularity (Mikolov et al., "Distributed
        Representations of Words and Phrases", NeurIPS 2013). "weights" uses it directly, "oversample" rounds it at
        random to 1 or more copies, "undersample" to 0 or 1.
        """
        if balance == "none":
            return np.ones(len(target), np.float32)
        mean = float(self.popularity[self.popularity > 0].mean())
        rarity = np.sqrt(mean / self.popularity[target])
        if balance == "weights":
            return rarity.astype(np.float32)
        bounded = np.maximum(rarity, 1) if balance == "oversample" else np.minimum(rarity, 1)
        return np.floor(bounded + rng.random(len(target))).astype(np.float32)


def _texts(graph: GraphSnapshot, labels: tuple[str, ...], count_tokens: CountTokens) -> Texts:
    described = (describe(graph, label, count_tokens) for label in graph.present(labels))
    return np.concatenate([np.empty(0, object), *described])
