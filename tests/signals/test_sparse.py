"""Products of sparse rows with sparse and dense factors, and the largest entries of columns."""

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec.signals.sparse import factor, largest_of_columns, product, rows_of


@pytest.mark.parametrize("density", [0.01, 0.2])
def test_products_with_sparse_and_dense_factors_agree(density):
    rng = np.random.default_rng(0)
    matrix = sp.random(60, 40, density, format="csr", dtype=np.float32, random_state=rng)
    history = sp.random(9, 60, 0.3, format="csr", dtype=np.float32, random_state=rng)
    right = factor(matrix)
    assert sp.issparse(right) == (density < 0.05)
    np.testing.assert_allclose(product(history, right), history.toarray() @ matrix.toarray(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nums", [[4], [4, 0], []])
def test_rows_of_returns_the_named_rows(nums):
    matrix = sp.random(6, 5, 0.5, format="csr", dtype=np.float32, random_state=0)
    rows = rows_of(matrix, np.array(nums, np.int64))
    np.testing.assert_array_equal(rows.toarray(), matrix.toarray()[nums])


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_largest_of_columns_are_those_that_sort_first(k):
    matrix = sp.random(60, 40, density=0.3, format="csc", dtype=np.float32, rng=np.random.default_rng(0))
    matrix.data = np.random.default_rng(1).integers(-3, 9, matrix.nnz).astype(np.float32) / 7  # many are equal
    kept = largest_of_columns(matrix, matrix.data, k)
    for column in range(matrix.shape[1]):
        of_column = slice(matrix.indptr[column], matrix.indptr[column + 1])
        rows, values = matrix.indices[of_column], matrix.data[of_column]
        first = np.argsort(-values, kind="stable")[:k]
        wanted = np.sort(first[values[first] > 0])
        stored = slice(kept.indptr[column], kept.indptr[column + 1])
        np.testing.assert_array_equal(kept.indices[stored], rows[wanted])
        np.testing.assert_array_equal(kept.data[stored], values[wanted])


def test_largest_of_columns_of_negative_entries_are_none():
    matrix = sp.csc_matrix(-np.ones((3, 2), np.float32))
    assert largest_of_columns(matrix, matrix.data, 2).nnz == 0
    assert largest_of_columns(sp.csc_matrix((3, 0), dtype=np.float32), np.empty(0, np.float32), 2).shape == (3, 0)
