from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kgrec.data.id_map import as_ids
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import UnknownItem, UsageError
from kgrec.ranking.filters import item_filter
from kgrec.ranking.top_k import Ranking, rank_all, top_k

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 12))
NUMBERS = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0, np.nan, np.inf, -np.inf])


@st.composite
def cases(draw):
    shape = draw(SHAPES)
    scores = draw(arrays(np.float32, shape, elements=NUMBERS))
    seen = draw(arrays(bool, shape))
    allowed = draw(st.one_of(st.none(), arrays(bool, shape[1]), arrays(bool, shape)))
    return scores, draw(st.integers(1, 15)), seen, allowed


def slow_top_k(scores, k, seen, allowed):
    """Reference implementation: one user, one item at a time."""
    lists = []
    for user, row in enumerate(scores):
        may = [True] * len(row) if allowed is None else (allowed if allowed.ndim == 1 else allowed[user])
        left = [i for i in range(len(row)) if np.isfinite(row[i]) and not seen[user, i] and may[i]]
        lists.append(sorted(left, key=lambda i: (-row[i], i))[:k])
    return lists


def lists_of(ranking: Ranking) -> list[list[int]]:
    return [[num for num in row if num >= 0] for row in ranking.item_num.tolist()]


@given(cases())
@settings(deadline=None, max_examples=200)
def test_top_k_equals_reference_implementation(case):
    scores, k, seen, allowed = case
    ranking = top_k(scores, k, sp.csr_matrix(seen), allowed)
    assert lists_of(ranking) == slow_top_k(scores, k, seen, allowed)
    listed = ranking.item_num >= 0
    row = np.nonzero(listed)[0]
    assert np.array_equal(ranking.score[listed], scores[row, ranking.item_num[listed]])
    assert np.isnan(ranking.score[~listed]).all()


@given(cases())
@settings(deadline=None, max_examples=100)
def test_shorter_list_is_prefix_of_longer_one(case):
    scores, k, seen, allowed = case
    longer = lists_of(top_k(scores, k + 3, sp.csr_matrix(seen), allowed))
    assert lists_of(top_k(scores, k, sp.csr_matrix(seen), allowed)) == [row[:k] for row in longer]


def test_non_finite_scores_keep_tie_order():
    ranking = top_k(np.array([[-2.0, -2.0, -2.0, np.nan, np.nan, np.inf]], np.float32), 4)
    assert ranking.item_num.tolist() == [[0, 1, 2, -1]]


def test_short_list_ends_with_minus_one():
    ranking = top_k(np.ones((2, 3), np.float32), 3, sp.csr_matrix([[1, 1, 0], [1, 1, 1]]))
    assert ranking.item_num.tolist() == [[2, -1, -1], [-1, -1, -1]]
    assert ranking.item_num.dtype == np.int64
    assert ranking.score.dtype == np.float32


def test_large_k_lists_every_allowed_item():
    ranking = top_k(np.array([[1.0, 3.0, 2.0]], np.float32), 10**12, allowed=np.array([True, False, True]))
    assert ranking.item_num.tolist() == [[2, 0, -1]]


def test_top_k_does_not_change_its_input():
    scores = np.array([[1.0, 2.0, np.nan]], np.float32)
    before = scores.copy()
    top_k(scores, 1, sp.csr_matrix([[0, 1, 0]]), np.array([True, True, False]))
    assert np.array_equal(scores, before, equal_nan=True)


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_fails(k):
    with pytest.raises(UsageError, match=rf"k is too small: {k}. Expected at least 1"):
        top_k(np.ones((1, 2), np.float32), k)
    with pytest.raises(UsageError, match=rf"k is too small: {k}. Expected at least 1"):
        rank_all(lambda users: np.ones((len(users), 2), np.float32), np.array([], np.int64), k)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 100])
def test_batches_give_equal_lists(batch_size):
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 4, (10, 30)).astype(np.float32)
    seen = sp.csr_matrix(rng.random((10, 30)) < 0.3)
    allowed = rng.random(30) < 0.8
    users = rng.permutation(10)[:7]
    whole = top_k(scores[users], 5, seen[users], allowed)
    ranking = rank_all(lambda nums: scores[nums], users, 5, seen, allowed, batch_size)
    assert np.array_equal(ranking.item_num, whole.item_num)
    assert np.array_equal(ranking.score, whole.score, equal_nan=True)


def test_batches_respect_the_given_size():
    sizes = []

    def scores(nums):
        sizes.append(len(nums))
        return np.zeros((len(nums), 4), np.float32)

    rank_all(scores, np.arange(7), 2, sp.csr_matrix((7, 4)), batch_size=3)
    assert sizes == [3, 3, 1]


def test_default_batches_are_bounded_by_memory(monkeypatch):
    monkeypatch.setattr("kgrec.ranking.top_k.BATCH_BYTES", 4 * 10 * 2)
    sizes = []

    def scores(nums):
        sizes.append(len(nums))
        return np.zeros((len(nums), 10), np.float32)

    rank_all(scores, np.arange(5), 2, sp.csr_matrix((5, 10)))
    assert sizes == [2, 2, 1]


def test_read_only_scores_of_another_type_are_copied():
    scores = np.broadcast_to(np.array([1.0, 2.0]), (3, 2))
    ranking = rank_all(lambda nums: scores[: len(nums)], np.arange(3), 1, sp.csr_matrix([[0, 1], [1, 0], [0, 0]]))
    assert ranking.item_num.tolist() == [[0], [1], [1]]


