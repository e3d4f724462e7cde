"""Held-out cases withhold each item of a user once, and leave a history."""

import numpy as np
import scipy.sparse as sp

from kgrec.signals.graph.held_out_cases import N_FOLDS, Cases, draw_cases


def interactions() -> sp.csr_matrix:
    """Users with 0, 1, 2, 4, 7 and 20 of 30 items."""
    rng = np.random.default_rng(0)
    rows = [np.isin(np.arange(30), rng.permutation(30)[:count]) for count in (0, 1, 2, 4, 7, 20)]
    return sp.csr_matrix(np.array(rows, np.float32))


def drawn(min_items: int = 2, most: int = 1000, seed: int = 0) -> Cases:
    return draw_cases(interactions(), min_items, most, seed)


def test_draw_cases_withholds_each_item_once() -> None:
    cases, every = drawn(), interactions().toarray()
    total = np.zeros_like(every)
    np.add.at(total, cases.user_num, cases.wanted.toarray())
    np.testing.assert_array_equal(total, every * (every.sum(axis=1, keepdims=True) >= 2))
    np.testing.assert_array_equal(cases.seen.toarray() + cases.wanted.toarray(), every[cases.user_num])


def test_draw_cases_leaves_a_history() -> None:
    cases = drawn()
    assert (np.diff(cases.seen.indptr) > 0).all()
    assert (np.diff(cases.wanted.indptr) > 0).all()
    assert np.bincount(cases.user_num).tolist() == [0, 0, 2, 4, N_FOLDS, N_FOLDS]
    np.testing.assert_allclose(cases.history.power(2).sum(axis=1), 1, rtol=1e-6)


def test_draw_cases_with_one_item_leaves_none() -> None:
    cases = drawn(min_items=1)
    single = cases.take(np.flatnonzero(cases.user_num == 1))
    assert single.seen.nnz == 0
    assert single.wanted.nnz == 1


def test_draw_cases_repeats_by_seed() -> None:
    one, same, other = drawn(most=8, seed=1), drawn(most=8, seed=1), drawn(most=8, seed=2)
    assert len(one) == 8
    np.testing.assert_array_equal(one.wanted.toarray(), same.wanted.toarray())
    assert (one.user_num != other.user_num).any()


def test_case_weights_sum_to_one() -> None:
    cases = drawn()
    np.testing.assert_allclose(np.diff(cases.wanted.indptr) @ cases.weights, 1, rtol=1e-5)
