"""The largest entries of every column of a sparse matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from kgrec.snapshot import FloatArray, IntArray


def largest_of_columns(matrix: sp.csc_matrix, by: FloatArray, k: int) -> sp.csc_matrix:
    """Return the matrix with at most k entries a column: those with the largest `by` [nnz], which must be above 0."""
    column = columns_of(matrix)
    order = np.lexsort((-by, column))
    place = np.arange(len(order)) - matrix.indptr[column]
    kept = np.sort(order[(place < k) & (by[order] > 0)])
    return sp.csc_matrix((matrix.data[kept], (matrix.indices[kept], column[kept])), shape=matrix.shape)


def columns_of(matrix: sp.csc_matrix) -> IntArray:
    """Return the column of every stored entry, int64 [nnz]."""
    return np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
