"""Attribute ridge: items predicted from the attributes of a user, without any behavior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from kgrec._util.array_layout import Array, Layout
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta, remap_rows
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.user_profiles import UserProfiles, has_profiles, user_profiles
from kgrec.signals.base import Signal, SignalSettings
from kgrec.signals.domain_weighting import items_by_domain

MAX_WEIGHTS: Final = 50_000_000
"""Weights of attributes times items, at most (200 MB); with more, the rarest attributes are left out."""
MAX_ATTRIBUTES: Final = 4_000
"""Attributes, at most: one dense system of this size is solved for each domain."""
CONSTANT_PENALTY: Final = 1e-3
"""Penalty of the constant, which is the share of users who have the item: hardly any."""


class AttributeRidgeSettings(SignalSettings):
    """Settings of the attribute ridge."""

    regularization: float = Field(
        5.0, gt=0, description="Ridge penalty (lambda), in users who have an attribute and no other."
    )


class AttributeRidge(Signal):
    """Ridge regression from user attributes to items, in closed form.

    The linear model with user features of Gantner et al. (ICDM 2010), learned at once. Attributes are linked nodes and
    values of categorical properties; see `user_profiles`. Rows of attributes, and of items, have length 1, and a
    constant is added. Each domain has a regression of its own, on the users who have an item of it.
    """

    name: ClassVar[str] = "attribute_ridge"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 15
    Settings = AttributeRidgeSettings

    _profiles: sp.csr_matrix
    _features: npt.NDArray[np.object_]
    _weights: FloatArray

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Return whether users have attributes."""
        return has_profiles(train)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Solve the regression of each domain."""
        self._bind(train)
        self._weights = np.zeros((self._profiles.shape[1], train.n_items), np.float32)
        for items in items_by_domain(train):
            taken = train.interactions[:, items].tocsr()
            n_taken = np.diff(taken.indptr)
            active = np.flatnonzero(n_taken)
            target = sp.csr_matrix(sp.diags(n_taken[active].astype(np.float32) ** -0.5) @ taken[active])
            self._weights[:, items] = self._solved(self._profiles[active], target)
        return self

    def _solved(self, known: sp.csr_matrix, target: sp.csr_matrix) -> FloatArray:
        """Return the weights, float32 [attributes + 1, m], that predict a target, CSR [n, m], from attributes, CSR."""
        gram = (known.T @ known).toarray().astype(np.float64)
        penalty = np.full(len(gram), self.settings.regularization)
        penalty[-1] = CONSTANT_PENALTY
        gram[np.diag_indices_from(gram)] += penalty
        return np.asarray(cho_solve(cho_factor(gram), (known.T @ target).toarray()), dtype=np.float32)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return attributes times weights, float32 [n users, n_items]."""
        return np.asarray(self._profiles[user_nums] @ self._weights)

    @property
    def described_users(self) -> BoolArray:
        """Mask of the users who have attributes, bool [n_users]."""
        return np.asarray(np.diff(self._profiles.indptr) > 1)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights, float32 [attributes + 1, n_items]; the last row is the constant."""
        return {"weights": self._weights}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return ({"weights": Array((len(_attributes(train).features) + 1, train.n_items))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        self._weights = state["weights"]
        return self._bind(train)

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph; new users are scored by the attributes that were known."""
        new = type(self)(self.settings)._bind(delta.new)
        row = np.append(pd.Index(self._features).get_indexer(pd.Index(new._features)), len(self._features))
        new._weights = np.ascontiguousarray(remap_rows(remap_rows(self._weights, row).T, delta.items).T)
        return new

    def _bind(self, train: GraphSnapshot) -> Self:
        attributes = _attributes(train)
        self._features = attributes.features
        size = np.maximum(np.diff(attributes.matrix.indptr), 1).astype(np.float32)
        constant = sp.csr_matrix(np.ones((train.n_users, 1), np.float32))
        self._profiles = sp.csr_matrix(sp.hstack([sp.diags(size**-0.5) @ attributes.matrix, constant], format="csr"))
        return self


def _attributes(train: GraphSnapshot) -> UserProfiles:
    """Return the profiles of users, without the rarest attributes if there are very many."""
    profiles, most = user_profiles(train), min(MAX_ATTRIBUTES, MAX_WEIGHTS // max(train.n_items, 1))
    if len(profiles.features) <= most:
        return profiles
    count = np.bincount(profiles.matrix.indices, minlength=len(profiles.features))
    kept = np.sort(np.argsort(-count, kind="stable")[:most])
    return UserProfiles(profiles.matrix[:, kept], profiles.features[kept])
