"""EASE^R: a linear model from items to items, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field
from scipy.linalg import lapack

from kgrec.growth import Growth, moved
from kgrec.signals.base import Grid, Group, Ladder, Recent, Signal, SignalSettings, WeightInfluence
from kgrec.signals.history import history
from kgrec.signals.sparse import columns_of, from_arrays, largest_of_columns, to_arrays
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors

MAX_DENSE: Final = 8_000
"""Items up to which one dense matrix over all of them is solved (256 MB); above it every item has its own support."""
SUPPORT: Final = 64
"""Items that may explain an item where the matrix is not dense: those it is most often chosen with."""
MAX_ATTRIBUTE: Final = 1_000
"""Items that a node of the knowledge graph may have there to count."""
BLOCK: Final = 2_048
"""Items solved for at a time where the matrix is not dense."""


class EASESettings(SignalSettings):
    """Settings of EASE^R."""

    regularization: float = Field(
        4.0, gt=0, description="Ridge penalty (lambda), as a multiple of the mean behaviours of an item."
    )
    dropout: float = Field(
        0.5, ge=0, lt=1, description="Share of a history the model should do without: penalty by item popularity."
    )
    evenness: float = Field(
        0.3, ge=0, le=1, description="Power of a history's length that its weight is divided by; 1: users all alike."
    )
    attributes: float = Field(
        0.0, ge=0, description="Weight of a node of the knowledge graph, as if it were a user who chose its items."
    )
    weight_influence: WeightInfluence = 1.0
    recent: Recent = None


class EASE(Signal):
    """A user's history times item-to-item weights learnt by ridge regression with a zero diagonal.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019; the penalty by popularity is that of
    dropout (Steck, "Autoencoders that don't overfit towards the Identity", NeurIPS 2020), rows of attributes are as in
    Jeunen et al., "Closed-Form Models for Collaborative Filtering with Side-Information", RecSys 2020. With many items
    each is explained by its nearest ones alone (as fsSLIM: Ning & Karypis, "SLIM", ICDM 2011), which stays small.
    """

    name: ClassVar[str] = "ease"
    group: ClassVar[Group] = "cf"
    Settings = EASESettings
    scoring: ClassVar[frozenset[str]] = frozenset({"recent"})
    grid: ClassVar[Grid] = {
        "recent": Ladder(4.0, 0.5, 64),
        "regularization": Ladder(2.5, 0.2, 100),
        "attributes": (0.3, 1.0),
        "dropout": (0.2, 0.75),
        "evenness": (0.0, 0.6),
        "weight_influence": (0.0, 2.0),
    }

    _history: sp.csr_matrix
    _weights: sp.csr_matrix | FloatArray

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return roughly how many seconds a fit takes; see `Signal`."""
        if train.n_items <= MAX_DENSE:
            return float((train.n_items / 3_000) ** 3)
        return float(train.n_items / (2_000 if settings.attributes else 4_000))

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Solve for the item-to-item weights."""
        settings: EASESettings = self.settings
        rows: list[sp.csr_matrix] = [_evened(history(train, settings.weight_influence), settings.evenness)]
        if settings.attributes:
            rows.append(np.float32(settings.attributes**0.5) * _attributes(train))
        stacked = sp.vstack(rows, format="csr", dtype=np.float32)
        gram = sp.csr_matrix(stacked.T @ stacked)
        penalty = settings.regularization * max(1.0, train.interactions.nnz / max(train.n_items, 1))
        penalties = penalty + settings.dropout / (1 - settings.dropout) * gram.diagonal()
        solve = _solve_dense if train.n_items <= MAX_DENSE else _solve_by_support
        return self._take(train, solve(gram, penalties.astype(np.float32)))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return histories times weights, float32 [n users, n_items]."""
        product = self._history[user_nums] @ self._weights
        return np.asarray(product.toarray() if sp.issparse(product) else product)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the item-to-item weights, float32 [n_items, n_items], or the arrays of a CSR matrix of them."""
        return {"weights": self._weights} if isinstance(self._weights, np.ndarray) else to_arrays(self._weights)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._take(train, state["weights"] if "weights" in state else from_arrays(state))

    def fold_in(self, growth: Growth) -> Self:
        """Place what was learnt in a graph that has grown; see `Signal`."""
        weights, grown = self._weights, type(self)(self.settings)
        if not isinstance(weights, np.ndarray):
            return grown._take(growth.new, growth.between_items(weights))
        columns = moved(weights, growth.items).T
        return grown._take(growth.new, np.ascontiguousarray(moved(columns, growth.items).T))

    def _take(self, train: GraphSnapshot, weights: sp.csr_matrix | FloatArray) -> Self:
        self._history = history(train, self.settings.weight_influence, self.settings.recent)
        self._weights = weights
        return self


def _attributes(train: GraphSnapshot) -> sp.csr_matrix:
    """Return nodes of the knowledge graph as rows over their items, float32 CSR [nodes, n_items].

    Where there is no dense matrix, a node of very many items would fill one, and tells little.
    """
    nodes = sp.csr_matrix(train.item_attributes.T)
    return nodes if train.n_items <= MAX_DENSE else nodes[np.diff(nodes.indptr) <= MAX_ATTRIBUTE]


def _evened(matrix: sp.csr_matrix, evenness: float) -> sp.csr_matrix:
    """Return rows divided so that their squares are weighted by length^-evenness, keeping the mean weight at 1."""
    counts = np.diff(matrix.indptr)
    weight = np.maximum(counts, 1) ** -evenness
    weight *= counts.sum() / max((weight * counts).sum(), 1e-12)
    return sp.csr_matrix(sp.diags(np.sqrt(weight).astype(np.float32)) @ matrix)


def _solve_dense(gram: sp.csr_matrix, penalties: FloatArray) -> FloatArray:
    """Return the weights B = I - P / diag(P) with P = (G + Λ)⁻¹, float32 [n_items, n_items].

    The inverse is made in place, so that never more than two such matrices are in memory.
    """
    dense = np.asfortranarray(gram.toarray(), dtype=np.float32)
    diagonal = np.diag_indices_from(dense)
    dense[diagonal] += penalties
    factor, _ = lapack.spotrf(dense, lower=1, overwrite_a=1)
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    upper = np.triu_indices_from(inverse, 1)
    inverse[upper] = inverse.T[upper]
    weights = np.ascontiguousarray(inverse)
    weights /= -np.diag(weights).copy()
    weights[diagonal] = 0
    return weights


def _solve_by_support(gram: sp.csr_matrix, penalties: FloatArray) -> sp.csr_matrix:
    """Return weights of each item's support alone, float32 CSR [n_items, n_items]: one small ridge for each column."""
    size = np.sqrt(np.maximum(gram.diagonal(), 1e-12)).astype(np.float32)
    diagonal = gram.diagonal() + penalties
    others = gram - sp.diags(gram.diagonal())
    blocks = []
    for first in range(0, gram.shape[1], BLOCK):
        together = sp.csc_matrix(others[:, first : first + BLOCK])
        nearest = largest_of_columns(together, together.data / size[together.indices], SUPPORT)
        blocks.append(_solve_block(gram, diagonal, nearest))
    return sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))


