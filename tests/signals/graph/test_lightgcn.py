"""LightGCN finds held-out items by interactions, by the knowledge graph or by text, and none in shuffled data."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from kgrec.signals import sampled_softmax
from kgrec.signals.graph.adjacency import Adjacency
from kgrec.signals.graph.lightgcn import LightGCN, LightGCNSettings, principal_axes, text_rows
from kgrec.signals.sampled_softmax import Batch, softmax_loss
from kgrec.testing.graphs import HAS_TAG, community_answers, train_and_withheld
from kgrec.testing.signal_contract import SignalContract

FAST = LightGCNSettings(dim=16, steps=40)


class TestLightGCN(SignalContract):
    signal = LightGCN
    settings = FAST.model_dump()


def without_behaviors_of(train, item_nums):
    return train.with_behaviors(~np.isin(train.behaviors.item_num, item_nums))


@pytest.fixture(scope="module")
def learned():
    train, withheld = train_and_withheld()
    return train, withheld, LightGCN(FAST).fit(train, {}, seed=5)


def cold_item_in_its_place(kg_weight, vectors=lambda train: {}):
    """Share of the users to whom cold items of their own community are nearer than those of the other."""
    train, _ = train_and_withheld()
    cold = np.array([0, 1, 2, 3])
    liked = train.interactions[:, cold].toarray() > 0
    hidden = without_behaviors_of(train, cold)
    settings = FAST.model_copy(update={"kg_weight": kg_weight})
    scores = LightGCN(settings).fit(hidden, vectors(train)).scores(np.arange(train.n_users))[:, cold]
    return np.mean([scores[liked[:, i], i].mean() > scores[~liked[:, i], i].mean() for i in range(len(cold))])


def test_cold_item_is_found_by_shared_entities():
    assert cold_item_in_its_place(kg_weight=1.0) == 1


def test_cold_item_is_found_by_its_text():
    def vectors(train):
        tags = train.matrix(HAS_TAG).toarray()
        return {"Item": np.pad(tags, ((0, 0), (0, 24)))}

    assert cold_item_in_its_place(0.0, vectors) == 1


def test_sampled_softmax_learns(monkeypatch):
    monkeypatch.setattr(sampled_softmax, "MAX_FULL_SOFTMAX_ITEMS", 5)
    monkeypatch.setattr(sampled_softmax, "SAMPLED_CANDIDATES", 12)
    monkeypatch.setattr(sampled_softmax, "MAX_LOGITS", 12 * 15)
    known = community_answers()
    assert known.share_first(LightGCN(FAST).fit(known.train, {}).scores(known.user_nums)) > 0.9


def test_node_vectors_have_length_one(learned):
    train, _, signal = learned
    assert signal.node_vectors.shape == (train.n_nodes, FAST.dim)
    np.testing.assert_allclose(np.linalg.norm(signal.node_vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(signal.user_vectors, signal.node_vectors[train.user_nodes])
    np.testing.assert_array_equal(signal.item_vectors, signal.node_vectors[train.item_nodes])


def test_user_without_history_scores_zero():
    train, _ = train_and_withheld()
    hidden = train.with_behaviors(train.behaviors.user_num != 4)
    scores = LightGCN(FAST).fit(hidden, {}).scores(np.array([4, 5]))
    np.testing.assert_array_equal(scores[0], 0)
    assert np.isfinite(scores).all()
    assert scores[1].std() > 0.1


def test_adjacency_is_symmetrically_normalized():
    train, _ = train_and_withheld()
    n = train.n_nodes
    users, items = train.interactions.nonzero()
    dense = np.zeros((n, n))
    dense[train.user_nodes[users], train.item_nodes[items]] = 1
    dense[train.relations[HAS_TAG]] = 0.5
    dense += dense.T
    degree = dense.sum(axis=1, keepdims=True).clip(min=1e-9)
    made = Adjacency.from_snapshot(train, kg_weight=0.5)
    found = sp.csr_matrix((made.weight[made.edge], made.indices, made.indptr), shape=(n, n)).toarray()
    np.testing.assert_allclose(found, dense / np.sqrt(degree * degree.T), atol=1e-6)


def test_adjacency_omits_self_loops():
    train, _ = train_and_withheld()
    node = train.item_nodes[:1]
    looped = replace(train)
    looped.__dict__["relations"] = {("Item", "LIKE", "Item"): (node, node)}
    assert len(Adjacency.from_snapshot(looped, 1.0).weight) == train.interactions.nnz


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 2e-2)])
@pytest.mark.parametrize("block", [1, 8, 100])
def test_loss_and_gradients_are_of_cross_entropy(monkeypatch, half, tolerance, block):
    """In blocks of one, two and all users; half precision rounds."""
    monkeypatch.setattr(sampled_softmax, "has_bfloat16", lambda device: half)
    monkeypatch.setattr(sampled_softmax, "BLOCK_LOGITS_CPU", block)
    torch.manual_seed(0)
    users, items = torch.randn(3, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    weights = torch.tensor([[0.2, 0, 0.1, 0], [0, 0.4, 0, 0], [0, 0, 0, 0.3]])
    batch = Batch(torch.arange(3), weights.to_sparse_csr(), torch.arange(4), torch.tensor([0.0, 0.5, 0.0, 1.0]))
    logits = users @ items.T - batch.correction
    corrected = (weights * batch.correction).sum()
    expected = -(weights * torch.log_softmax(logits, dim=1)).sum() - corrected
    loss = softmax_loss(users, items, batch)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    for found, wanted in zip(
        torch.autograd.grad(loss, (users, items)), torch.autograd.grad(expected, (users, items)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


def test_text_vectors_follow_graph_order():
    """The order of a set, and with it sums of floats, differs between processes."""
    train, _ = train_and_withheld()
    rng = np.random.default_rng(0)
    vectors = {label: rng.normal(size=(table.num_rows, 8)).astype(np.float32) for label, table in train.nodes.items()}
    nodes, text = text_rows(train, vectors)
    again, same = text_rows(train, dict(reversed(vectors.items())))
    np.testing.assert_array_equal(nodes, np.arange(train.n_nodes))
    np.testing.assert_array_equal(again, nodes)
    np.testing.assert_array_equal(same, text)


def test_text_vectors_are_reduced_and_skip_missing():
    train, _ = train_and_withheld()
    vectors = np.zeros((train.n_items, 3), dtype=np.float32)
    vectors[2:6, 1] = [3, -3, 3, -3]
    nodes, rows = text_rows(train, {"Item": vectors, "Unknown": vectors})
    mean, axes = principal_axes(rows, 5, [rows.shape[1]])
    text = (rows - mean) @ axes
    np.testing.assert_array_equal(nodes, train.offsets["Item"] + np.arange(2, 6))
    assert text.shape == (4, 5)
    np.testing.assert_allclose(np.abs(text), [[np.sqrt(3), 0, 0, 0, 0]] * 4, atol=1e-5)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="extra"):
        LightGCNSettings(depth=2)
    with pytest.raises(ValueError, match="temperature"):
        LightGCNSettings(temperature=0)
