"""Single-domain graphs: users and item order stay, nothing of other domains does."""

import numpy as np
import pytest

from kgrec.config import Config
from kgrec.data.single_domain import single_domain, single_domain_split, single_domain_vectors
from kgrec.evaluation.evaluate import measure, metrics
from kgrec.evaluation.protocols import cut_for
from kgrec.hybrid.model import HYBRID
from kgrec.jobs.evaluate import SINGLE_DOMAIN_HYBRID, add_single_domain
from kgrec.recommender import Recommender
from kgrec.testing.shops import shops, twins


@pytest.fixture(scope="module")
def graph():
    return shops(n_new=100)


@pytest.mark.parametrize("domain", ["a", "b"])
def test_single_domain_keeps_users_and_item_order(graph, domain):
    only = single_domain(graph, domain)
    own = graph.item_domains == domain
    np.testing.assert_array_equal(only.users.ids, graph.users.ids)
    np.testing.assert_array_equal(only.items.ids, graph.items.ids[own])
    np.testing.assert_array_equal(only.interactions.toarray(), graph.interactions.toarray()[:, own])


def test_single_domain_vectors_match_nodes(graph):
    vectors = {"Item": np.arange(graph.n_items, dtype=np.float32)[:, None], "User": np.ones((graph.n_users, 1))}
    only = single_domain_vectors(graph, "b", vectors)
    np.testing.assert_array_equal(only["Item"].ravel(), np.flatnonzero(graph.item_domains == "b"))
    assert len(only["User"]) == graph.n_users


def test_single_domain_split_keeps_test_pairs(graph):
    split = cut_for(graph, "cross-domain")
    only = single_domain_split(split, "b")
    own = (split.graph.item_domains == "b")[split.test.item_num]
    np.testing.assert_array_equal(only.test.user_num, split.test.user_num[own])
    np.testing.assert_array_equal(only.graph.items.ids[only.test.item_num], graph.items.ids[split.test.item_num[own]])
    assert len(only.test) < len(split.test)


def test_add_single_domain_adds_baseline_metrics():
    config = Config.checked({"signals": ["popularity", "item_knn"], "budget": "5s"})
    split = cut_for(twins(), "cross-domain")
    measured = add_single_domain(measure(Recommender(config).fit(split)._model, split, [5]), split, config)
    found = metrics(measured, split.protocol)
    assert found["models"][HYBRID]["NDCG@5"] > 0.9
    assert found["models"][SINGLE_DOMAIN_HYBRID]["NDCG@5"] < 0.3
    assert found["hybrid_against"][SINGLE_DOMAIN_HYBRID]["low"] > 0.5
    assert set(found["domains"]) == {"a", "b"}
