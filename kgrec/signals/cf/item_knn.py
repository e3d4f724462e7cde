"""Neighbours: items that are chosen together with the items of a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec.data.graph_delta import Growth
from kgrec.data.histories import history, strengths
from kgrec.data.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors
from kgrec.signals.base import Grid, Group, Ladder, Recent, Signal, SignalSettings, WeightInfluence
from kgrec.signals.layout import Layout, csr
from kgrec.signals.sparse import columns_of, from_arrays, largest_of_columns, to_arrays

BLOCK: Final = 1024
"""Items whose neighbours are found at a time; the whole co-occurrence matrix never exists."""


class NeighboursSettings(SignalSettings):
    """Settings of neighbours."""

    k: int = Field(200, ge=1, description="Neighbours kept for an item.")
    shrinkage: float = Field(20.0, ge=0, description="Co-occurrences that a similarity needs to be half believed.")
    damping: float = Field(
        0.0, ge=-1, le=1, description="Power of an item's popularity that its scores are divided by."
    )
    recent: Recent = None
    weight_influence: WeightInfluence = 0.5


class Neighbours(Signal):
    """Sum of the shrunk cosine similarities of an item to the items of a user.

    Item k-nearest neighbours (Deshpande & Karypis, TOIS 2004) with a popularity exponent as in RP3beta (Paudel et
    al., TiiS 2017).
    """

    name: ClassVar[str] = "neighbours"
    group: ClassVar[Group] = "cf"
    Settings = NeighboursSettings
    scoring: ClassVar[frozenset[str]] = frozenset({"recent"})
    grid: ClassVar[Grid] = {
        "recent": Ladder(4.0, 0.5, 64),
        "shrinkage": Ladder(5.0, 0.1, 1000),
        "damping": (-0.2, 0.2),
        "weight_influence": (0.0, 1.0),
    }

    _history: sp.csr_matrix
    _similarity: sp.csr_matrix

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Find the nearest neighbours of every item."""
        chosen = strengths(train, self.settings.weight_influence)
        left, right = chosen.T.tocsr(), chosen.tocsc()
        count = np.bincount(train.interactions.indices, minlength=train.n_items).astype(np.float32)
        blocks = []
        for first in range(0, train.n_items, BLOCK):
            together = sp.csc_matrix(left @ right[:, first : first + BLOCK])
            blocks.append(_nearest(together, count, first, self.settings))
        return self._take(train, sp.hstack(blocks, format="csr", dtype=np.float32))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return sums of similarities, float32 [n users, n_items]."""
        return np.asarray((self._history[user_nums] @ self._similarity).toarray())

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the similarities as the arrays of a CSR matrix [n_items, n_items]."""
        return to_arrays(self._similarity)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        return (csr(train.n_items),)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._take(train, from_arrays(state, train.n_items))

    def fold_in(self, growth: Growth) -> Self:
        """Place what was learnt in a graph that has grown; see `Signal`."""
        return type(self)(self.settings)._take(growth.new, growth.between_items(self._similarity))

    def _take(self, train: GraphSnapshot, similarity: sp.csr_matrix) -> Self:
        self._history = history(train, self.settings.weight_influence, self.settings.recent)
        self._similarity = similarity
        return self


def _nearest(together: sp.csc_matrix, count: FloatArray, first: int, settings: NeighboursSettings) -> sp.csc_matrix:
    """Turn co-occurrences of a block of columns into similarities and keep the k largest of a column."""
    row, column = together.indices, columns_of(together)
    popularity = count[first + column]
    similarity = together.data / (np.sqrt(count[row] * popularity) + settings.shrinkage)
    similarity /= popularity**settings.damping
    similarity[row == first + column] = 0
    related = sp.csc_matrix((similarity.astype(np.float32), row, together.indptr), shape=together.shape)
    return largest_of_columns(related, related.data, settings.k)
