"""Items that came after the fit take the place that the signals which know them give them."""

import numpy as np
import scipy.sparse as sp

from kgrec.hybrid import Blend
from kgrec.latecomers import latecomer_shares
from kgrec.weights import standardise

LATE = np.array([False, False, False, False, False, True, True, True])
KNOWS = np.array([False, True, True])
BLEND = Blend.of_form("z", ("cf", "text", "words"), [1, 0, 0], "single")


def scores_of_latecomers(parts, total, seen):
    shares = latecomer_shares(BLEND, KNOWS, parts, seen, total, LATE, ~LATE)
    assert not shares[:, :, 0].any()
    return shares.sum(axis=2)


def test_a_latecomer_lies_between_the_items_it_lies_between_by_content():
    """Contents rank items 0 … 4 as blended scores do, on another scale; of the first user item 4 does not count."""
    content = np.array([[1, 2, 3, 4, 5, 2.5, 0, 9]] * 2, dtype=np.float32)
    total = np.array([[10, 20, 40, 80, 160, 0, 0, 0]] * 2, dtype=np.float32)
    seen = sp.csr_matrix(np.array([[0, 0, 0, 0, 1, 0, 0, 0], [0] * 8], dtype=np.float32))
    found = scores_of_latecomers([np.zeros_like(content), content, 2 * content], total, seen)
    np.testing.assert_allclose(found[:, 0], 30, rtol=1e-4)
    assert (found[:, 1] < 10).all()
    assert found[0, 2] > 80
    assert found[1, 2] > 160


def test_places_are_those_of_the_mixed_scores_whatever_the_blend_made():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(50, 8)).astype(np.float32) for _ in KNOWS]
    total, seen = rng.normal(size=(50, 8)).astype(np.float32), sp.csr_matrix((50, 8), dtype=np.float32)
    found = scores_of_latecomers(parts, total, seen)
    mixed = standardise(parts[1], seen) + standardise(parts[2], seen)
    below = (mixed[:, LATE][:, :, None] > mixed[:, ~LATE][:, None]).sum(axis=2)
    np.testing.assert_array_equal((found[:, :, None] > total[:, ~LATE][:, None]).sum(axis=2), below)


def test_a_user_who_has_everything_else_still_gets_numbers():
    parts = [np.arange(8, dtype=np.float32)[None]] * 3
    seen = sp.csr_matrix((~LATE).astype(np.float32)[None])
    found = scores_of_latecomers(parts, np.zeros((1, 8), np.float32), seen)
    assert np.isfinite(found).all()
