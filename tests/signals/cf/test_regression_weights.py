"""Regression weights: what a run stores gives the same weights again."""

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec._util.array_layout import check_arrays
from kgrec.signals.cf.regression_weights import RegressionWeights
from kgrec.signals.cf.ridge import ridge_weights

N = 40


@pytest.fixture(scope="module")
def factors():
    return sp.random(N, 60, 0.2, format="csr", dtype=np.float32, random_state=0)


@pytest.fixture(scope="module")
def weights(factors):
    return ridge_weights(factors, 0.5, 0.2)


def stored(weights):
    state = weights.state()
    check_arrays(state, RegressionWeights.layouts(N))
    return RegressionWeights.from_state(state, N)


def test_dense_weights_take_a_quarter_and_come_back_equal(weights):
    assert sum(array.nbytes for array in weights.state().values()) < weights.matrix.nbytes / 4 + 4 * N
    np.testing.assert_array_equal(stored(weights).matrix, weights.matrix)


def test_half_precision_changes_weights_little(factors, weights):
    gram = (factors @ factors.T).toarray().astype(np.float64)
    inverse = np.linalg.inv(gram + np.diag(0.5 + 0.25 * gram.diagonal()))
    exact = -inverse / np.diag(inverse)
    np.fill_diagonal(exact, 0)
    np.testing.assert_allclose(weights.matrix, exact, rtol=1e-3, atol=1e-6)


def test_replaced_columns_come_back_equal(factors, weights):
    columns = sp.csr_matrix(factors[:, :2])
    replaced = weights.with_columns(np.array([3, 7]), columns)
    np.testing.assert_allclose(replaced.matrix[:, [3, 7]], columns.toarray(), rtol=1e-3)
    np.testing.assert_allclose(replaced.matrix[:, :3], weights.matrix[:, :3], rtol=1e-3, atol=1e-7)
    np.testing.assert_array_equal(stored(replaced).matrix, replaced.matrix)


def test_renumbered_weights_come_back_equal(weights):
    old_num = np.r_[np.arange(N - 1)[::-1], -1]
    renumbered = weights.remapped(old_num)
    np.testing.assert_array_equal(renumbered.matrix[:-1, :-1], weights.matrix[:-1, :-1][::-1, ::-1])
    assert not renumbered.matrix[-1].any()
    assert not renumbered.matrix[:, -1].any()
    np.testing.assert_array_equal(stored(renumbered).matrix, renumbered.matrix)


@pytest.mark.parametrize("wrong", [0, -1, 1e-30])
def test_scale_of_another_size_is_refused(weights, wrong):
    scale = np.r_[np.float32(wrong), weights.scale[1:]]
    with pytest.raises(ValueError, match=r"'scale' has .* Expected positive numbers of similar size"):
        RegressionWeights.from_state({**weights.state(), "scale": scale}, N)
