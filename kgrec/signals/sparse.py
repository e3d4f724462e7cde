"""Sparse matrices: conversion to named arrays for run folders, and the largest entries of every column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray


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


def largest_of_columns(matrix: sp.csc_matrix, by: FloatArray, k: int) -> sp.csc_matrix:
    """Return the matrix with the at most k entries of each column that have the largest positive `by` [nnz]."""
    column = columns_of(matrix)
    order = np.lexsort((-by, column))
    place = np.arange(len(order)) - matrix.indptr[column]
    kept = np.sort(order[(place < k) & (by[order] > 0)])
    return sp.csc_matrix((matrix.data[kept], (matrix.indices[kept], column[kept])), shape=matrix.shape)


def columns_of(matrix: sp.csc_matrix) -> IntArray:
    """Return the column of every stored entry, int64 [nnz]."""
    return np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
