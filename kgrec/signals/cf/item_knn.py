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
    activity_exponent: float = Field(
        0.25,
        ge=0,
        le=2,
        description="Exponent of a user's number of items that co-occurrences of the user are divided by.",
    )
    amplification: float = Field(
        1.0, ge=1, le=5, description="Exponent of the similarities: above 1, the most similar items count more."
    )
    half_life_items: HalfLifeItems = None
    feedback_weight: FeedbackWeight = 0.5


class ItemKNN(Signal):
    """Sum of the shrunk cosine similarities between an item and the items of a user.

    Item k-nearest neighbors (Deshpande & Karypis, TOIS 2004) with a popularity exponent as in RP3beta (Paudel et
    al., TiiS 2017). Users of many items say less about each pair of them, so they count less (inverse user frequency:
    Breese et al., UAI 1998). With amplification one very similar item, such as the same good in another catalog, counts
    more than many that are a little similar (case amplification: ibid.).
    """

    name: ClassVar[str] = "item_knn"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 20
    Settings = ItemKNNSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(4.0, 0.5, 64),
        "shrinkage": LogRange(5.0, 0.1, 1000),
        "activity_exponent": (0.0, 0.5),
        "amplification": (1.5, 2.0),
        "popularity_exponent": (-0.2, 0.2),
        "feedback_weight": (0.0, 1.0),
    }

    _history: sp.csr_matrix
    _similarity: sp.csr_matrix
    _factor: sp.csr_matrix | FloatArray

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Compute the nearest neighbors of every item."""
        chosen = strengths(train, self.settings.feedback_weight)
        weight = _user_weights(train.interactions, self.settings.activity_exponent)
        by_item = (sp.diags(weight) @ chosen).T.tocsr()
        of_pairs = np.repeat(weight, np.diff(train.interactions.indptr))
        count = np.bincount(train.interactions.indices, of_pairs, minlength=train.n_items).astype(np.float32)
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


def _user_weights(interactions: sp.csr_matrix, activity_exponent: float) -> FloatArray:
    """Return the weight of each user in co-occurrences, 1 for the mean interaction, float32 [n_users].

    Without that scale the shrinkage would mean something else for each exponent.
    """
    activity = np.diff(interactions.indptr)
    weight = np.maximum(activity, 1) ** -activity_exponent
    return np.asarray(weight * (activity.sum() / max(activity @ weight, 1e-9)), dtype=np.float32)


def _nearest(together: sp.csc_matrix, count: FloatArray, first: int, settings: ItemKNNSettings) -> sp.csc_matrix:
    """Return the k largest similarities of each column, from the co-occurrences of a block of columns.

    Args:
        together: co-occurrences, CSC [n_items, columns of the block].
        count: weighted users of each item, float32 [n_items].
        first: number of the block's first item.
        settings: `ItemKNNSettings`.
    """
    row, column = together.indices, columns_of(together)
    popularity = count[first + column]
    similarity = together.data / (np.sqrt(count[row] * popularity) + settings.shrinkage)
    similarity /= popularity**settings.popularity_exponent
    similarity[row == first + column] = 0
    related = sp.csc_matrix((similarity.astype(np.float32), row, together.indptr), shape=together.shape)
    nearest = largest_of_columns(related, related.data, settings.k)
    nearest.data **= np.float32(settings.amplification)
    return nearest