def test_no_users_give_no_lists():
    assert len(rank_all(lambda nums: np.zeros((len(nums), 2), np.float32), np.array([], np.int64), 3)) == 0


def test_batch_size_below_one_fails():
    with pytest.raises(UsageError, match="batch_size is too small: 0"):
        rank_all(lambda nums: np.zeros((len(nums), 2), np.float32), np.arange(2), 1, batch_size=0)


@pytest.fixture
def shop(market: GraphTables) -> GraphSnapshot:
    return GraphSnapshot.from_tables(check(market))


def kept(shop: GraphSnapshot, **rules) -> list[str]:
    return shop.items.ids[item_filter(shop, **rules)].tolist()


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, ["m1", "m2", "m3", "b1", "b2"]),
        ({"items": ["b2", "m1"]}, ["m1", "b2"]),
        ({"items": []}, []),
        ({"exclude": ["m1"]}, ["m2", "m3", "b1", "b2"]),
        ({"items": ["b2", "m1"], "exclude": ["b2"]}, ["m1"]),
        ({"where": {"year": 1979}}, ["m1", "b2"]),
        ({"where": {"year": "1979"}}, ["m1", "b2"]),
        ({"where": {"year": [1972, 1961]}}, ["m3", "b1"]),
        ({"where": {"genres": "space"}}, ["m1", "m3"]),
        ({"where": {"genres": ["drama", "western"]}}, ["m3"]),
        ({"where": {"genres": "spa"}}, []),
        ({"where": {"in_print": True}}, ["b1"]),
        ({"where": {"added": "2021-03-04"}}, ["m2"]),
        ({"where": {"title": "Alien", "year": 1979}}, ["m1"]),
        ({"where": {"title": "Alien", "shelf": "A"}}, []),
    ],
)
def test_item_filter_keeps_matching_items(shop, rules, expected):
    assert kept(shop, **rules) == expected


@pytest.mark.parametrize("rule", ["items", "exclude"])
def test_item_filter_unknown_item_names_near_matches(shop, rule):
    with pytest.raises(UnknownItem, match=r"unknown item: 'm9'; near matches: m\d.*\. Name items") as caught:
        item_filter(shop, **{rule: ["m1", "m9"]})
    assert caught.value.missing == ["m9"]


def test_item_filter_unknown_property_lists_properties(shop):
    with pytest.raises(UsageError, match=r"'genre'. Expected one of added, genres, in_print, .*near matches: genres"):
        item_filter(shop, where={"genre": "space"})


def test_item_filter_value_of_wrong_type_fails(shop):
    with pytest.raises(UsageError, match=r"wrong type: year='old'. Expected a value of type int"):
        item_filter(shop, where={"year": [1979, "old"]})


@pytest.mark.parametrize("rule", ["items", "exclude"])
@pytest.mark.parametrize("ids", ["m1", b"m1", 7])
def test_item_filter_refuses_a_bare_id(shop: GraphSnapshot, rule: str, ids: object) -> None:
    with pytest.raises(UsageError, match=rf"{rule}={ids!r}; expected a list of ids, such as \[{ids!r}\]"):
        item_filter(shop, **{rule: ids})


@pytest.mark.parametrize("wanted", [(1970, 1980), range(1970, 1980), slice(1970, 1980)])
def test_item_filter_refuses_what_may_be_a_range(shop: GraphSnapshot, wanted: object) -> None:
    with pytest.raises(UsageError, match=r"Expected one value, a list of values, or a range such as"):
        item_filter(shop, where={"year": wanted})


@pytest.mark.parametrize("ids", [{"m1": 1}, pd.DataFrame({"item_id": ["m1"]})])
def test_ids_from_a_table_or_mapping_are_refused(ids: Any) -> None:
    with pytest.raises(UsageError, match="expected a list of ids, such as one column of it"):
        as_ids(ids, "items")


def test_float_ids_of_pandas_are_read_as_integers() -> None:
    assert as_ids(pd.Series([1.0, 2.5, None]), "users")[:2] == ["1", "2.5"]


@pytest.mark.parametrize("where", ["year=1979", pd.DataFrame({"year": [1979]})])
def test_where_of_wrong_type_fails(shop: GraphSnapshot, where: Any) -> None:
    with pytest.raises(UsageError, match="Expected item properties and conditions"):
        item_filter(shop, where=where)


@pytest.mark.parametrize("k", [1.5, "3", True, None])
def test_k_not_an_integer_fails(k: Any) -> None:
    with pytest.raises(UsageError, match="k is not a whole number"):
        top_k(np.zeros((1, 3), dtype=np.float32), k)


@pytest.mark.parametrize("n_items", [25, 2003])
@pytest.mark.parametrize("n_values", [8, 1_000_000])
@pytest.mark.parametrize("k", [1, 5, 30])
def test_numpy_and_torch_list_the_same_items(monkeypatch, k, n_values, n_items):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, n_values, (40, n_items)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    scores[rng.random(scores.shape) < 0.1] = np.inf
    by_numpy = top_k(scores, k)
    monkeypatch.setattr("kgrec.ranking.top_k.MAX_NUMPY_SCORES", 0)
    by_torch = top_k(scores, k)
    np.testing.assert_array_equal(by_numpy.item_num, by_torch.item_num)
    np.testing.assert_array_equal(by_numpy.score, by_torch.score)
