"""Feedback weights: interactions count by how well they predict the user's other items."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data import feedback_weights as feedback_weights_module
from kgrec.data.histories import strengths
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.signals.cf.ease import EASE

SCHEMA = Schema.from_dict(
    {
        "name": "shop",
        "nodes": {"User": {"key": "user_id"}, "Item": {"key": "item_id"}},
        "relationships": {
            "VIEWED": {"from": "User", "to": "Item"},
            "BOUGHT": {"from": "User", "to": "Item", "properties": {"stars": "float"}},
        },
        "roles": {"users": "User", "items": "Item", "behaviours": {"VIEWED": {}, "BOUGHT": {"weight": "stars"}}},
    }
)
N_USERS, N_ITEMS = 120, 60
OWN = np.arange(N_USERS)[:, None] % 2 == np.arange(N_ITEMS) % 2
VIEWED, BOUGHT = 0, 1


def shop(viewed: np.ndarray, bought: np.ndarray, stars: np.ndarray) -> GraphSnapshot:
    """Return a shop from masks and stars [N_USERS, N_ITEMS]; users and items are of two kinds, even and odd."""
    user_ids, item_ids = [f"u{u:03}" for u in range(N_USERS)], [f"i{i:03}" for i in range(N_ITEMS)]

    def edges(mask: np.ndarray, **columns: np.ndarray) -> pa.Table:
        user, item = np.nonzero(mask)
        ends = {"src": np.take(user_ids, user).tolist(), "dst": np.take(item_ids, item).tolist()}
        return pa.table({**ends, **{name: values[mask] for name, values in columns.items()}})

    tables = GraphTables(
        SCHEMA,
        {"User": pa.table({"user_id": user_ids}), "Item": pa.table({"item_id": item_ids})},
        {("User", "VIEWED", "Item"): edges(viewed), ("User", "BOUGHT", "Item"): edges(bought, stars=stars)},
    )
    return GraphSnapshot.from_tables(check(tables))


def sampled(share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((N_USERS, N_ITEMS)) < share


def views_at_random() -> GraphSnapshot:
    return shop(sampled(0.25, 0), OWN & sampled(0.25, 1), np.ones(OWN.shape))


def test_informative_type_weighs_more():
    train = views_at_random()
    viewed = train.behaviors.type_num == VIEWED
    value = train.feedback_weights
    assert value[~viewed].min() > 3 * abs(value[viewed]).max()
    np.testing.assert_allclose(np.mean(value**2), 1, rtol=1e-5)


@pytest.mark.parametrize("per_user", [0.5, 1.0, 20.0])
def test_uninformative_types_weigh_about_the_same(per_user: float) -> None:
    """Of users of one behavior nothing is learned, of random behaviors nothing large."""
    share = per_user / N_ITEMS
    train = shop(sampled(share, 0), sampled(share / 2, 1), np.random.default_rng(2).integers(1, 6, OWN.shape))
    np.testing.assert_allclose(train.feedback_weights, 1, atol=1e-6 if per_user <= 1 else 0.4)


def test_rare_type_has_no_large_weight() -> None:
    """Three behaviors of a type cannot outweigh the others."""
    bought = np.zeros(OWN.shape, dtype=bool)
    bought.flat[[5, 700, 2000]] = True
    train = shop(OWN & sampled(0.2, 0), bought, np.ones(OWN.shape))
    assert np.abs(train.feedback_weights).max() < 2


def test_feedback_weight_improves_ranking():
    train = views_at_random()
    users = np.arange(N_USERS)

    def share_of_own(influence: float) -> float:
        scores = EASE(EASE.Settings(feedback_weight=influence)).fit(train, {}).scores(users)
        scores[train.interactions.nonzero()] = -np.inf
        best = np.argsort(-scores, axis=1)[:, :5]
        return float(OWN[users[:, None], best].mean())

    assert share_of_own(1.0) > share_of_own(0.0) + 0.1


def test_low_ratings_of_opposite_taste_weigh_negative():
    disliked = ~OWN & sampled(0.1, 2)
    bought = disliked | (OWN & sampled(0.4, 1))
    train = shop(np.zeros_like(OWN), bought, np.where(disliked, 1.0, 5.0))
    value = train.feedback_weights
    low = train.behaviors.weight == 1
    assert value[low].max() < 0 < value[~low].min()
    assert (strengths(train, 1.0)[np.nonzero(disliked)] < 0).all()
    assert (strengths(train, 0.0)[np.nonzero(disliked)] == 1).all()


def test_equally_informative_low_ratings_weigh_the_same():
    bought = OWN & sampled(0.4, 1)
    train = shop(np.zeros_like(OWN), bought, 1.0 + sampled(0.5, 3))
    np.testing.assert_allclose(train.feedback_weights, 1, atol=0.15)


def test_outlier_rating_does_not_change_weights():
    bought = OWN & sampled(0.4, 1)
    stars = np.where(np.cumsum(bought).reshape(bought.shape) == 1, 1e9, 1.0)
    np.testing.assert_allclose(shop(np.zeros_like(OWN), bought, stars).feedback_weights, 1, atol=0.15)


@pytest.mark.parametrize("n_viewed", [0, 1])
def test_weights_without_evidence_are_one(n_viewed):
    """Behaviors all of a kind, and users with one behavior each."""
    one = np.arange(N_ITEMS) == np.arange(N_USERS)[:, None] % N_ITEMS
    train = shop(one & (np.arange(N_USERS)[:, None] < n_viewed), one, np.ones(OWN.shape))
    np.testing.assert_array_equal(train.feedback_weights, 1)


def test_pair_of_two_types_weighs_their_mean():
    both = OWN & sampled(0.2, 4)
    train = shop(sampled(0.25, 0) | both, both, np.ones(OWN.shape))
    value, type_num = train.feedback_weights, train.behaviors.type_num
    expected = (value[type_num == VIEWED][0] + value[type_num == BOUGHT][0]) / 2
    np.testing.assert_allclose(strengths(train, 1.0)[np.nonzero(both)], expected, rtol=1e-4)


def test_weights_of_a_user_sample_agree(monkeypatch):
    train = views_at_random()
    viewed = train.behaviors.type_num == VIEWED
    whole = train.feedback_weights
    monkeypatch.setattr(feedback_weights_module, "MAX_FEEDBACK_BEHAVIORS", 1500)
    part = views_at_random().feedback_weights
    assert (part != whole).any()
    assert part[~viewed].min() > 2 * part[viewed].max()


def test_weights_are_cached(monkeypatch):
    train = views_at_random()
    first = strengths(train, 1.0)
    monkeypatch.setattr(feedback_weights_module, "feedback_weights", None)
    np.testing.assert_array_equal(strengths(train, 1.0).data, first.data)


@pytest.mark.parametrize("seed", range(6))
def test_weights_are_finite_for_blocks_without_holdout(seed, monkeypatch):
    monkeypatch.setattr(feedback_weights_module, "BLOCK_USERS", 3)
    rng = np.random.default_rng(seed)
    few = rng.random(OWN.shape) < 1 / N_ITEMS
    stars = rng.integers(1, 6, OWN.shape).astype(float)
    assert np.isfinite(shop(few, few, stars).feedback_weights).all()
    one = np.zeros_like(few)
    one[0, 0] = True
    assert np.isfinite(shop(one, one, stars).feedback_weights).all()
