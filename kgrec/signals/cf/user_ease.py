"""User EASE: a linear user-to-user model in closed form, from the histories of other users."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Layout
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import FeedbackWeight, Grid, LogRange, Signal, SignalSettings
from kgrec.signals.cf.regression_weights import RegressionWeights
from kgrec.signals.cf.ridge import fits_dense, ridge_seconds, ridge_weights, weights_by_support, weights_of_others
from kgrec.signals.relevance import RelevantIf, has_user_attributes

MAX_USER_PAIRS: Final = 50_000_000
"""Pairs of users with a shared item or attribute in a sparse solution, at most (600 MB)."""
MIN_KEPT_SHARE: Final = 0.5
"""Share of the interactions that must be left within `MAX_USER_PAIRS`; fewer say too little about users."""


class UserEASESettings(SignalSettings):
    """Settings of user EASE."""

    regularization: float = Field(
        6.0, gt=0, description="Ridge penalty (lambda), as a multiple of the mean number of behaviors of a user."
    )
    dropout: float = Field(
        0.3, ge=0, lt=1, description="Dropout of history items, in closed form: a ridge penalty by history length."
    )
    popularity_exponent: float = Field(
        0.2, ge=0, le=2, description="Exponent of an item's popularity that divides its weight in user similarity."
    )
    user_attributes: Annotated[float, RelevantIf(has_user_attributes)] = Field(
        0.5,
        ge=0,
        description="Weight of user attributes, friends included, relative to a user's interactions.",
    )
    feedback_weight: FeedbackWeight = 1.0


class UserEASE(Signal):
    """Other users' histories times user-to-user weights, learned by ridge regression with a zero diagonal.

    EASE^R (Steck, WWW 2019) with users and items exchanged, as user-based kNN relates to item-based kNN. Attribute
    nodes of users are further columns (after Jeunen et al., RecSys 2020), and so are the users themselves, so that two
    friends share each other's column. With many users each is predicted from its nearest users only.
    """

    name: ClassVar[str] = "user_ease"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 70
    Settings = UserEASESettings
    grid: ClassVar[Grid] = {
        "regularization": LogRange(2.0, 0.2, 100),
        "user_attributes": (0.0, 0.2, 1.0),
        "popularity_exponent": (0.0, 0.5),
        "dropout": (0.0, 0.6),
        "feedback_weight": (0.0, 2.0),
    }

    _train: GraphSnapshot
    _history: sp.csr_matrix
    _weights: RegressionWeights
    _of_user: Any

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Return whether users can be compared by most of their items; with very many users they cannot."""
        chosen = train.interactions
        return bool(_few_pairs(chosen)[chosen.indices].sum() >= MIN_KEPT_SHARE * chosen.nnz)

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate duration of a fit, in seconds; see `Signal`."""
        return ridge_seconds(train.n_users)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Solve for the user-to-user weights."""
        factors, _, _, penalty = self._common(train)
        return self._bind(train, ridge_weights(factors, penalty, self.settings.dropout))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return weights times histories, float32 [n users, n_items]."""
        product = self._of_user[user_nums] @ self._history
        return np.asarray(product if isinstance(product, np.ndarray) else product.toarray())

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users, each predicted from the nearest users."""
        factors, own, scale, kept, penalty = self._explaining
        chosen = user_histories(users, self.settings.feedback_weight) @ sp.diags(scale)
        no_attributes = sp.csr_matrix(np.zeros((users.n_users, len(kept) - len(scale)), np.float32))
        columns = sp.csr_matrix(sp.hstack([chosen, no_attributes], format="csr")[:, kept], dtype=np.float32)
        weights = weights_of_others(factors, own, columns, penalty, self.settings.dropout)
        return np.asarray((weights.T @ self._history).toarray())

    def user_similarity(self, user_nums: IntArray) -> FloatArray:
        """Return the weights of all users in the prediction of each user, float32 [n, n_users]."""
        rows = self._of_user[user_nums]
        return np.asarray(rows if isinstance(rows, np.ndarray) else rows.toarray(), dtype=np.float32)

    @cached_property
    def _explaining(self) -> tuple[sp.csr_matrix, FloatArray, FloatArray, BoolArray, float]:
        """Factors of all users, the diagonal of their Gram matrix, item weights, kept columns and the penalty.

        See `_common`; `anonymous_scores` needs them for every call.
        """
        columns, scale, kept, penalty = self._common(self._train)
        return columns, np.asarray(columns.multiply(columns).sum(axis=1)).ravel(), scale, kept, penalty

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the user-to-user weights; see `RegressionWeights`."""
        return self._weights.state()

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return RegressionWeights.layouts(train.n_users)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, RegressionWeights.from_state(state, train.n_users))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph; users with their first behaviors get weights too."""
        weights, new = self._weights.remapped(delta.users), delta.new
        had, has = (np.diff(pairs.indptr) > 0 for pairs in (delta.known_pairs, new.interactions))
        changed = np.flatnonzero(has & ~had)
        if len(changed):
            factors, _, _, penalty = self._common(new)
            columns = weights_by_support(factors, penalty, self.settings.dropout, changed)
            weights = weights.with_columns(changed, columns)
        return type(self)(self.settings)._bind(new, weights)

    def _bind(self, train: GraphSnapshot, weights: RegressionWeights) -> Self:
        self._train, self._weights = train, weights
        vars(self).pop("_explaining", None)  # of an earlier fit
        self._history = user_histories(train, self.settings.feedback_weight)
        of_user = weights.matrix.T
        self._of_user = of_user if isinstance(of_user, np.ndarray) else sp.csr_matrix(of_user)
        return self

    def _common(self, train: GraphSnapshot) -> tuple[sp.csr_matrix, FloatArray, BoolArray, float]:
        """Return the factors of users, whose products are user similarities, and how they follow from histories.

        Returns:
            The factors, float32 CSR [n_users, kept columns]; the weight of each item, float32 [n_items]; the kept
            columns, bool [n_items + attribute nodes]; the ridge penalty.
        """
        settings: UserEASESettings = self.settings
        mean = max(1.0, train.interactions.nnz / max(train.n_users, 1))
        history = user_histories(train, settings.feedback_weight)
        scale = _rarity(history, settings.popularity_exponent)
        columns = sp.csr_matrix(history @ sp.diags(scale))
        if train.user_attributes.nnz:
            known = np.float32((settings.user_attributes * mean) ** 0.5) * _attributes(train)
            columns = sp.hstack([columns, known], format="csr")
        kept = _few_pairs(columns)
        return (columns if kept.all() else sp.csr_matrix(columns[:, kept])), scale, kept, settings.regularization * mean


