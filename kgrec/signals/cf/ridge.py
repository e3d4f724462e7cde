"""Ridge regression of every item on all others (or of every user on all others) in closed form, as EASE needs it.

"Members" are the items, or the users. The factors of a member are its row of a sparse matrix; the product of two rows
is the similarity of two members, an entry of the Gram matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from kgrec._util.types import FloatArray, IntArray
from kgrec.signals.cf.regression_weights import RegressionWeights, above_diagonal
from kgrec.signals.sparse import columns_of, largest_of_columns

MAX_DENSE_ROWS: Final = 8_000
"""With at most this many members one dense system is solved (256 MB), otherwise a small one for each member."""
SUPPORT_SIZE: Final = 64
"""Regressors of a member in a sparse solution: its nearest members."""
FEW_PAIRS_RATIO: Final = 4
"""Pairs per factor above which multiplying the factors of a support is faster than looking pairs up."""
BLOCK_ROWS: Final = 2_048
"""Members solved for at a time in a sparse solution."""


def fits_dense(n: int) -> bool:
    """Return whether n members are few enough for one dense matrix."""
    return n <= MAX_DENSE_ROWS


def ridge_seconds(n: int) -> float:
    """Return the approximate seconds of `ridge_weights` for n members."""
    return float((n / 3_000) ** 3 if fits_dense(n) else n / 4_000)


def ridge_weights(
    factors: sp.csr_matrix, ridge: float, dropout: float, dense: Sequence[FloatArray] = ()
) -> RegressionWeights:
    """Return the regression weights of every member on the others.

    With many members (see `fits_dense`) each is predicted from its nearest ones only, and the matrix is sparse.

    Args:
        factors: float32 CSR [n, f]; the Gram matrix is factors @ factorsᵀ.
        ridge: L2 penalty of every weight.
        dropout: dropout of factors in closed form: a penalty in proportion to the diagonal of the Gram matrix.
        dense: further factors, float32 [n, d] each; ignored with many members.
    """
    if fits_dense(factors.shape[0]):
        gram = np.asfortranarray((factors @ factors.T).toarray(), dtype=np.float32)
        for part in dense:
            gram += part @ part.T
        return _solve_dense(gram, _penalties(gram.diagonal(), ridge, dropout))
    return RegressionWeights(weights_by_support(factors, ridge, dropout, np.arange(factors.shape[0])))


def _penalties(own: FloatArray, ridge: float, dropout: float) -> FloatArray:
    return np.asarray(ridge + dropout / (1 - dropout) * own, dtype=np.float32)


def _solve_dense(gram: FloatArray, penalties: FloatArray) -> RegressionWeights:
    """Return the weights B = I - P / diag(P) with P = (G + Λ)⁻¹, float32 [n, n], for G in Fortran order.

    The inverse is computed in place of G, so that at most two matrices of this size are in memory.
    """
    diagonal = np.diag_indices_from(gram)
    gram[diagonal] += penalties
    factor, _ = lapack.spotrf(gram, lower=1, overwrite_a=1)
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    scale = np.sqrt(inverse[diagonal])
    upper = inverse.T  # C order
    upper /= -scale[:, None]
    upper /= scale
    return RegressionWeights.from_correlations(upper[above_diagonal(len(scale))].astype(np.float16), scale)


def weights_by_support(factors: sp.csr_matrix, ridge: float, dropout: float, columns: IntArray) -> sp.csr_matrix:
    """Return the weights that predict some members from their nearest members, float32 CSR [n, columns].

    Args:
        factors, ridge, dropout: see `ridge_weights`.
        columns: int64 [columns], the members to predict.
    """
    gram = sp.csr_matrix(factors @ factors.T)
    gram.sort_indices()  # SciPy finds entries of sorted rows by bisection
    own = gram.diagonal()
    size = np.sqrt(np.maximum(own, 1e-12)).astype(np.float32)
    diagonal = own + _penalties(own, ridge, dropout)
    blocks = [sp.csc_matrix((gram.shape[0], 0), dtype=np.float32)]
    for first in range(0, len(columns), BLOCK_ROWS):
        together = _others(gram, columns[first : first + BLOCK_ROWS])
        similarity = np.asarray(together.data / size[together.indices], dtype=np.float32)
        nearest = largest_of_columns(together, similarity, SUPPORT_SIZE)
        blocks.append(_solve_block(gram, factors, diagonal, nearest))
    return sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))


def _others(gram: sp.csr_matrix, columns: IntArray) -> sp.csc_matrix:
    """Return columns of the symmetric Gram matrix without the diagonal, CSC [n, columns]."""
    rows = gram[columns]  # slicing rows is fast
    rows.data[rows.indices == np.repeat(columns, np.diff(rows.indptr))] = 0
    rows.eliminate_zeros()
    return sp.csc_matrix(rows.T)


def weights_of_others(
    factors: sp.csr_matrix, own: FloatArray, others: sp.csr_matrix, ridge: float, dropout: float
) -> sp.csr_matrix:
    """Return the weights that predict rows outside the members (such as anonymous users) from their nearest members.

    Args:
        factors: float32 CSR [n, f] of the members.
        own: diagonal of the members' Gram matrix [n].
        others: float32 CSR [m, f], factors of the rows to predict.
        ridge, dropout: see `ridge_weights`.

    Returns:
        float32 CSR [n, m].
    """
    together = sp.csc_matrix((others @ factors.T).T)
    size = np.sqrt(np.maximum(own, 1e-12)).astype(np.float32)
    nearest = largest_of_columns(together, np.asarray(together.data / size[together.indices], np.float32), SUPPORT_SIZE)
    return sp.csr_matrix(_solve_block(None, factors, own + _penalties(own, ridge, dropout), nearest))


def _solve_block(
    gram: sp.csr_matrix | None, factors: sp.csr_matrix, diagonal: FloatArray, together: sp.csc_matrix
) -> sp.csc_matrix:
    """Return the solutions b of (G_SS + Λ) b = G_Sj for the support S of every column j, CSC [n, columns].

    Args:
        gram: the Gram matrix G; None computes its parts from the factors.
        factors: float32 CSR [n, f].
        diagonal: diagonal of G + Λ [n].
        together: G_Sj, CSC [n, columns]; the entries of a column are its support.
    """
    import torch

    column = columns_of(together)
    place = np.arange(together.nnz) - together.indptr[column]
    n, k = together.shape[1], max(int(np.diff(together.indptr).max(initial=0)), 2)
    support, target = np.full((n, k), -1), np.zeros((n, k), np.float32)
    support[column, place], target[column, place] = together.indices, together.data
    few = np.diff(factors.indptr)[together.indices].sum() < n * k * k / FEW_PAIRS_RATIO
    matrix = _multiplied(factors, support) if few or gram is None else _looked_up(gram, support)
    matrix[:, np.arange(k), np.arange(k)] = np.where(support >= 0, diagonal[np.maximum(support, 0)], 1)
    factor = torch.linalg.cholesky(torch.from_numpy(matrix))
    solved = torch.cholesky_solve(torch.from_numpy(target[:, :, None]), factor).numpy()[:, :, 0]
    return sp.csc_matrix((solved[column, place], together.indices, together.indptr), shape=together.shape)


def _looked_up(gram: sp.csr_matrix, support: IntArray) -> FloatArray:
    """Return the Gram matrix of each support, float32 [n, k, k]; `support` is [n, k], padded with -1."""
    n, k = support.shape
    used, left, right = support >= 0, *np.triu_indices(k, 1)
    pairs = (np.maximum(support[:, left], 0).ravel(), np.maximum(support[:, right], 0).ravel())
    matrix = np.zeros((n, k, k), np.float32)
    values = np.asarray(gram[pairs]).reshape(n, -1) * (used[:, left] & used[:, right])
    matrix[:, left, right] = matrix[:, right, left] = values
    return matrix


def _multiplied(factors: sp.csr_matrix, support: IntArray) -> FloatArray:
    """Return the Gram matrices of `_looked_up`, computed from the factors of each support."""
    n, k = support.shape
    column, place = np.nonzero(support >= 0)
    own = factors[support[column, place]]
    key = np.repeat(column, np.diff(own.indptr)) * factors.shape[1] + own.indices
    _, nums = np.unique(key, return_inverse=True)
    separate = sp.csr_matrix((own.data, nums, own.indptr), shape=(len(column), int(nums.max(initial=-1)) + 1))
    product = sp.coo_matrix(separate @ separate.T)
    matrix = np.zeros((n, k, k), np.float32)
    matrix[column[product.row], place[product.row], place[product.col]] = product.data
    return matrix
