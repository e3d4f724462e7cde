"""Sampled subgraphs are unbiased, within the size limit, and the same for the same seed."""

import numpy as np
import pytest
import scipy.sparse as sp

from kgrec.signals.graph.neighbor_sampling import sample_subgraph

pytestmark = pytest.mark.slow

N, SEEDS = 30, np.array([4, 17, 2])


@pytest.fixture(scope="module")
def graph():
    """A symmetric graph of a few hubs and many nodes of low degree; node 29 has no neighbor."""
    random = np.random.default_rng(0)
    chance = np.linspace(0.05, 0.9, N)[:, None] * np.linspace(0.05, 0.9, N)
    dense = np.triu(random.random((N, N)) < chance, 1) * random.random((N, N))
    dense[:, -1] = 0
    return sp.csr_matrix(dense + dense.T, dtype=np.float32)


def product(part, x, layers):
    """The rows of the seeds in the sum of the powers 1 … layers."""
    total, part_x = 0, x[part.nodes]
    for _ in range(layers):
        part_x = part.matrix @ part_x
        total = total + part_x
    return total[: len(SEEDS)]


def whole_product(graph, x, layers):
    total, now = 0, x
    for _ in range(layers):
        now = graph @ now
        total = total + now
    return total[SEEDS]


@pytest.mark.parametrize("layers", [1, 2])
def test_full_fanout_equals_the_graph(graph, layers):
    x = np.random.default_rng(1).normal(size=(N, 3))
    part = sample_subgraph(graph, SEEDS, layers, N, 10 * N, np.random.default_rng(0))
    np.testing.assert_array_equal(part.nodes[: len(SEEDS)], SEEDS)
    assert len(np.unique(part.nodes)) == len(part.nodes)
    np.testing.assert_allclose(product(part, x, layers), whole_product(graph, x, layers), rtol=1e-5)


@pytest.mark.parametrize(("fanout", "limit"), [(3, 10 * N), (N, 11), (3, 11)])
def test_samples_are_unbiased(graph, fanout, limit):
    x, random = np.random.default_rng(1).random((N, 3)), np.random.default_rng(2)
    parts = [sample_subgraph(graph, SEEDS, 2, fanout, limit, random) for _ in range(6000)]
    mean = np.mean([product(part, x, 2) for part in parts], axis=0)
    np.testing.assert_allclose(mean, whole_product(graph, x, 2), rtol=0.06)


def test_sample_respects_limits(graph):
    random = np.random.default_rng(0)
    for limit in (3, 4, 9, 20):
        part = sample_subgraph(graph, SEEDS, 2, N, limit, random)
        assert len(SEEDS) <= len(part.nodes) <= limit
        assert part.matrix.shape == (len(part.nodes),) * 2
    drawn = sample_subgraph(graph, SEEDS, 3, 4, 10 * N, random).matrix
    assert np.diff(drawn.indptr).max() <= 4


def test_node_without_neighbors_is_sampled_alone(graph):
    part = sample_subgraph(graph, np.array([29]), 2, 3, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(part.nodes, [29])
    assert part.matrix.nnz == 0


def test_samples_repeat_by_seed(graph):
    one, same, other = (sample_subgraph(graph, SEEDS, 2, 2, 12, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.nodes, same.nodes)
    np.testing.assert_array_equal(one.matrix.toarray(), same.matrix.toarray())
    assert not np.array_equal(one.nodes, other.nodes)
