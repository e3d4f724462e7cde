"""Cold items get scores calibrated to the probability that their content predicts."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import softmax

from kgrec.hybrid.cold_items import ColdItems, has_cold_item_users

pytestmark = pytest.mark.slow

N_USERS, N_ITEMS = 400, 60
NEW = np.arange(N_ITEMS) >= 50
KNOWS = {"content": np.array([False, True]), "graph": np.array([False, False])}
NONE = sp.csr_matrix((N_USERS, N_ITEMS), dtype=np.float32)


def world(seed=0, sure=3.0):
    """What users take by the log odds of each item, of which content tells a part and behaviors the rest."""
    rng = np.random.default_rng(seed)
    content, rest = (rng.normal(size=(N_USERS, N_ITEMS)).astype(np.float32) for _ in range(2))
    odds = sure * content + rest
    taken = np.stack([rng.choice(N_ITEMS, 1, p=p) for p in softmax(odds, axis=1)])
    relevant = sp.csr_matrix((np.ones(N_USERS, np.float32), (np.arange(N_USERS), taken[:, 0])), shape=NONE.shape)
    return content, (odds / 2).astype(np.float32), relevant, np.where(NEW, 0, 5)


def learned(content, total, relevant, popularity):
    return ColdItems.learn(KNOWS, [total, content], total, NONE, relevant, popularity)


def test_learned_scale_recovers_log_probability():
    content, total, relevant, popularity = world()
    found = learned(content, total, relevant, popularity)
    assert found.scale == pytest.approx(2, rel=0.15)
    assert 2 < found.weights["content"][1] < 3.5
    assert found.weights["content"][0] == 0
    assert "graph" not in found.weights


def test_learn_ignores_users_who_saw_all_known_items():
    content, total, relevant, popularity = world()
    seen = sp.lil_matrix(NONE)
    seen[0, ~NEW] = 1
    relevant = sp.lil_matrix(relevant)
    relevant[0] = 0
    relevant[0, 55] = 1
    found = ColdItems.learn(KNOWS, [total, content], total, seen.tocsr(), relevant.tocsr(), popularity)
    assert found.scale == pytest.approx(learned(content, total, relevant.tocsr(), popularity).scale, rel=0.02)
    assert found.weights["content"][1] > 2


def test_cold_items_rank_first_as_often_as_relevant():
    content, total, relevant, popularity = world()
    lists = []
    for factor in (1, 10):
        found = learned(content, factor * total, relevant, popularity)
        shares = found.shares("content", [total, content], NONE, factor * total, NEW, ~NEW)
        assert not shares[:, :, 0].any()
        scores = factor * total.copy()
        scores[:, NEW] = shares.sum(axis=2)
        lists.append(scores.argmax(axis=1))
    assert (lists[0] == lists[1]).mean() > 0.95
    assert 0.5 * NEW.mean() < NEW[lists[0]].mean() < 1.5 * NEW.mean()


def test_cold_items_rank_low_if_content_is_noise():
    content, total, relevant, popularity = world()
    noise = np.random.default_rng(9).normal(size=content.shape).astype(np.float32)
    found = learned(noise, total, relevant, popularity)
    scores = total.copy()
    scores[:, NEW] = found.shares("content", [total, noise], NONE, total, NEW, ~NEW).sum(axis=2)
    assert NEW[scores.argmax(axis=1)].mean() < 0.2 * NEW.mean()


def test_shares_are_finite_for_users_who_saw_all_else():
    content, total, relevant, popularity = world()
    found = learned(content, total, relevant, popularity)
    seen = sp.csr_matrix(np.broadcast_to(~NEW, NONE.shape).astype(np.float32))
    assert np.isfinite(found.shares("content", [total, content], seen, total, NEW, ~NEW)).all()


def test_has_cold_item_users_detects_cold_item_cut():
    *_, relevant, popularity = world()
    known = sp.csr_matrix(relevant.multiply(~NEW))
    known.eliminate_zeros()
    assert has_cold_item_users(relevant, popularity)
    assert not has_cold_item_users(known, popularity)


def test_cold_items_survive_dict_round_trip():
    found = ColdItems(2.5, {"content": np.array([0, 0.5], np.float32)}, in_validation=True)
    again = ColdItems.from_dict(found.to_dict())
    assert (again.scale, again.in_validation) == (found.scale, found.in_validation)
    np.testing.assert_array_equal(again.weights["content"], found.weights["content"])
