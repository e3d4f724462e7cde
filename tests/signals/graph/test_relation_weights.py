"""The weight of a relationship type follows its informativeness: above, at or below chance."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from kgrec.data.edges import Edges
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.graph import relation_weights
from kgrec.signals.graph.adjacency import Adjacency
from kgrec.signals.graph.lightgcn import LightGCN
from kgrec.signals.graph.metapath_matrices import single_metapaths
from kgrec.signals.graph.relation_weights import informativeness
from kgrec.testing.graphs import HAS_TAG, two_communities
from kgrec.testing.thin_graphs import BY, HUB, RARE, WROTE, idle, thin_graph, with_odd_relations

NOISE, FOES = ("Item", "NOISE", "Tag"), ("Item", "UNLIKE", "Item")
FRIEND, MET, ENTITIES = ("User", "FRIEND", "User"), ("User", "MET", "User"), ("Tag", "NEAR", "Tag")


def edges(*ends):
    return Edges(*(np.asarray(end, dtype=np.int64) for end in ends), pa.table({}))


@pytest.fixture(scope="module")
def train():
    """Tags and friends are within a community, noise and met users are random, unlike items are of both communities."""
    whole = GraphSnapshot.from_tables(two_communities(seed=1, n_items=40))
    train = whole.with_behaviors(whole.behaviors.split == "train")
    random = np.random.default_rng(0)
    tags, liked = train.edges[HAS_TAG], train.interactions.toarray() > 0
    users = (liked & liked[0]).any(axis=1)
    side = liked[users].any(axis=0)
    mine, others = np.flatnonzero(users), np.flatnonzero(~users)
    more = {
        NOISE: edges(tags.src_num, random.permutation(tags.dst_num)),
        FOES: edges(np.flatnonzero(side)[:30], np.flatnonzero(~side)[:30]),
        FRIEND: edges(np.r_[mine, others], np.r_[np.roll(mine, 1), np.roll(others, 1)]),
        MET: edges(np.arange(train.n_users).repeat(4), random.integers(0, train.n_users, 4 * train.n_users)),
        ENTITIES: edges([0, 1], [2, 3]),
    }
    return replace(train, edges={**train.edges, **more})


def test_informative_types_weigh_more_than_noise(train):
    known = informativeness(train)
    assert known[HAS_TAG] == pytest.approx(2, abs=0.15)
    assert known[FRIEND] == pytest.approx(2, abs=0.3)
    assert known[NOISE] == pytest.approx(1, abs=0.1)
    assert known[MET] == pytest.approx(1, abs=0.15)
    assert known[FOES] < 0.6
    assert known[ENTITIES] == 1


@pytest.mark.parametrize("behaviors", [None, 1, 2, 20])
def test_informativeness_of_thin_graphs_stays_near_chance(behaviors: int | None) -> None:
    """Only the author relation and its inverse say something, and nothing does where no user has two items."""
    tables = thin_graph(seed=2, n_users=1000, n_items=1000, n_idle=2, behaviors=behaviors)
    graph = GraphSnapshot.from_tables(with_odd_relations(tables))
    known = informativeness(graph.with_behaviors(graph.behaviors.split == "train"))
    assert known[BY] == pytest.approx(known[WROTE])
    assert all(0.4 < known[name] < 2.5 for name in (idle(0), idle(1), HUB, RARE))
    assert known[BY] > 4 if behaviors != 1 else known[BY] == 1


def test_lift_equals_dense_computation(train, monkeypatch):
    monkeypatch.setattr(relation_weights, "PRIOR_PAIRS", 1e-9)
    known = informativeness(train)
    for path in single_metapaths(train, degree_exponent=1.0):
        chosen = train.interactions.toarray() > 0
        chosen = (chosen.T if path.side == "items" else chosen).astype(float)
        related = (path.left @ path.right.T).toarray()
        np.fill_diagonal(related, 0)
        rows, columns = chosen.sum(axis=1), chosen.sum(axis=0)
        root = np.sqrt(np.outer(rows, rows))
        expected = root * (columns * (columns - 1)).sum() / columns.sum() ** 2
        lift = (related * (chosen @ chosen.T) / root).sum() / (related * expected).sum()
        assert known[path.edge_types[0]] == pytest.approx(np.clip(lift, 0.1, 10), rel=1e-4)


def test_balance_keeps_the_mean_weight(train):
    counts = {t: len(source) for t, (source, _) in train.relations.items()}
    for balance in (0.0, 0.5, 1.0):
        weights = relation_weights.relation_weights(train, 0.3, balance)
        assert sum(weights[t] * n for t, n in counts.items()) / sum(counts.values()) == pytest.approx(0.3)
        assert weights[HAS_TAG] / weights[NOISE] == pytest.approx(
            (informativeness(train)[HAS_TAG] / informativeness(train)[NOISE]) ** balance
        )


def test_adjacency_uses_relation_weights(train):
    def between(balance, relation):
        made = Adjacency.from_snapshot(train, 0.3, balance)
        matrix = sp.csr_matrix((made.weight[made.edge], made.indices, made.indptr), shape=(train.n_nodes,) * 2)
        return matrix[train.relations[relation]].sum()

    assert between(1.0, FRIEND) > 1.1 * between(0.0, FRIEND)
    assert between(1.0, FOES) < 0.8 * between(0.0, FOES)


def test_lift_is_estimated_on_a_sample(train, monkeypatch):
    whole = informativeness(train)[HAS_TAG]
    monkeypatch.setattr(relation_weights, "MAX_LIFT_BEHAVIORS", train.interactions.nnz // 2)
    sampled = relation_weights._sample(train.interactions.T.tocsr())
    assert train.interactions.nnz // 3 < sampled.nnz <= train.interactions.nnz // 2
    assert informativeness(train)[HAS_TAG] == pytest.approx(whole, rel=0.1)
    assert informativeness(train)[HAS_TAG] != whole


def test_balance_is_relevant_with_two_types(train):
    alone = {t: found for t, found in train.edges.items() if train.schema.is_behavior(t) or t == HAS_TAG}
    assert LightGCN.is_relevant("relation_balance", train)
    assert not LightGCN.is_relevant("relation_balance", replace(train, edges=alone))
