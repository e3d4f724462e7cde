from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kgrec.data.split import by_given
from kgrec.errors import UsageError
from kgrec.metrics.ranking import evaluate, ndcg_at
from kgrec.metrics.significance import bootstrap_interval, bootstrap_intervals, paired_test
from kgrec.ranking.top_k import Ranking, rank_all, top_k


@st.composite
def cases(draw):
    n, n_items = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    scores = draw(arrays(np.float32, (n, n_items), elements=st.integers(0, 5).map(float)))
    seen, relevant = draw(arrays(bool, (n, n_items))), draw(arrays(bool, (n, n_items)))
    relevant[0, 0], seen[0, 0] = True, False
    ks = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True))
    return scores, seen, relevant & ~seen, sorted(ks)


def slow_metrics(listed: list[int], wanted: set[int], k: int) -> dict[str, float]:
    """Reference implementation of the metrics: one user and one rank at a time."""
    listed = listed[:k]
    hits = [rank for rank, item in enumerate(listed, start=1) if item in wanted]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
    precisions = [sum(hit <= rank for hit in hits) / rank for rank in hits]
    return {
        "Recall": len(hits) / len(wanted),
        "Precision": len(hits) / k,
        "HR": float(bool(hits)),
        "MRR": 1 / hits[0] if hits else 0.0,
        "MAP": sum(precisions) / min(k, len(wanted)),
        "NDCG": sum(1 / math.log2(rank + 1) for rank in hits) / ideal,
    }


@given(cases())
@settings(deadline=None, max_examples=100)
def test_metrics_equal_reference_implementation(case):
    scores, seen, relevant, ks = case
    ranking = top_k(scores, max(ks), sp.csr_matrix(seen))
    result = evaluate(ranking, sp.csr_matrix(relevant), sp.csr_matrix(seen), ks)
    for user, (row, marks) in enumerate(zip(ranking.item_num.tolist(), relevant, strict=True)):
        wanted = set(np.flatnonzero(marks).tolist())
        for k in ks:
            for name in ("Recall", "Precision", "HR", "MRR", "MAP", "NDCG"):
                value = result.per_user[f"{name}@{k}"][user]
                if wanted:
                    assert value == pytest.approx(slow_metrics([i for i in row if i >= 0], wanted, k)[name], abs=1e-6)
                else:
                    assert np.isnan(value)
    for name, mean in result.means.items():
        assert mean == pytest.approx(np.nanmean(result.per_user[name]), abs=1e-6)
    assert result.n_users == relevant.any(axis=1).sum()


@given(cases())
@settings(deadline=None, max_examples=50)
def test_ndcg_at_equals_ndcg_of_ranking(case):
    scores, seen, relevant, (k, *_) = case
    per_user = evaluate(top_k(scores, k, sp.csr_matrix(seen)), sp.csr_matrix(relevant), sp.csr_matrix(seen), [k])
    straight = ndcg_at(scores, sp.csr_matrix(relevant), sp.csr_matrix(seen), k)
    assert straight.dtype == np.float32
    np.testing.assert_array_equal(straight, per_user.per_user[f"NDCG@{k}"])


