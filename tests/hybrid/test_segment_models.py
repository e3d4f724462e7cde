"""Stand-ins serve those whom they are for, and nobody else."""

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec.data.graph_delta import Growth
from kgrec.data.single_domain import alone, fit_alone
from kgrec.hybrid.segment_models import Standins
from kgrec.signals.cf import Popularity
from kgrec.signals.graph.spectral_filter import Spectral
from kgrec.testing.shops import shops


@pytest.fixture(scope="module")
def graph():
    return shops(n_new=20)


@pytest.fixture(scope="module")
def standins(graph):
    spectral = Spectral(Spectral.Settings(components=2)).fit(graph, {})
    own = fit_alone({"spectral": spectral}, graph, "b", {}, 0)
    return Standins({"b": own}, {"popularity": Popularity().fit(graph, {})})


def test_each_serves_its_users_and_leaves_the_others_as_they_are(graph, standins):
    items, users = np.flatnonzero(graph.item_domains == "b"), np.arange(graph.n_users)
    seen = sp.csr_matrix(graph.interactions[:, items])
    new = np.diff(seen.indptr) == 0
    assert 0 < new.sum() < len(users)
    names = ["popularity", "spectral", "ease"]
    parts = [np.full((len(users), len(items)), -1, np.float32) for _ in names]
    standins.serve("b", names, parts, users, seen, items)
    popularity, spectral, ease = parts
    np.testing.assert_array_equal(popularity[new], standins.newcomers["popularity"].scores(users[new])[:, items])
    np.testing.assert_array_equal(spectral[~new], standins.at_home["b"]["spectral"].scores(users[~new]))
    for untouched in (popularity[~new], spectral[new], ease):
        assert (untouched == -1).all()


def test_none_are_false():
    assert not Standins()
    assert Standins(newcomers={"popularity": Popularity()})


def test_they_learn_anew_and_grow(graph, standins):
    for again in (standins.refit(graph, {}, 0), standins.fold_in(Growth(graph, graph, {}))):
        users = np.arange(graph.n_users)
        for one, other in ((again.at_home["b"], standins.at_home["b"]), (again.newcomers, standins.newcomers)):
            assert list(one) == list(other)
            for name, signal in one.items():
                np.testing.assert_allclose(signal.scores(users), other[name].scores(users), atol=1e-6)


def test_a_domain_that_is_gone_needs_none(graph, standins):
    rest = alone(graph, "a")
    for again in (standins.refit(rest, {}, 0), standins.fold_in(Growth(graph, rest, {}))):
        assert not again.at_home
        assert list(again.newcomers) == ["popularity"]
