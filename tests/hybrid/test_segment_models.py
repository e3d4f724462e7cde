"""Segment models replace the scores of their segment only."""

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.single_domain import single_domain
from kgrec.hybrid.learn_blends import even_blend
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.segment_models import SegmentModels, fit_single_domain, scores_of
from kgrec.signals.cf import Popularity
from kgrec.signals.graph.spectral_filter import Spectral
from kgrec.testing.shops import shops

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def graph():
    return shops(n_new=20)


@pytest.fixture(scope="module")
def segment_models(graph):
    spectral = Spectral(Spectral.Settings(components=2)).fit(graph, {})
    own = fit_single_domain({"spectral": spectral}, graph, "b", {}, 0)
    return SegmentModels({"b": own}, {"popularity": Popularity().fit(graph, {})})


def test_apply_to_replaces_scores_of_its_segment_only(graph, segment_models):
    items, users = np.flatnonzero(graph.item_domains == "b"), np.arange(graph.n_users)
    seen = sp.csr_matrix(graph.interactions[:, items])
    new = np.diff(seen.indptr) == 0
    assert 0 < new.sum() < len(users)
    names = ["popularity", "spectral", "ease"]
    parts = [np.full((len(users), len(items)), -1, np.float32) for _ in names]
    segment_models.apply_to("b", names, parts, scores_of(users), seen, items)
    popularity, spectral, ease = parts
    np.testing.assert_array_equal(popularity[new], segment_models.cold_start["popularity"].scores(users[new])[:, items])
    np.testing.assert_array_equal(spectral[~new], segment_models.single_domain["b"]["spectral"].scores(users[~new]))
    for untouched in (popularity[~new], spectral[new], ease):
        assert (untouched == -1).all()


def test_anonymous_users_score_like_known_ones(graph, segment_models):
    spectral = Spectral(Spectral.Settings(components=2)).fit(graph, {})
    signals = {"popularity": Popularity().fit(graph, {}), "spectral": spectral}
    blends = {domain: even_blend(list(signals)) for domain in ("a", "b")}
    model = HybridModel(graph, signals, blends, segment_models=segment_models)
    users = np.arange(graph.n_users)
    anonymous = model.score_anonymous(AnonymousUsers(graph, graph.behaviors, len(users)))
    known = model.score(users)
    np.testing.assert_allclose(anonymous.total, known.total, atol=1e-6)
    np.testing.assert_array_equal(anonymous.basis, known.basis)


def test_empty_segment_models_are_false():
    assert not SegmentModels()
    assert SegmentModels(cold_start={"popularity": Popularity()})


def test_refit_and_fold_in_keep_scores(graph, segment_models):
    for again in (segment_models.refit(graph, {}, 0), segment_models.fold_in(GraphDelta(graph, graph, {}))):
        users = np.arange(graph.n_users)
        for one, other in (
            (again.single_domain["b"], segment_models.single_domain["b"]),
            (again.cold_start, segment_models.cold_start),
        ):
            assert list(one) == list(other)
            for name, signal in one.items():
                np.testing.assert_allclose(signal.scores(users), other[name].scores(users), atol=1e-6)


def test_removed_domain_drops_its_models(graph, segment_models):
    rest = single_domain(graph, "a")
    for again in (segment_models.refit(rest, {}, 0), segment_models.fold_in(GraphDelta(graph, rest, {}))):
        assert not again.single_domain
        assert list(again.cold_start) == ["popularity"]
