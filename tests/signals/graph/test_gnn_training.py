"""Parts of LightGCN training: batches, sampled softmax, dropout and gradients."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from kgrec.data.edges import Edges
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals import sampled_softmax
from kgrec.signals.graph import gnn_training
from kgrec.signals.graph.adjacency import Adjacency
from kgrec.signals.graph.lightgcn import LightGCN, LightGCNSettings
from kgrec.testing.graphs import two_communities, withheld_items


@pytest.fixture(scope="module")
def train():
    whole = GraphSnapshot.from_tables(two_communities(seed=1))
    return whole.with_behaviors(whole.behaviors.split == "train")


def own_community(train):
    """The items of each user's community, bool [n_users, n_items]."""
    own = train.interactions.toarray() > 0
    own[np.arange(train.n_users), withheld_items(GraphSnapshot.from_tables(two_communities(seed=1)))] = True
    return own


def only_behaviors(train):
    return replace(train, edges={t: edges for t, edges in train.edges.items() if train.schema.is_behavior(t)})


def with_friends(train):
    """The tables, with each user a friend of the next user of their community."""
    sides = [np.flatnonzero(own_community(train)[:, 0] == side) for side in (False, True)]
    friends = Edges(np.concatenate(sides), np.concatenate([np.roll(side, -1) for side in sides]), pa.table({}))
    return replace(train, edges={**train.edges, ("User", "FRIEND", "User"): friends})


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_training_fits_every_behavior(train, dropout):
    """Without training, some items of the other community score above those of the user's own."""
    own = own_community(train)
    settings = LightGCNSettings(dim=16, steps=40, edge_dropout=dropout, temperature=1.0)
    scores = LightGCN(settings).fit(train, {}).scores(np.arange(train.n_users))
    assert scores[own].min() > scores[~own].max() + 0.5


def test_user_without_history_uses_friends(train):
    own = own_community(train)[0]
    alone = with_friends(only_behaviors(train)).with_behaviors(train.behaviors.user_num > 0)
    scores = LightGCN(LightGCNSettings(dim=16, steps=40)).fit(alone, {}).scores(np.array([0]))[0]
    assert scores[own].min() > scores[~own].max()


def test_isolated_item_scores_zero(train):
    unknown = only_behaviors(train).with_behaviors(train.behaviors.item_num != 3)
    scores = LightGCN(LightGCNSettings(dim=16, steps=5)).fit(unknown, {}).scores(np.arange(train.n_users))
    np.testing.assert_array_equal(scores[:, 3], 0)
    assert np.count_nonzero(scores) == train.n_users * (train.n_items - 1)


def test_small_user_batches_learn(train, monkeypatch):
    monkeypatch.setattr(sampled_softmax, "MAX_LOGITS", 8 * train.n_items)
    own = own_community(train)
    scores = LightGCN(LightGCNSettings(dim=16, steps=40)).fit(train, {}).scores(np.arange(train.n_users))
    assert scores[own].min() > scores[~own].max()


def test_every_user_is_drawn_once_per_epoch(train, monkeypatch):
    monkeypatch.setattr(sampled_softmax, "MAX_LOGITS", 16 * train.n_items)
    size = sampled_softmax.batch_size(train.n_items)
    batches = list(sampled_softmax.batches(train.interactions, 6, size, np.random.default_rng(0)))
    assert [len(batch.user_nums) for batch in batches] == [16, 16, 8] * 2
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate([batch.user_nums for batch in epoch]).tolist()) == list(range(train.n_users))


def test_users_weigh_by_root_of_activity(train):
    history = train.interactions[:3].copy()
    history[0, history[[0]].indices[1:]] = 0
    history.eliminate_zeros()
    weights = sampled_softmax._positives(history).to_dense().numpy()
    assert weights.sum() == pytest.approx(1, rel=1e-5)
    n = np.diff(history.indptr)
    np.testing.assert_allclose(weights.sum(axis=1), np.sqrt(n) / np.sqrt(n).sum(), rtol=1e-5)


