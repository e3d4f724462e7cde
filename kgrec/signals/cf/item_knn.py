"""Item kNN: items that are often chosen by the users of a user's items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Layout, csr
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import strengths, user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import FeedbackWeight, Grid, HalfLifeItems, LogRange, Signal, SignalSettings
from kgrec.signals.sparse import (
    columns_of,
    factor,
    from_arrays,
    largest_of_columns,
    product,
    rows_of,
    to_arrays,
    transposed,
)

BLOCK_ITEMS: Final = 1024
"""Items whose neighbors are computed at a time; the full co-occurrence matrix is never in memory."""


class ItemKNNSettings(SignalSettings):
    """Settings of item kNN."""

    k: int = Field(200, ge=1, description="Neighbors kept for each item.")
    shrinkage: float = Field(
        20.0, ge=0, description="Constant added to the denominator of the cosine, which shrinks rare pairs."
    )
    popularity_exponent: float = Field(
        0.0, ge=-1, le=1, description="Exponent of the item's popularity that its scores are divided by."
    )
    half_life_items: HalfLifeItems = None
    feedback_weight: FeedbackWeight = 0.5


class ItemKNN(Signal):
    """Sum of the shrunk cosine similarities between an item and the items of a user.

    Item k-nearest neighbors (Deshpande & Karypis, TOIS 2004) with a popularity exponent as in RP3beta (Paudel et
    al., TiiS 2017).
    """

    name: ClassVar[str] = "item_knn"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 20
    Settings = ItemKNNSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(4.0, 0.5, 64),
        "shrinkage": LogRange(5.0, 0.1, 1000),
        "popularity_exponent": (-0.2, 0.2),
        "feedback_weight": (0.0, 1.0),
    }

    _history: sp.csr_matrix
    _similarity: sp.csr_matrix
    _factor: sp.csr_matrix | FloatArray

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Compute the nearest neighbors of every item."""
        chosen = strengths(train, self.settings.feedback_weight)
        by_item = chosen.T.tocsr()
        count = np.bincount(train.interactions.indices, minlength=train.n_items).astype(np.float32)
        blocks = []
        for first in range(0, train.n_items, BLOCK_ITEMS):
            together = transposed(by_item[first : first + BLOCK_ITEMS] @ chosen)
            blocks.append(_nearest(together, count, first, self.settings))
        return self._bind(train, sp.hstack(blocks, format="csr", dtype=np.float32))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return sums of similarities, float32 [n users, n_items]."""
        return product(rows_of(self._history, user_nums), self._factor)

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users; see `Signal`."""
        rows = user_histories(users, self.settings.feedback_weight, self.settings.half_life_items)
        return product(rows, self._factor)

    def item_similarity(self, item_nums: IntArray) -> FloatArray:
        """Return the similarities of items to all items, float32 [n, n_items]."""
        return np.asarray(self._similarity[item_nums].toarray(), dtype=np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the similarities as the arrays of a CSR matrix [n_items, n_items]."""
        return to_arrays(self._similarity)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return (csr(train.n_items),)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, from_arrays(state, train.n_items))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        return type(self)(self.settings)._bind(delta.new, delta.between_items(self._similarity))

    def _bind(self, train: GraphSnapshot, similarity: sp.csr_matrix) -> Self:
        self._history = user_histories(train, self.settings.feedback_weight, self.settings.half_life_items)
        self._similarity, self._factor = similarity, factor(similarity)
        return self


def _nearest(together: sp.csc_matrix, count: FloatArray, first: int, settings: ItemKNNSettings) -> sp.csc_matrix:
    """Return the k largest similarities of each column, from the co-occurrences of a block of columns.

    Args:
        together: co-occurrences, CSC [n_items, columns of the block].
        count: users of each item, float32 [n_items].
        first: number of the block's first item.
        settings: `ItemKNNSettings`.
    """
    row, column = together.indices, columns_of(together)
    popularity = count[first + column]
    similarity = together.data / (np.sqrt(count[row] * popularity) + settings.shrinkage)
    similarity /= popularity**settings.popularity_exponent
    similarity[row == first + column] = 0
    related = sp.csc_matrix((similarity.astype(np.float32), row, together.indptr), shape=together.shape)
    return largest_of_columns(related, related.data, settings.k)
