"""Path weights: the weights that generated the interactions are recovered, and no feature uses its own target."""

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec.signals.graph import metapath_weights
from kgrec.signals.graph.metapath_matrices import MetaPath
from kgrec.signals.graph.metapath_weights import from_histories, from_popularity, from_users, learn_weights

WEIGHTS = np.array([2.0, 1.0, 0.0, -1.0])


def choices(n_users=3000, n_items=60):
    """Features [4, n_users, n_items], and one item per user, chosen with probability softmax(WEIGHTS · features)."""
    random = np.random.default_rng(0)
    features = random.normal(size=(4, n_users, n_items)).astype(np.float32)
    gumbel = random.gumbel(size=(n_users, n_items))
    chosen = (np.tensordot(WEIGHTS, features, 1) + gumbel).argmax(axis=1)
    ones = np.ones(n_users, np.float32)
    return features, sp.csr_matrix((ones, (np.arange(n_users), chosen)), shape=(n_users, n_items))


def learned(features, interactions, regularization=0.0):
    return learn_weights([lambda users, x=x: x[users] for x in features], interactions, regularization, seed=0)


def test_learn_weights_recovers_true_weights():
    features, interactions = choices()
    found = learned(features[:3], interactions)
    np.testing.assert_allclose(found, learned(features[:3], interactions))
    features_and_noise = learned(features, interactions)
    assert found[0] / found[1] == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(features_and_noise[:3], found, atol=0.02)
    assert features_and_noise[3] == 0


def test_learn_weights_recovers_weights_of_all_features():
    features, interactions = choices()
    features[3] *= -1
    np.testing.assert_allclose(learned(features, interactions), np.abs(WEIGHTS), atol=0.1)


def test_learn_weights_with_sampled_items_agrees(monkeypatch):
    """Popular items are sampled more often; without a correction, the weights of their features would be too low."""
    features, _ = choices(2000, 300)
    taste, appeal = features[0], np.broadcast_to(features[1, :1], features[1].shape)
    chosen = (taste + appeal + np.random.default_rng(1).gumbel(size=taste.shape)).argmax(axis=1)
    interactions = sp.csr_matrix((np.ones(2000, np.float32), (np.arange(2000), chosen)), shape=taste.shape)
    monkeypatch.setattr(metapath_weights, "MAX_CANDIDATE_ITEMS", 250)
    np.testing.assert_allclose(learned([taste, appeal], interactions), [1, 1], atol=0.15)


def test_learn_weights_ignores_feature_scale(monkeypatch):
    features, interactions = choices()
    monkeypatch.setattr(metapath_weights, "MAX_ITERATIONS", 5)
    scale = np.array([1e3, 1e-4, 1, -10], np.float32)
    found = learned(features * scale[:, None, None], interactions, regularization=0.01)
    expected = learned(features * np.sign(scale)[:, None, None], interactions, regularization=0.01)
    np.testing.assert_allclose(found * np.abs(scale), expected, atol=1e-3)


def test_regularization_shrinks_weights():
    features, interactions = choices()
    strong, weak = (learned(features[:2], interactions, strength) for strength in (1.0, 0.0))
    assert (strong < 0.7 * weak).all()


def test_learn_weights_accepts_constant_feature():
    features, interactions = choices()
    features[1] = 0
    assert np.isfinite(learned(features, interactions)).all()


@pytest.fixture(scope="module")
def small():
    random = np.random.default_rng(0)
    interactions = sp.csr_matrix((random.random((6, 5)) < 0.5).astype(np.float32))
    left, right = (sp.csr_matrix(random.random((n, 3)).astype(np.float32)) for n in (5, 5))
    return interactions, left, right


def test_history_features_exclude_the_target(small):
    interactions, left, right = small
    dense = interactions.toarray()
    history = sp.csr_matrix(dense / dense.sum(axis=1, keepdims=True).clip(min=1))
    related = left.toarray() @ right.toarray().T
    np.fill_diagonal(related, 0)
    mean = history.toarray() @ related
    feature = from_histories(MetaPath((("Item", "X", "Tag"),) * 2, "items", left, right), history)
    users = np.array([4, 1])
    np.testing.assert_allclose(feature(users), (mean - mean.mean(axis=0))[users], atol=1e-6)


def test_user_features_exclude_the_user(small):
    interactions, left, _ = small
    left = sp.vstack([left, left[[0]]], format="csr")
    related = (left @ left.T).toarray()
    np.fill_diagonal(related, 0)
    feature = from_users(MetaPath((("User", "X", "Group"),) * 2, "users", left, left), interactions)
    users = np.array([5, 0, 2])
    np.testing.assert_allclose(feature(users), (related @ interactions.toarray())[users], atol=1e-6)


def test_popularity_feature_excludes_the_user(small):
    dense = small[0].toarray()
    others = dense.sum(axis=0) - dense
    np.testing.assert_allclose(from_popularity(small[0])(np.arange(6)), np.log1p(others), rtol=1e-6)
