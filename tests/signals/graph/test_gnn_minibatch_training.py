"""A graph that exceeds the memory limit trains on sampled subgraphs, and learns as well as full-graph training."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.graph import gnn_minibatch_training, gnn_training
from kgrec.signals.graph.gnn_memory import LOGIT_BYTES, given_memory, node_bytes, whole_graph_bytes
from kgrec.signals.graph.gnn_minibatch_training import Limits, train_on_subgraphs
from kgrec.signals.graph.lightgcn import LightGCN, LightGCNSettings, principal_axes, text_rows
from kgrec.signals.graph.neighbor_sampling import Subgraph
from kgrec.testing.graphs import HAS_TAG, shuffled, two_communities, withheld_items

pytestmark = pytest.mark.slow

WHOLE = LightGCNSettings(dim=16, steps=40)


def graph(change=lambda tables: tables, **size):
    """Train part, and the held-out item of every user."""
    whole = GraphSnapshot.from_tables(change(two_communities(seed=1, **size)))
    return whole.with_behaviors(whole.behaviors.split == "train"), withheld_items(whole)


def bounded(train, share, settings=WHOLE):
    return settings.model_copy(update={"memory": int(whole_graph_bytes(train, settings) * share)})


def ndcg(train, withheld, scores):
    scores = scores - 1e6 * train.interactions.toarray()
    rank = (scores > scores[np.arange(len(withheld)), withheld][:, None]).sum(axis=1)
    return np.mean(1 / np.log2(rank + 2))


def fitted(train, settings, seed=0, vectors=None):
    return LightGCN(settings).fit(train, vectors or {}, seed).scores(np.arange(train.n_users))


@pytest.fixture
def whole_forbidden(monkeypatch):
    def refuse(*_):
        raise AssertionError("trained over the whole graph")

    monkeypatch.setattr(gnn_training, "train_network", refuse)


@pytest.mark.usefixtures("whole_forbidden")
@pytest.mark.parametrize("share", [0.9, 0.4, 0.1])
def test_minibatch_training_learns(share):
    train, withheld = graph()
    assert ndcg(train, withheld, fitted(train, bounded(train, share))) > 0.95


@pytest.mark.usefixtures("whole_forbidden")
def test_shuffled_edges_destroy_the_result():
    train, withheld = graph(shuffled)
    assert ndcg(train, withheld, fitted(train, bounded(train, 0.4))) < 0.7


def test_graph_that_fits_is_trained_full_batch(monkeypatch):
    monkeypatch.setattr(gnn_minibatch_training, "train_on_subgraphs", None)
    train, withheld = graph()
    assert ndcg(train, withheld, fitted(train, bounded(train, 1.01))) > 0.95


def test_expected_seconds_of_minibatches_are_longer():
    train, _ = graph()
    assert LightGCN.cost(bounded(train, 0.9), train) > 2 * LightGCN.cost(WHOLE, train)


def test_default_memory_limit_is_half_of_the_machine():
    assert given_memory(WHOLE) > 2**28
    assert given_memory(WHOLE.model_copy(update={"memory": 5})) == 5


@pytest.mark.usefixtures("whole_forbidden")
def test_scores_repeat_by_seed():
    train, _ = graph()
    settings = bounded(train, 0.4)
    one, same, other = (fitted(train, settings, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.usefixtures("whole_forbidden")
def test_cold_item_is_found_by_its_text():
    train, _ = graph()
    hidden = train.with_behaviors(train.behaviors.item_num != 3)
    text = {"Item": np.pad(train.matrix(HAS_TAG).toarray(), ((0, 0), (0, 24)))}
    scores = fitted(hidden, bounded(hidden, 0.4, WHOLE.model_copy(update={"kg_weight": 0})), vectors=text)[:, 3]
    liked = train.interactions[:, [3]].toarray()[:, 0] > 0
    assert scores[liked].mean() > scores[~liked].mean() + 0.3


def test_blockwise_vectors_equal_full_network():
    train, _ = graph()
    text_nodes, rows = text_rows(train, {"Item": np.eye(train.n_items, 8, dtype=np.float32)})
    mean, axes = principal_axes(rows, 16, [8])
    text = (rows - mean) @ axes
    settings = bounded(train, 0.4, WHOLE.model_copy(update={"steps": 1}))
    first = gnn_training.first_vectors(train, 16, np.random.default_rng(0))
    table = gnn_minibatch_training._Table(first, text_nodes, text, "cpu")
    adjacency = gnn_training.Adjacency.from_snapshot(train, settings.kg_weight)
    whole = gnn_training.Network(
        torch.from_numpy(first.copy()), torch.from_numpy(text_nodes), torch.from_numpy(text), 2
    )
    expected = torch.nn.functional.normalize(whole(gnn_training._sparse(adjacency, adjacency.weight)))
    found = gnn_minibatch_training.propagated(adjacency.matrix, table.first(), 2)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)


def test_training_step_updates_text_projection():
    first, text = np.ones((4, 3), np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
    table = gnn_minibatch_training._Table(first, np.array([3, 1]), text, "cpu")
    leaf, x = table.rows(np.array([2, 1, 3]))
    np.testing.assert_array_equal(x.detach().numpy(), 1 + np.array([[0, 0, 0], [3, 4, 5], [0, 1, 2]]))
    x.sum().backward()
    table.update(np.array([2, 1, 3]), leaf.grad, 0.5)
    learned = table.learned.detach().numpy()
    np.testing.assert_array_equal(learned[0], 1)
    np.testing.assert_allclose(learned[1:], 0.5, atol=1e-5)
    np.testing.assert_allclose(table.projection.detach().numpy(), np.eye(3) - 0.5, atol=1e-5)


def test_subgraph_gradient_equals_dense_gradient():
    random = np.random.default_rng(0)
    dense = random.random((6, 6)) * (random.random((6, 6)) < 0.5)
    part = Subgraph(np.arange(6), sp.csr_matrix(dense, dtype=np.float32))
    a, x = torch.from_numpy(dense).float(), torch.randn(6, 3, generator=torch.manual_seed(0))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = gnn_minibatch_training._sums(part, ours, 2), theirs + a @ theirs + a @ a @ theirs
    torch.testing.assert_close(found, expected)
    weights = torch.arange(18.0).reshape(6, 3)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_users_are_sampled_by_root_of_activity():
    history = sp.csr_matrix(np.r_[np.ones((1, 16)), np.eye(1, 16, 3), np.zeros((1, 16))])
    user, item = gnn_minibatch_training._draw_behaviors(history, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(user, minlength=3) / 20_000, [0.8, 0.2, 0], atol=0.02)
    assert np.all(item[user == 1] == 3)
    np.testing.assert_allclose(np.bincount(item[user == 0]) / np.sum(user == 0), 1 / 16, atol=0.01)


class _Largest(TorchDispatchMode):
    """Records the bytes of the largest tensor that is created, except tensors over all nodes."""

    def __init__(self, n_nodes):
        super().__init__()
        self.n_nodes, self.bytes = n_nodes, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor) and x.layout == torch.strided]
        sizes = [x.nbytes for x in made if x.shape[:1] != (self.n_nodes,)]
        self.bytes = max([self.bytes, *sizes])
        return result


def test_step_memory_follows_the_limit(monkeypatch):
    train, _ = graph(n_users=300, n_items=200)
    sizes = []

    def noted(*args):
        part = sample(*args)
        sizes.append(len(part.nodes))
        return part

    sample = gnn_minibatch_training.sample_subgraph
    monkeypatch.setattr(gnn_minibatch_training, "sample_subgraph", noted)
    for memory in (100_000, 400_000):
        settings = WHOLE.model_copy(update={"steps": 1, "memory": memory})
        sizes.clear()
        with _Largest(train.n_nodes) as largest:
            train_on_subgraphs(train, np.empty(0, np.int64), np.empty((0, 16), np.float32), settings, 0, memory)
        assert max(sizes) <= Limits.from_memory(settings, memory).nodes < train.n_nodes / 2
        assert memory / 50 < largest.bytes < memory / 5


@pytest.mark.parametrize("memory", [10**6, 10**8, 2 * 10**8, 10**10])
def test_subgraph_and_logits_share_the_limit(memory):
    limits = Limits.from_memory(WHOLE, memory)
    assert limits.behaviors * limits.candidates * LOGIT_BYTES <= memory / 2
    assert limits.nodes * node_bytes(WHOLE) <= memory / 2


def test_tiny_memory_limit_still_trains():
    limits = Limits.from_memory(WHOLE, 1)
    assert limits.behaviors >= 1
    assert limits.candidates >= 2
    assert 2 * limits.behaviors + limits.candidates <= limits.nodes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: torch.cuda.is_available() is false")
@pytest.mark.parametrize("share", [1.01, 0.4])
def test_gpu_training_learns(share):
    train, withheld = graph()
    assert ndcg(train, withheld, fitted(train, bounded(train, share))) > 0.95


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: torch.cuda.is_available() is false")
@pytest.mark.parametrize("share", [1.01, 0.4])
def test_gpu_scores_repeat_by_seed(share):
    train, _ = graph()
    once, again = (fitted(train, bounded(train, share)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
