"""Softmax regression recovers the weights that generated the choices, and no weight exceeds its bound."""

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from kgrec.signals.graph.held_out_cases import Cases
from kgrec.signals.graph.sparse_softmax import MAX_LOG_ODDS, SparseSoftmax

WEIGHTS = np.array([2.0, 1.0, 0.0, -1.0])
N_ITEMS = 60


def choices(n_cases: int = 3000) -> tuple[npt.NDArray[np.float64], Cases]:
    """Return features [4, n_cases, n_items], and cases that chose one item by softmax(WEIGHTS · features).

    The second feature is the same for all; the others are 0 at most cells.
    """
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4, n_cases, N_ITEMS)) * (rng.random((4, n_cases, N_ITEMS)) < 0.4)
    features[1] = rng.normal(size=N_ITEMS)
    chosen = (np.tensordot(WEIGHTS, features, 1) + rng.gumbel(size=(n_cases, N_ITEMS))).argmax(axis=1)
    wanted = sp.csr_matrix((np.ones(n_cases, np.float32), (np.arange(n_cases), chosen)), shape=(n_cases, N_ITEMS))
    return features, Cases(np.arange(n_cases), sp.csr_matrix(wanted.shape, dtype=np.float32), wanted)


def softmax(features: npt.NDArray[np.float64], cases: Cases) -> SparseSoftmax:
    """Return the model; the part of the second feature that all share is its base."""
    base = np.zeros((N_ITEMS, len(features)))
    base[:, 1] = features[1, 0]
    return SparseSoftmax(base, [sp.csr_matrix(part - base[:, num]) for num, part in enumerate(features)], cases)


def test_learn_recovers_weights() -> None:
    features, cases = choices()
    np.testing.assert_allclose(softmax(features, cases).learn(0.0)[:3], [*WEIGHTS[:2], 0], atol=0.15)
    features[3] *= -1
    np.testing.assert_allclose(softmax(features, cases).learn(0.0), np.abs(WEIGHTS), atol=0.1)


def test_learn_without_seen_items() -> None:
    """Items that a case has seen do not compete: without them, high values there teach nothing."""
    features, cases = choices(1000)
    seen = np.zeros((len(cases), N_ITEMS), np.float32)
    seen[:, :10] = 1 - cases.wanted.toarray()[:, :10]
    features[0, :, :10] += 5 * seen[:, :10]
    with_seen = Cases(cases.user_num, sp.csr_matrix(seen), cases.wanted)
    assert softmax(features, with_seen).learn(0.0)[0] > 1.5
    assert softmax(features, cases).learn(0.0)[0] < 0.5


def test_learn_ignores_feature_scale() -> None:
    features, cases = choices(1000)
    features[3] *= -1
    scale = np.array([1e3, 1e-4, 1, 10])
    scaled, plain = (softmax(part, cases).learn(0.01) for part in (features * scale[:, None, None], features))
    np.testing.assert_allclose(scaled * scale, plain, atol=1e-2)


def test_regularization_shrinks_weights() -> None:
    features, cases = choices(1000)
    strong, weak = (softmax(features[:2], cases).learn(strength) for strength in (10.0, 0.0))
    assert (strong < 0.7 * weak).all()


def test_learn_keeps_weights_within_bounds() -> None:
    """A feature that separates perfectly has no finite optimum, a constant one no effect."""
    features, cases = choices(200)
    features[0], features[2] = 1e-5 * cases.wanted.toarray(), 0
    weights = softmax(features, cases).learn(0.0)
    assert weights[0] == pytest.approx(MAX_LOG_ODDS / 1e-5, rel=1e-3)
    assert weights[2] == 0