def _rarity(matrix: sp.csr_matrix, popularity_exponent: float) -> FloatArray:
    """Return the square root of popularity^-popularity_exponent, 1 for mean popularity, float32 [n_items]."""
    count = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
    return np.asarray((count / count.mean()) ** (-popularity_exponent / 2), dtype=np.float32)


def _few_pairs(matrix: sp.csr_matrix) -> BoolArray:
    """Return the columns to keep, bool [columns]; a sparse solution drops the columns that most users share.

    These columns alone would relate nearly all pairs of users; see `MAX_USER_PAIRS`.
    """
    kept = np.ones(matrix.shape[1], dtype=bool)
    if fits_dense(matrix.shape[0]):
        return kept
    count = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float64)
    order = np.argsort(count, kind="stable")
    kept[order] = np.cumsum(count[order] ** 2) <= MAX_USER_PAIRS
    return kept


def _attributes(train: GraphSnapshot) -> sp.csr_matrix:
    """Return the attribute nodes of users and their own nodes, rows of length 1; float32 CSR [n_users, n_nodes]."""
    own = sp.csr_matrix(
        (np.ones(train.n_users, np.float32), (np.arange(train.n_users), train.user_nodes)),
        shape=train.user_attributes.shape,
    )
    links = train.user_attributes + own
    return sp.csr_matrix(sp.diags(np.diff(links.indptr).astype(np.float32) ** -0.5) @ links)
