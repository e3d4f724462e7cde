"""EASE^R: a linear model from items to items, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field
from scipy.linalg import lapack

from kgrec.signals.base import Group, Signal, SignalSettings
from kgrec.signals.cf.strength import strengths
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors

MAX_ITEMS: Final = 12_000
"""Above this the dense [n_items, n_items] matrix takes over 600 MB and minutes to invert."""


class EASESettings(SignalSettings):
    """Settings of EASE^R."""

    regularization: float = Field(
        10.0, gt=0, description="Ridge penalty (lambda), as a multiple of the mean behaviours of an item."
    )
    weight_influence: float = Field(0.3, ge=0, lt=1, description="How far a behaviour's weight moves its strength.")


class EASE(Signal):
    """A user's history times item-to-item weights learnt by ridge regression with a zero diagonal.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
    """

    name: ClassVar[str] = "ease"
    group: ClassVar[Group] = "cf"
    Settings = EASESettings
    grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"regularization": (4.0, 25.0)}

    _history: sp.csr_matrix
    _weights: FloatArray

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether a dense matrix over all items fits in memory."""
        return train.n_items <= MAX_ITEMS

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Solve for the item-to-item weights."""
        self._history = strengths(train, self.settings.weight_influence)
        penalty = self.settings.regularization * max(1.0, self._history.nnz / max(train.n_items, 1))
        self._weights = _solve(self._history, penalty)
        return self

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return histories times weights, float32 [n users, n_items]."""
        return np.asarray(self._history[user_nums] @ self._weights)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the item-to-item weights."""
        return {"weights": self._weights}

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        self._history = strengths(train, self.settings.weight_influence)
        self._weights = state["weights"]
        return self


def _solve(history: sp.csr_matrix, penalty: float) -> FloatArray:
    """Return the weights B = I - P / diag(P) with P = (XᵀX + λI)⁻¹, float32 [n_items, n_items].

    The inverse is made in place, so that never more than two such matrices are in memory.
    """
    gram = np.asfortranarray((history.T @ history).toarray(), dtype=np.float32)
    diagonal = np.diag_indices_from(gram)
    gram[diagonal] += penalty
    factor, _ = lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    upper = np.triu_indices_from(inverse, 1)
    inverse[upper] = inverse.T[upper]
    weights = np.ascontiguousarray(inverse)
    weights /= -np.diag(weights).copy()
    weights[diagonal] = 0
    return weights
