"""Sparse matrices: as the named arrays that a run keeps, and the largest entries of every column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.snapshot import FloatArray, IntArray


def to_arrays(matrix: sp.csr_matrix) -> dict[str, npt.NDArray[Any]]:
    """Return a CSR matrix [n, m] as its arrays data, indices [nnz] and indptr [n + 1], and its shape [2]."""
    shape = np.array(matrix.shape, dtype=np.int64)
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": shape}


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> sp.csr_matrix:
    """Take back what `to_arrays` returned."""
    rows, columns = arrays["shape"].tolist()
    return sp.csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(rows, columns))


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
