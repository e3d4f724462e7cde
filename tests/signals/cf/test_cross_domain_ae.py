"""The cross-domain autoencoder serves cold-start users of a domain, and learns from users of both domains."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgrec.signals.cf import CrossDomainAE
from kgrec.signals.domain_weighting import MIN_COLD_START_USERS
from kgrec.testing.graphs import KnownAnswers
from kgrec.testing.shops import TASTES, cold_start_answers, shops
from kgrec.testing.signal_contract import SignalContract

N_NEW = 100
NEW = np.arange(N_NEW)
QUICK = CrossDomainAE.Settings(dim=16, steps=60)


@pytest.fixture(scope="module")
def graph():
    return shops(n_new=N_NEW)


@pytest.fixture(scope="module")
def cross_domain_ae(graph):
    return CrossDomainAE(QUICK).fit(graph, {})


class TestCrossDomainAE(SignalContract):
    signal = CrossDomainAE
    settings = QUICK.model_dump()

    @classmethod
    def answers(cls, destroyed: bool = False) -> KnownAnswers:
        return cold_start_answers(N_NEW, destroyed)


def share_of_own_taste(graph, signal):
    """The share of cold-start users whose first item is of their taste."""
    scores = signal.scores(NEW)
    taste = np.array([int(id_[1:]) % TASTES for id_ in graph.items.ids])
    listed = graph.item_domains == "b"
    return (taste[listed][scores[:, listed].argmax(axis=1)] == NEW % TASTES).mean()


def test_cold_start_users_get_items_of_their_taste(graph, cross_domain_ae):
    assert share_of_own_taste(graph, cross_domain_ae) > 0.95
    assert share_of_own_taste(graph, CrossDomainAE(QUICK.model_copy(update={"steps": 1})).fit(graph, {})) < 0.6


def test_in_domain_users_and_other_shops_score_0(graph, cross_domain_ae):
    scores = cross_domain_ae.scores(np.arange(graph.n_users))
    is_b = graph.item_domains == "b"
    assert not scores[N_NEW:].any()
    assert not scores[:, ~is_b].any()
    assert scores[:N_NEW, is_b].all()


@pytest.mark.parametrize("n_new", [0, MIN_COLD_START_USERS - 1])
def test_does_not_apply_without_cold_start_users(n_new):
    assert not CrossDomainAE.applies(shops(n_new), {})


def test_applies_to_cold_start_users_if_domains_share_users(graph):
    assert CrossDomainAE.applies(graph, {})
    assert not CrossDomainAE.applies(graph.with_behaviors(graph.behaviors.user_num < N_NEW), {})


def test_few_cold_start_users_get_popular_items():
    graph = shops(n_new=5)
    scores = CrossDomainAE(QUICK).fit(graph, {}).scores(np.arange(5))
    counts = np.bincount(graph.interactions.indices, minlength=graph.n_items)
    is_b = graph.item_domains == "b"
    np.testing.assert_allclose(scores[:, is_b], np.tile(np.log1p(counts[is_b]), (5, 1)), atol=1e-6)


def test_shop_without_interactions_scores_0(graph):
    domains = graph.nodes["Item"].column("shop").to_pylist()
    last = [i for i, domain in enumerate(domains) if domain == "b"][-5:]
    domains = ["c" if i in last else domain for i, domain in enumerate(domains)]
    nodes = {**graph.nodes, "Item": graph.nodes["Item"].set_column(1, "shop", pa.array(domains))}
    third = replace(graph, nodes=nodes)
    third = third.with_behaviors(third.item_domains[third.behaviors.item_num] != "c")
    scores = CrossDomainAE(QUICK).fit(third, {}).scores(np.arange(third.n_users))
    assert not scores[:, third.item_domains == "c"].any()
    assert scores[:N_NEW, third.item_domains == "b"].all()