def test_sampled_loss_estimates_the_full_loss(train, monkeypatch):
    history, random = train.interactions, np.random.default_rng(0)
    users, items = (torch.from_numpy(random.normal(size=(n, 8)).astype(np.float32)) for n in history.shape)

    popularity = np.bincount(history.indices, minlength=train.n_items)

    def loss():
        candidates = sampled_softmax.draw_candidates(
            popularity, sampled_softmax.MAX_FULL_SOFTMAX_ITEMS, sampled_softmax.SAMPLED_CANDIDATES, random
        )
        everybody = torch.arange(train.n_users)
        return float(
            sampled_softmax.softmax_loss(
                users, items, sampled_softmax.Batch(everybody, sampled_softmax._positives(history), *candidates)
            )
        )

    full = loss()
    monkeypatch.setattr(sampled_softmax, "MAX_FULL_SOFTMAX_ITEMS", 10)
    monkeypatch.setattr(sampled_softmax, "SAMPLED_CANDIDATES", 20_000)
    assert loss() == pytest.approx(full, rel=0.01)


def test_dropout_is_symmetric_and_keeps_the_expected_sum(train):
    adjacency = Adjacency.from_snapshot(train, 0.3)
    whole = gnn_training._sparse(adjacency, adjacency.weight).to_dense().numpy()
    random = np.random.default_rng(0)
    dropped = [gnn_training._dropped(adjacency, 0.25, random).to_dense().numpy() for _ in range(200)]
    assert all(np.array_equal(a, a.T) for a in dropped)
    assert np.mean([(a > 0).sum() / (whole > 0).sum() for a in dropped]) == pytest.approx(0.75, abs=0.01)
    assert np.mean(dropped, axis=0).sum() == pytest.approx(whole.sum(), rel=0.01)


def test_propagation_gradient_equals_dense_gradient(train):
    adjacency = Adjacency.from_snapshot(train, 0.3)
    sparse = gnn_training._sparse(adjacency, adjacency.weight)
    x = torch.randn(train.n_nodes, 3, generator=torch.manual_seed(0))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.arange(x.numel()).reshape(x.shape) / x.numel()
    (gnn_training.Propagation.apply(sparse, sparse, 2, ours) * weights).sum().backward()
    dense = sparse.to_dense()
    ((theirs + dense @ theirs + dense @ dense @ theirs) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_gradients_are_reset_between_steps(train):
    def trained(steps):
        settings = LightGCNSettings(dim=4, steps=steps, edge_dropout=0)
        first = np.random.default_rng(0).normal(size=(train.n_nodes, 4)).astype(np.float32)
        made = gnn_training.Network(torch.from_numpy(first), torch.from_numpy(train.item_nodes), text, settings.layers)
        gnn_training._optimize(made, train, adjacency, settings, np.random.default_rng(0))
        return made, settings

    adjacency = Adjacency.from_snapshot(train, 0.3)
    text = torch.randn(train.n_items, 4, generator=torch.manual_seed(0))
    (five, settings), (four, _) = trained(5), trained(4)
    vectors = torch.nn.functional.normalize(four(gnn_training._sparse(adjacency, adjacency.weight)))
    users, items = vectors[torch.from_numpy(train.user_nodes)], vectors[torch.from_numpy(train.item_nodes)]
    candidates = sampled_softmax.draw_candidates(np.ones(train.n_items), 20, 20, np.random.default_rng(0))
    batch = sampled_softmax.Batch(
        torch.arange(train.n_users), sampled_softmax._positives(train.interactions), *candidates
    )
    four.zero_grad()
    sampled_softmax.softmax_loss(users / settings.temperature, items, batch).backward()
    torch.testing.assert_close(five.learned.grad, four.learned.grad, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(five.projection.grad, four.projection.grad, rtol=1e-3, atol=1e-6)


def test_layers_are_summed(train):
    adjacency = Adjacency.from_snapshot(train, 0.3)
    sparse = gnn_training._sparse(adjacency, adjacency.weight)
    x, a = torch.randn(train.n_nodes, 4, generator=torch.manual_seed(0)), sparse.to_dense()
    nodes, text = torch.from_numpy(train.item_nodes), torch.ones(train.n_items, 4)
    found = gnn_training.Network(x.clone(), nodes, text, layers=2)(sparse)
    first = x.index_add(0, nodes, text)
    torch.testing.assert_close(found, first + a @ first + a @ a @ first)
