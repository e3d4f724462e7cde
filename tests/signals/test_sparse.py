"""Products of sparse rows with sparse and dense factors."""

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec.signals.sparse import factor, product, rows_of


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
