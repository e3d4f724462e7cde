"""Ridge regression of every item on all others, or of every user on all others, in closed form."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from kgrec.signals.sparse import columns_of, largest_of_columns
from kgrec.snapshot import FloatArray, IntArray

MAX_DENSE: Final = 8_000
"""Members up to which one dense matrix over all of them is solved (256 MB); above it each has its own support."""
SUPPORT: Final = 64
"""Members that may explain another where the matrix is not dense: those it has most in common with."""
BLOCK: Final = 2_048
"""Members solved for at a time where the matrix is not dense."""


def fits_dense(n: int) -> bool:
    """Say whether n members are few enough for one dense matrix."""
    return n <= MAX_DENSE


def ridge_seconds(n: int) -> float:
    """Return roughly how many seconds `ridge_weights` takes for n members."""
    return float((n / 3_000) ** 3 if fits_dense(n) else n / 4_000)


def ridge_weights(gram: sp.csr_matrix, penalties: FloatArray) -> sp.csr_matrix | FloatArray:
    """Return how far each member explains each other, with a zero diagonal, float32 [n, n], column by column.

    With many members each is explained by its nearest ones alone, and the result is a CSR matrix.

    Args:
        gram: CSR [n, n], what two members have in common.
        penalties: float32 [n], added to its diagonal.
    """
    if fits_dense(gram.shape[0]):
        return _solve_dense(gram, penalties)
    return weights_by_support(gram, penalties, np.arange(gram.shape[0]))


def _solve_dense(gram: sp.csr_matrix, penalties: FloatArray) -> FloatArray:
    """Return the weights B = I - P / diag(P) with P = (G + Λ)⁻¹, float32 [n, n].

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


def weights_by_support(gram: sp.csr_matrix, penalties: FloatArray, columns: IntArray) -> sp.csr_matrix:
    """Return how far the members with which some have most in common explain these, float32 CSR [n, columns]."""
    gram.sort_indices()  # in sorted rows SciPy finds an entry by bisection
    size = np.sqrt(np.maximum(gram.diagonal(), 1e-12)).astype(np.float32)
    diagonal = gram.diagonal() + penalties
    others = sp.csr_matrix(gram - sp.diags(gram.diagonal()))
    blocks = [sp.csc_matrix((gram.shape[0], 0), dtype=np.float32)]
    for first in range(0, len(columns), BLOCK):
        together = sp.csc_matrix(others[columns[first : first + BLOCK]].T)  # symmetric, and rows are quick to take
        nearest = largest_of_columns(together, together.data / size[together.indices], SUPPORT)
        blocks.append(_solve_block(gram, diagonal, nearest))
    return sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))


def _solve_block(gram: sp.csr_matrix, diagonal: FloatArray, together: sp.csc_matrix) -> sp.csc_matrix:
    """Solve (G_SS + Λ) b = G_Sj for the support S of every column j of `together` [n, columns]."""
    import torch

    column = columns_of(together)
    place = np.arange(together.nnz) - together.indptr[column]
    n, k = together.shape[1], max(int(np.diff(together.indptr).max(initial=0)), 2)
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
