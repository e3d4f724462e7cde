"""What is learned comes from the steps, the labels and the knowledge graph: take one away, and the result goes with it.

Every signal has a test like the first ones here beside its own (tests/signals); here are those that take away one
cause alone, and those about the whole recommender.
"""

from functools import cache

import numpy as np
import pytest
import torch

from kgrec import Recommender
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.signals.content import Embeddings
from kgrec.signals.graph.lightgcn import LightGCN, LightGCNSettings
from kgrec.signals.graph.metapaths import MetaPaths
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import HAS_TAG, LIKED, known_answers, shuffled, two_communities
from kgrec.text import VectorCache, text_vectors

pytestmark = pytest.mark.slow

FIRST = 0.95
"""Share of users whose withheld item must come first."""
DESTROYED = 0.4
"""Share that nothing may reach once there is nothing to learn; chance is 1 of 11."""
ONE_LAYER = LightGCNSettings(dim=16, steps=80, layers=1, kg_weight=0.0)
"""With one layer a user is the sum of the own items, and an item itself: what ties two items is learned or absent."""
WITH_KNOWLEDGE = {LightGCN: LightGCNSettings(dim=16, kg_weight=1.0), MetaPaths: MetaPaths.Settings()}


@cache
def graph(permuted=None, seed=0):
    """The whole graph, with the targets of one edge type permuted if asked."""
    tables = two_communities(seed=1)
    return GraphSnapshot.from_tables(shuffled(tables, seed, only=permuted) if permuted else tables)


def learned(kind, settings, whole, vectors=None):
    known = known_answers(whole.to_tables())
    return known.share_first(kind(settings).fit(known.train, vectors or {}).scores(known.user_nums))


def test_network_training_finds_held_out_item(monkeypatch):
    assert learned(LightGCN, ONE_LAYER, graph()) > FIRST
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)
    assert learned(LightGCN, ONE_LAYER, graph()) < DESTROYED


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(LightGCN, ONE_LAYER), (MetaPaths, MetaPaths.Settings()), (Embeddings, Embeddings.Settings())],
)
def test_shuffled_labels_destroy_each_signal(kind, settings):
    vectors = text_vectors(graph(), WordEncoder(), VectorCache())
    assert learned(kind, settings, graph(), vectors) > FIRST
    assert learned(kind, settings, graph(LIKED), vectors) < DESTROYED


@pytest.mark.parametrize(("kind", "settings"), WITH_KNOWLEDGE.items())
def test_cold_items_are_found_by_the_graph(kind, settings):
    assert found_cold(kind, settings, graph()) > 0.95
    # Users of a community agree, so one permutation may be lucky.
    assert np.mean([found_cold(kind, settings, graph(HAS_TAG, seed)) for seed in range(4)]) < 0.7


def found_cold(kind, settings, whole):
    """Share of (liked, other) pairs of items without any behavior in train that a user's scores put in that order."""
    cold = np.arange(0, whole.n_items, 2)
    train = whole.with_behaviors(~np.isin(whole.behaviors.item_num, cold))
    scores = kind(settings).fit(train, {}).scores(np.arange(train.n_users))[:, cold]
    liked = graph().interactions.toarray()[:, cold] > 0
    pairs = liked[:, :, None] & ~liked[:, None, :]
    order = np.sign(scores[:, :, None] - scores[:, None, :])
    return (1 + order)[pairs].mean() / 2


def test_shuffled_labels_destroy_the_recommender():
    assert recommended(graph()) > FIRST
    assert recommended(graph(LIKED)) < DESTROYED


def recommended(whole):
    known = known_answers(whole.to_tables())
    model = Recommender(encoder=WordEncoder(), budget="1s").fit(by_given(whole))._model
    return known.share_first(model.score(known.user_nums).total)
