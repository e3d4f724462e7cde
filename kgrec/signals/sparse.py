"""Sparse matrices: conversion to named arrays for run folders, fast products, and the largest entries of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray

MIN_DENSE_SHARE: Final = 0.05
"""Share of nonzero entries from which products with the dense form of a matrix are several times faster."""
MAX_DENSE_ENTRIES: Final = 25_000_000
"""Entries of a dense form, at most (100 MB)."""


def to_arrays(matrix: sp.csr_matrix) -> dict[str, npt.NDArray[Any]]:
    """Return a CSR matrix [n, m] as its arrays data, indices [nnz] and indptr [n + 1], and its shape [2]."""
    shape = np.array(matrix.shape, dtype=np.int64)
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": shape}


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]], columns: int) -> sp.csr_matrix:
    """Return the CSR matrix of the arrays that `to_arrays` returned.

    Args:
        arrays: data, indices, indptr and shape.
        columns: the expected number of columns.

    Raises:
        ValueError: the matrix has another number of columns, or an index is out of range.
    """
    shape, indptr, indices = arrays["shape"].tolist(), arrays["indptr"], arrays["indices"]
    if shape != [len(indptr) - 1, columns]:
        raise ValueError(f"wrong 'shape': {shape}. Expected {[len(indptr) - 1, columns]}")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise ValueError(f"'indptr' does not rise from 0 to {len(indices)}, the number of entries")
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < columns:
        raise ValueError(f"'indices' has {indices.min()} to {indices.max()}. Expected 0 to {columns - 1}")
    return sp.csr_matrix((arrays["data"], indices, indptr), shape=(len(indptr) - 1, columns))


def factor(matrix: sp.csr_matrix) -> sp.csr_matrix | FloatArray:
    """Return a matrix as the right factor of fast products: dense if it is small and not very sparse, else as it is."""
    entries = matrix.shape[0] * matrix.shape[1]
    return matrix.toarray() if MIN_DENSE_SHARE * entries <= matrix.nnz and entries <= MAX_DENSE_ENTRIES else matrix


def product(rows: sp.csr_matrix, right: sp.csr_matrix | FloatArray) -> FloatArray:
    """Return the product of a CSR matrix [n, m] and a `factor` [m, k], float32 [n, k]."""
    result = rows @ right
    return np.asarray(result if isinstance(result, np.ndarray) else result.toarray())


def rows_of(matrix: sp.csr_matrix, nums: IntArray) -> sp.csr_matrix:
    """Return rows of a CSR matrix; a single row by a slice, which is twice as fast."""
    return matrix[nums[0] : nums[0] + 1] if len(nums) == 1 else matrix[nums]


def transposed(matrix: sp.csr_matrix) -> sp.csc_matrix:
    """Return the transpose of a CSR matrix as CSC, its entries in ascending order of rows.

    For a block of columns of XᵀX, (rows of Xᵀ) X costs less than Xᵀ (columns of X), which reads all of Xᵀ each time.
    """
    return sp.csc_matrix(matrix.tocsc().T.tocsc())


def largest_of_columns(matrix: sp.csc_matrix, by: FloatArray, k: int) -> sp.csc_matrix:
    """Return the matrix with the at most k entries of each column that have the largest positive `by`, float32 [nnz].

    Of equal entries the first are kept. Only the k-th largest value of a column is looked up: to sort the entries with
    their places takes three times as long.
    """
    n, places = matrix.shape[1], np.flatnonzero(by > 0)
    column = columns_of(matrix)[places]
    count = np.bincount(column, minlength=n)
    ends = np.cumsum(count)
    # The bits of positive floats are in the order of their values; one sort orders columns and, downwards, values.
    key = (column.astype(np.uint64) << 32) | (np.uint32(2**32 - 1) - by[places].view(np.uint32))
    last = np.append(np.sort(key), key.dtype.type(0))[np.minimum(ends - count + k, ends) - 1][column]
    larger, equal = key < last, key == last
    equal_so_far = np.append(0, np.cumsum(equal))
    place = equal_so_far[:-1] - equal_so_far[(ends - count)[column]]
    n_equal = np.minimum(count, k) - np.bincount(column, weights=larger, minlength=n)
    kept = larger | (equal & (place < n_equal[column]))
    indptr = np.append(0, np.cumsum(np.bincount(column[kept], minlength=n)))
    return sp.csc_matrix((matrix.data[places[kept]], matrix.indices[places[kept]], indptr), shape=matrix.shape)


def columns_of(matrix: sp.csc_matrix) -> IntArray:
    """Return the column of every stored entry, int64 [nnz]."""
    return np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
