"""Neighbours: items that are chosen together with, or soon after, the items of a user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import add
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec.signals.base import Group, Signal, SignalSettings
from kgrec.signals.cf.strength import strengths
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors

WINDOW: Final = 10
"""Steps in a user's history beyond which two items do not count as near."""
BLOCK: Final = 1024
"""Items whose neighbours are found at a time."""

Order = Literal["none", "near", "next"]


class NeighboursSettings(SignalSettings):
    """Settings of neighbours."""

    k: int = Field(200, ge=1, description="Neighbours kept for an item.")
    shrinkage: float = Field(20.0, ge=0, description="Co-occurrences that a similarity needs to be half believed.")
    damping: float = Field(
        0.0, ge=-1, le=1, description="Power of an item's popularity that its scores are divided by."
    )
    order: Order = Field(
        "none", description="Which pairs in a history count: all alike, those near in time more, or only later items."
    )
    recent: float | None = Field(
        None, gt=0, description="Latest items of a user after which an older one counts half; none: all alike."
    )
    weight_influence: float = Field(0.2, ge=0, lt=1, description="How far a behaviour's weight moves its strength.")


class Neighbours(Signal):
    """Sum of the shrunk cosine similarities of an item to the items of a user.

    Item k-nearest neighbours (Deshpande & Karypis, TOIS 2004) with a popularity exponent as in RP3beta (Paudel et
    al., TiiS 2017) and the order of a user's items; without times, `order` and `recent` do nothing.
    """

    name: ClassVar[str] = "neighbours"
    group: ClassVar[Group] = "cf"
    Settings = NeighboursSettings
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "order": ("near", "next"),
        "recent": (1.0, 4.0),
        "shrinkage": (3.0,),
        "damping": (-0.1, 0.2),
    }

    _history: sp.csr_matrix
    _similarity: sp.csr_matrix

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Find the nearest neighbours of every item."""
        settings: NeighboursSettings = self.settings
        self._history = _history(train, settings)
        count = np.bincount(train.interactions.indices, minlength=train.n_items).astype(np.float32)
        blocks = [_nearest(together, count, first, settings) for first, together in _co_occurrences(train, settings)]
        self._similarity = sp.hstack(blocks, format="csr", dtype=np.float32)
        return self

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return sums of similarities, float32 [n users, n_items]."""
        return np.asarray((self._history[user_nums] @ self._similarity).toarray())

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the similarities as the three arrays of a CSR matrix."""
        similarity = self._similarity
        return {"data": similarity.data, "indices": similarity.indices, "indptr": similarity.indptr}

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        self._history = _history(train, self.settings)
        parts = (state["data"], state["indices"], state["indptr"])
        self._similarity = sp.csr_matrix(parts, shape=(train.n_items, train.n_items))
        return self


def _history(train: GraphSnapshot, settings: NeighboursSettings) -> sp.csr_matrix:
    """What each user holds with, float32 CSR [n_users, n_items]; older items count less if `recent` says so."""
    history = strengths(train, settings.weight_influence)
    if settings.recent is None or not _has_times(train):
        return history
    user_num, item_num = _sequences(train)
    ends = np.cumsum(np.bincount(user_num, minlength=train.n_users))
    steps_ago = ends[user_num] - 1 - np.arange(len(user_num))
    fading = sp.csr_matrix((0.5 ** (steps_ago / settings.recent), (user_num, item_num)), shape=history.shape)
    return history.multiply(fading).tocsr().astype(np.float32)


def _has_times(train: GraphSnapshot) -> bool:
    return bool(np.isfinite(train.behaviours.time).any())


def _sequences(train: GraphSnapshot) -> tuple[IntArray, IntArray]:
    """Distinct (user, item) pairs, users together and each user's items by their latest time, oldest first."""
    behaviours = train.behaviours
    latest = sp.coo_matrix(train.interactions)
    time = np.full(latest.nnz, -np.inf)
    cell = np.ravel_multi_index((latest.row, latest.col), latest.shape)
    at = np.searchsorted(cell, np.ravel_multi_index((behaviours.user_num, behaviours.item_num), latest.shape))
    np.maximum.at(time, at, np.nan_to_num(behaviours.time, nan=-np.inf))
    by_time = np.lexsort((time, latest.row))
    return latest.row[by_time].astype(np.int64), latest.col[by_time].astype(np.int64)


def _co_occurrences(train: GraphSnapshot, settings: NeighboursSettings) -> Iterator[tuple[int, sp.csc_matrix]]:
    """Yield first column and block, CSC: how often items (rows) come with those of the block (columns)."""
    left, right = _pair_factors(train, settings)
    for first in range(0, train.n_items, BLOCK):
        yield first, sp.csc_matrix(left @ right[:, first : first + BLOCK])


def _pair_factors(train: GraphSnapshot, settings: NeighboursSettings) -> tuple[sp.csr_matrix, sp.csc_matrix]:
    """Two sparse matrices whose product is the co-occurrence matrix; blocks of it never all exist at once."""
    if settings.order == "none" or not _has_times(train):
        history = strengths(train, settings.weight_influence)
        return history.T.tocsr(), history.tocsc()
    following = _following(train)
    pairs = following if settings.order == "next" else following + following.T
    return sp.csr_matrix(sp.eye(train.n_items, dtype=np.float32)), sp.csc_matrix(pairs)


def _following(train: GraphSnapshot) -> sp.csr_matrix:
    """Sum over users of 1 / steps from an item (row) to a later one (column), float32 CSR [n_items, n_items]."""
    user_num, item_num = _sequences(train)

    def at(step: int) -> sp.csr_matrix:
        same = user_num[step:] == user_num[:-step]
        cells = (item_num[:-step][same], item_num[step:][same])
        values = np.full(len(cells[0]), 1 / step, dtype=np.float32)
        return sp.csr_matrix((values, cells), shape=(train.n_items, train.n_items))

    return reduce(add, map(at, range(1, WINDOW + 1)))


def _nearest(together: sp.csc_matrix, count: FloatArray, first: int, settings: NeighboursSettings) -> sp.csc_matrix:
    """Turn co-occurrences of a block of columns into similarities and keep the k largest of a column."""
    row, column = together.indices, np.repeat(np.arange(together.shape[1]), np.diff(together.indptr))
    popularity = count[first + column]
    similarity = together.data / (np.sqrt(count[row] * popularity) + settings.shrinkage)
    similarity /= popularity**settings.damping
    similarity[row == first + column] = 0
    by_similarity = np.lexsort((-similarity, column))
    place = np.arange(len(row)) - together.indptr[column]
    kept = by_similarity[(place < settings.k) & (similarity[by_similarity] > 0)]
    cells = (row[kept], column[kept])
    return sp.csc_matrix((similarity[kept].astype(np.float32), cells), shape=together.shape)
