"""EASE^R: a linear item-to-item model in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Layout
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import FeedbackWeight, Grid, HalfLifeItems, LogRange, Signal, SignalSettings
from kgrec.signals.cf.regression_weights import RegressionWeights
from kgrec.signals.cf.ridge import fits_dense, ridge_seconds, ridge_weights
from kgrec.signals.relevance import RelevantIf, has_item_attributes, items_have_vectors
from kgrec.signals.sparse import product, rows_of
from kgrec.signals.whitening import whitened_item_vectors

MAX_ATTRIBUTE_ITEMS: Final = 1_000
"""Without a dense matrix, attribute nodes with more items than this are ignored."""


class EASESettings(SignalSettings):
    """Settings of EASE^R."""

    regularization: float = Field(
        4.0, gt=0, description="Ridge penalty (lambda), as a multiple of the mean number of behaviors of an item."
    )
    dropout: float = Field(
        0.5, ge=0, lt=1, description="Dropout of history items, in closed form: a ridge penalty by item popularity."
    )
    length_exponent: float = Field(
        0.3, ge=0, le=1, description="Exponent of the history length that divides a user's weight; 1: equal users."
    )
    attributes: Annotated[float, RelevantIf(has_item_attributes)] = Field(
        0.0, ge=0, description="Weight of an attribute node, which is added as if it were a user who chose its items."
    )
    item_vectors: Annotated[float, RelevantIf(items_have_vectors)] = Field(
        3.0,
        ge=0,
        description="Weight of given vectors of items, whose dimensions are added as if they were users, as a multiple "
        "of the mean number of behaviors of an item; none with more than 8,000 items.",
    )
    feedback_weight: FeedbackWeight = 1.0
    half_life_items: HalfLifeItems = None


class EASE(Signal):
    """A user's history times item-to-item weights, learned by ridge regression with a zero diagonal.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019. The penalty by popularity is equivalent to
    dropout (Steck, "Autoencoders that don't overfit towards the Identity", NeurIPS 2020). Attribute rows are as in
    Jeunen et al., "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020, and so are the
    dimensions of given vectors, such as those of pictures and sounds. With many items the regression of an item is
    restricted to its nearest neighbors (fsSLIM: Ning & Karypis, "SLIM", ICDM 2011), which bounds memory and time.
    """

    name: ClassVar[str] = "ease"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 60
    Settings = EASESettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(4.0, 0.5, 64),
        "regularization": LogRange(2.5, 0.2, 100),
        "item_vectors": (0.0, 1.0, 10.0),
        "attributes": (0.3, 1.0),
        "dropout": (0.2, 0.75),
        "length_exponent": (0.0, 0.6),
        "feedback_weight": (0.0, 2.0),
    }

    _history: sp.csr_matrix
    _weights: RegressionWeights

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate duration of a fit, in seconds; see `Signal`."""
        return ridge_seconds(train.n_items) * (2 if settings.attributes and not fits_dense(train.n_items) else 1)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Solve for the item-to-item weights."""
        settings: EASESettings = self.settings
        rows: list[sp.csr_matrix] = [
            _length_normalized(user_histories(train, settings.feedback_weight), settings.length_exponent)
        ]
        if settings.attributes:
            rows.append(np.float32(settings.attributes**0.5) * _attributes(train))
        stacked = sp.vstack(rows, format="csr", dtype=np.float32)
        mean = max(1.0, train.interactions.nnz / max(train.n_items, 1))
        vectors_of_items = _vectors(train, settings.item_vectors * mean)
        weights = ridge_weights(stacked.T.tocsr(), settings.regularization * mean, settings.dropout, vectors_of_items)
        return self._bind(train, weights)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return histories times weights, float32 [n users, n_items]."""
        return self._scores(rows_of(self._history, user_nums))

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users; see `Signal`."""
        return self._scores(user_histories(users, self.settings.feedback_weight, self.settings.half_life_items))

    def item_similarity(self, item_nums: IntArray) -> FloatArray:
        """Return the weights from items to all items, float32 [n, n_items]."""
        rows = self._weights.matrix[item_nums]
        return np.asarray(rows.toarray() if sp.issparse(rows) else rows, dtype=np.float32)

    def _scores(self, rows: sp.csr_matrix) -> FloatArray:
        return product(rows, self._weights.matrix)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the item-to-item weights; see `RegressionWeights`."""
        return self._weights.state()

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return RegressionWeights.layouts(train.n_items)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, RegressionWeights.from_state(state, train.n_items))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        return type(self)(self.settings)._bind(delta.new, self._weights.remapped(delta.items))

    def _bind(self, train: GraphSnapshot, weights: RegressionWeights) -> Self:
        self._history = user_histories(train, self.settings.feedback_weight, self.settings.half_life_items)
        self._weights = weights
        return self


def _attributes(train: GraphSnapshot) -> sp.csr_matrix:
    """Return attribute nodes as rows over their items, float32 CSR [nodes, n_items].

    For a sparse solution, nodes with very many items are left out: they add many pairs and little information.
    """
    nodes = sp.csr_matrix(train.item_attributes.T)
    return nodes if fits_dense(train.n_items) else nodes[np.diff(nodes.indptr) <= MAX_ATTRIBUTE_ITEMS]


def _vectors(train: GraphSnapshot, weight: float) -> list[FloatArray]:
    """Return whitened vectors of items [n_items, d] by each property of type `vector`; their squares have a weight."""
    if not weight or not fits_dense(train.n_items):
        return []
    return [np.float32(weight**0.5) * part for part in whitened_item_vectors(train)]


def _length_normalized(matrix: sp.csr_matrix, length_exponent: float) -> sp.csr_matrix:
    """Return rows scaled such that their squares have the weight length^-length_exponent, with a mean weight of 1."""
    counts = np.diff(matrix.indptr)
    weight = np.maximum(counts, 1) ** -length_exponent
    weight *= counts.sum() / max((weight * counts).sum(), 1e-12)
    return sp.csr_matrix(sp.diags(np.sqrt(weight).astype(np.float32)) @ matrix)
