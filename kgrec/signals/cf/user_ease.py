"""EASE between users: a linear model from the histories of users to that of another, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Array, Layout, csr
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta, remap, remap_rows
from kgrec.data.histories import user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import FeedbackWeight, Grid, LogRange, Signal, SignalSettings
from kgrec.signals.cf.ridge import fits_dense, ridge_seconds, ridge_weights, weights_by_support, weights_of_others
from kgrec.signals.relevance import RelevantIf, has_user_attributes
from kgrec.signals.sparse import from_arrays, to_arrays

MAX_USER_PAIRS: Final = 50_000_000
"""Pairs of users with something in common that are looked at where the matrix is not dense (600 MB)."""


class UserEASESettings(SignalSettings):
    """Settings of EASE between users."""

    regularization: float = Field(
        6.0, gt=0, description="Ridge penalty (lambda), as a multiple of the mean behaviors of a user."
    )
    dropout: float = Field(
        0.3, ge=0, lt=1, description="Share of a history the model should do without: penalty by its length."
    )
    popularity_exponent: float = Field(
        0.2, ge=0, le=2, description="How fast an item's weight falls as its popularity rises."
    )
    user_attributes: Annotated[float, RelevantIf(has_user_attributes)] = Field(
        0.5,
        ge=0,
        description="Weight of what the knowledge graph says of users, friends included, beside what they do.",
    )
    feedback_weight: FeedbackWeight = 1.0


class UserEASE(Signal):
    """Other users' histories times user-to-user weights learned by ridge regression with a zero diagonal.

    Steck's EASE^R (WWW 2019) with the roles of users and items exchanged, as user-based neighbors are to item-based
    ones; nodes that users share in the knowledge graph count as columns (after Jeunen et al., RecSys 2020), and so do
    they themselves, so that friends have each other in common. With many users each is explained by its nearest alone.
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
    _weights: sp.csr_matrix | FloatArray
    _of_user: Any

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return roughly how many seconds a fit takes; see `Signal`."""
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
        """Return the scores for people who are no users of the graph, each explained by the nearest users."""
        factors, own, scale, kept, penalty = self._explaining
        chosen = user_histories(users, self.settings.feedback_weight) @ sp.diags(scale)
        nowhere = sp.csr_matrix(np.zeros((users.n_users, len(kept) - len(scale)), np.float32))
        columns = sp.csr_matrix(sp.hstack([chosen, nowhere], format="csr")[:, kept], dtype=np.float32)
        weights = weights_of_others(factors, own, columns, penalty, self.settings.dropout)
        return np.asarray((weights.T @ self._history).toarray())

    def user_similarity(self, user_nums: IntArray) -> FloatArray:
        """Return how far all users explain each user, float32 [n, n_users]."""
        rows = self._of_user[user_nums]
        return np.asarray(rows if isinstance(rows, np.ndarray) else rows.toarray(), dtype=np.float32)

    @cached_property
    def _explaining(self) -> tuple[sp.csr_matrix, FloatArray, FloatArray, BoolArray, float]:
        """What users have in common, what each has in common with itself, and how histories get to be that.

        The weight of each item, which of the columns of items and nodes count, and the penalty.
        """
        columns, scale, kept, penalty = self._common(self._train)
        return columns, np.asarray(columns.multiply(columns).sum(axis=1)).ravel(), scale, kept, penalty

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the user-to-user weights, float32 [n_users, n_users], or the arrays of a CSR matrix of them."""
        return {"weights": self._weights} if isinstance(self._weights, np.ndarray) else to_arrays(self._weights)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        return {"weights": Array((train.n_users, train.n_users))}, csr(train.n_users)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._bind(train, state["weights"] if "weights" in state else from_arrays(state, train.n_users))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Place what was learned in a graph that has grown; who had no behavior before is explained by the nearest."""
        weights, new = self._weights, delta.new
        had, has = (np.diff(pairs.indptr) > 0 for pairs in (delta.known_pairs, new.interactions))
        changed = np.flatnonzero(has & ~had)
        new_weights = None
        if len(changed):
            factors, _, _, penalty = self._common(new)
            new_weights = weights_by_support(factors, penalty, self.settings.dropout, changed)
        if isinstance(weights, np.ndarray):
            weights = np.ascontiguousarray(remap_rows(remap_rows(weights, delta.users).T, delta.users).T)
            if new_weights is not None:
                weights[:, changed] = new_weights.toarray()
        else:
            weights = remap(weights, delta.users, delta.users)
            if new_weights is not None:
                weights = _with_columns(weights, changed, new_weights)
        return type(self)(self.settings)._bind(new, weights)

    def _bind(self, train: GraphSnapshot, weights: sp.csr_matrix | FloatArray) -> Self:
        self._train, self._weights = train, weights
        self._history = user_histories(train, self.settings.feedback_weight)
        self._of_user = weights.T if isinstance(weights, np.ndarray) else sp.csr_matrix(weights.T)
        return self

    def _common(self, train: GraphSnapshot) -> tuple[sp.csr_matrix, FloatArray, BoolArray, float]:
        """Return what users may have in common, and how it is made of their histories.

        Returns:
            float32 CSR [n_users, columns kept]; the weight of each item [n_items]; which columns are kept, bool [items
            and nodes]; the penalty.
        """
        settings: UserEASESettings = self.settings
        mean = max(1.0, train.interactions.nnz / max(train.n_users, 1))
        held = user_histories(train, settings.feedback_weight)
        scale = _rarity(held, settings.popularity_exponent)
        columns = sp.csr_matrix(held @ sp.diags(scale))
        if train.user_attributes.nnz:
            known = np.float32((settings.user_attributes * mean) ** 0.5) * _attributes(train)
            columns = sp.hstack([columns, known], format="csr")
        kept = _few_pairs(columns)
        return (columns if kept.all() else sp.csr_matrix(columns[:, kept])), scale, kept, settings.regularization * mean


def _with_columns(matrix: sp.csr_matrix, columns: IntArray, values: sp.csr_matrix) -> sp.csr_matrix:
    """Return a matrix [n, m] with some columns [c] replaced by those of `values` [n, c]; float32 CSR."""
    kept, new = np.ones(matrix.shape[1], np.float32), values.tocoo()
    kept[columns] = 0
    rest = sp.csr_matrix(matrix @ sp.diags(kept))
    rest.eliminate_zeros()
    return sp.csr_matrix(rest + sp.csr_matrix((new.data, (new.row, columns[new.col])), shape=matrix.shape))


def _rarity(matrix: sp.csr_matrix, popularity_exponent: float) -> FloatArray:
    """Return the root of popularity^-rarity of each item, that of a mean item being 1; float32 [n_items]."""
    count = np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1)
    return np.asarray((count / count.mean()) ** (-popularity_exponent / 2), dtype=np.float32)


def _few_pairs(matrix: sp.csr_matrix) -> BoolArray:
    """Mark the columns that count: without a dense matrix not those of most users, which alone would fill one."""
    kept = np.ones(matrix.shape[1], dtype=bool)
    if fits_dense(matrix.shape[0]):
        return kept
    count = np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float64)
    order = np.argsort(count, kind="stable")
    kept[order] = np.cumsum(count[order] ** 2) <= MAX_USER_PAIRS
    return kept


def _attributes(train: GraphSnapshot) -> sp.csr_matrix:
    """Return which nodes users are linked to, and their own, rows of length 1; float32 CSR [n_users, n_nodes]."""
    own = sp.csr_matrix(
        (np.ones(train.n_users, np.float32), (np.arange(train.n_users), train.user_nodes)),
        shape=train.user_attributes.shape,
    )
    links = train.user_attributes + own
    return sp.csr_matrix(sp.diags(np.diff(links.indptr).astype(np.float32) ** -0.5) @ links)