def test_metrics_of_worked_example():
    ranking = Ranking(np.array([[3, 1, 2], [0, -1, -1], [0, 1, 2]]), np.zeros((3, 3), np.float32))
    relevant = sp.csr_matrix([[1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    train = sp.csr_matrix([[0, 0, 0, 1], [1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]])
    result = evaluate(ranking, relevant, train, [3])
    ndcg = (1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2)
    assert result.per_user["NDCG@3"].tolist() == pytest.approx([ndcg, 0, math.nan], nan_ok=True)
    assert result.means == pytest.approx(
        {"NDCG@3": ndcg / 2, "Recall@3": 1 / 3, "Precision@3": 1 / 3, "HR@3": 1 / 2, "MRR@3": 1 / 4, "MAP@3": 7 / 36}
    )
    assert result.coverage == {3: 1.0}
    # Listed: item 3 (all four users have it), 1 and 2 (no user has them, counted as one of four), 0 (one of four).
    assert result.novelty[3] == pytest.approx((0 + 2 + 2 + 2 + 2 + 2 + 2) / 7)
    assert result.n_users == 2


def test_coverage_and_novelty_use_the_first_k():
    ranking = Ranking(np.array([[0, 1], [0, 2]]), np.zeros((2, 2), np.float32))
    train = sp.csr_matrix([[1, 1, 0, 0], [1, 0, 1, 0]])
    result = evaluate(ranking, sp.csr_matrix([[1, 0, 0, 0], [0, 1, 0, 0]]), train, [2, 1])
    assert result.coverage == {1: 0.25, 2: 0.75}
    assert result.novelty == {1: 0.0, 2: 0.5}
    assert result.to_dict()["Coverage@2"] == 0.75
    assert list(result.ks) == [1, 2]


def test_known_answers_score_one_and_popularity_less(communities):
    split = by_given(communities)
    train = split.train.interactions
    relevant = communities.pairs(split.test)
    neighbors, popularity = (train @ train.T @ train).toarray(), np.asarray(train.sum(axis=0))

    def first_hits(scores):
        ranking = rank_all(lambda nums: scores[nums], np.arange(communities.n_users), 1, train)
        return evaluate(ranking, relevant, train, [1]).means["HR@1"]

    assert first_hits(neighbors) == 1.0
    assert first_hits(np.tile(popularity, (communities.n_users, 1))) < 0.3


@pytest.mark.parametrize(
    ("ks", "n_lists", "relevant", "message"),
    [
        ([0, 5], 1, [[1, 0]], r"ks=\[0, 5\]. Expected whole numbers from 1"),
        ([], 1, [[1, 0]], r"wrong list lengths: ks=\[\]"),
        ([1], 2, [[1, 0]], r"lists and users differ in number: 2 and 1"),
        ([1], 1, [[0, 0]], r"no user has a relevant item. Expected at least one test interaction"),
    ],
)
def test_evaluate_invalid_input_fails(ks, n_lists, relevant, message):
    ranking = Ranking(np.zeros((n_lists, 1), np.int64), np.zeros((n_lists, 1), np.float32))
    with pytest.raises(UsageError, match=message):
        evaluate(ranking, sp.csr_matrix(relevant), sp.csr_matrix([[1, 0]]), ks)


def test_bootstrap_interval_of_many_users_is_normal():
    values = np.random.default_rng(1).normal(0.4, 0.2, 2000)
    low, high = bootstrap_interval(values, samples=2000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 8)


def test_bootstrap_intervals_equal_single_intervals():
    values = np.random.default_rng(1).random((50, 3))
    each = [bootstrap_interval(column, seed=3) for column in values.T]
    np.testing.assert_allclose(bootstrap_intervals(values, seed=3), each)


def test_bootstrap_interval_widens_with_level_and_repeats():
    values = np.append(np.random.default_rng(2).random(50), np.nan)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide[0] < narrow[0] < np.nanmean(values) < narrow[1] < wide[1]
    assert bootstrap_interval(values, level=0.5) == narrow
    assert bootstrap_interval(values, level=0.5, seed=1) != narrow


def test_bootstrap_interval_without_values_fails():
    with pytest.raises(UsageError, match="no user has a value"):
        bootstrap_interval(np.array([np.nan]))


def test_paired_test_of_equal_models_has_uniform_p():
    """Without a difference, p-values below a level occur at the rate of that level."""
    rng = np.random.default_rng(0)
    p_values = [paired_test(rng.random(30), rng.random(30), samples=200).p_value for _ in range(200)]
    assert np.mean(np.array(p_values) <= 0.2) == pytest.approx(0.2, abs=0.09)


def test_paired_test_finds_a_difference():
    rng = np.random.default_rng(0)
    worse = rng.random(300)
    test = paired_test(worse + rng.normal(0.05, 0.1, 300), worse)
    assert test.p_value < 0.001
    assert 0.03 < test.low < test.difference < test.high < 0.07
    assert test.n_users == 300
    assert paired_test(worse + 0.0, worse + rng.normal(0.05, 0.1, 300)).difference < 0


def test_paired_test_equals_scipys_exact_test():
    from scipy.stats import permutation_test

    rng = np.random.default_rng(0)
    better, worse = rng.random(10) + 0.15, rng.random(10)
    exact = permutation_test((better - worse,), np.mean, permutation_type="samples", n_resamples=2**10)
    assert paired_test(better, worse, samples=20_000).p_value == pytest.approx(exact.pvalue, abs=0.01)


def test_small_paired_test_has_the_exact_p_value():
    """Four users, each better by one: 2 of the 16 possible swaps give an equally large difference."""
    test = paired_test(np.ones(4), np.zeros(4), samples=20_000)
    assert test.p_value == pytest.approx(2 / 16, abs=0.01)


def test_paired_test_of_equal_values_has_p_one():
    values = np.array([0.1, 0.7, np.nan, 0.3])
    test = paired_test(values, np.array([0.1, 0.7, 0.2, 0.3]))
    assert (test.difference, test.p_value, test.n_users) == (0.0, 1.0, 3)


def test_paired_test_needs_the_same_users():
    with pytest.raises(UsageError, match=r"differ in shape: \(2,\) and \(3,\)"):
        paired_test(np.zeros(2), np.zeros(3))