def _solve_block(gram: sp.csr_matrix, diagonal: FloatArray, together: sp.csc_matrix) -> sp.csc_matrix:
    """Solve (G_SS + Λ) b = G_Sj for the support S of every column j of `together` [n_items, columns]."""
    import torch

    column = columns_of(together)
    place = np.arange(together.nnz) - together.indptr[column]
    n, k = together.shape[1], max(int(np.diff(together.indptr).max(initial=0)), 1)
    support, target = np.full((n, k), -1), np.zeros((n, k), np.float32)
    support[column, place], target[column, place] = together.indices, together.data
    used = support >= 0
    left, right = np.triu_indices(k, 1)
    pairs = (np.maximum(support[:, left], 0).ravel(), np.maximum(support[:, right], 0).ravel())
    values = np.asarray(gram[pairs]).reshape(n, -1) * (used[:, left] & used[:, right])
    matrix = np.zeros((n, k, k), np.float32)
    matrix[:, left, right] = matrix[:, right, left] = values
    matrix[:, np.arange(k), np.arange(k)] = np.where(used, diagonal[np.maximum(support, 0)], 1)
    factor = torch.linalg.cholesky(torch.from_numpy(matrix))
    solved = torch.cholesky_solve(torch.from_numpy(target[:, :, None]), factor).numpy()[:, :, 0]
    return sp.csc_matrix((solved[column, place], together.indices, together.indptr), shape=together.shape)
