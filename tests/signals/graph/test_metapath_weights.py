"""Path weights: no feature uses its own target, and paths together are never worse than the best one by itself."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from kgrec.data.histories import row_means
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.metrics.ranking import NDCG_AT_20
from kgrec.metrics.significance import clearly_better
from kgrec.signals.graph import metapath_weights, weight_options
from kgrec.signals.graph.held_out_cases import Cases
from kgrec.signals.graph.metapath_matrices import MetaPath, build_metapaths
from kgrec.signals.graph.metapath_weights import Feature, from_histories, from_popularity, from_users, learn_weights
from kgrec.signals.graph.metapaths import MetaPaths
from kgrec.signals.graph.sparse_softmax import MAX_LOG_ODDS
from kgrec.testing.graphs import shuffled
from kgrec.testing.thin_graphs import BY, RARE, idle, thin_graph, with_odd_relations

SMALL = {"n_users": 1500, "n_items": 1500, "n_idle": 20}


@pytest.fixture(scope="module")
def small() -> tuple[Cases, sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]:
    rng = np.random.default_rng(0)
    interactions = sp.csr_matrix((rng.random((6, 5)) < 0.6).astype(np.float32))
    left, right = (sp.csr_matrix(rng.random((n, 3)).astype(np.float32)) for n in (5, 5))
    users = np.array([4, 1])
    dense = interactions.toarray()[users]
    wanted = dense * (dense.cumsum(axis=1) == 1)
    return Cases(users, sp.csr_matrix(dense - wanted), sp.csr_matrix(wanted)), interactions, left, right


def values(feature: Feature, cases: Cases) -> npt.NDArray[np.float32]:
    return np.asarray(feature.base + feature.added(cases).toarray())


def test_history_features_exclude_the_target(small: tuple[Cases, sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]) -> None:
    cases, interactions, left, right = small
    related = left.toarray() @ right.toarray().T
    apart = related - np.diag(np.diag(related))
    feature = from_histories(MetaPath((("Item", "X", "Tag"),) * 2, "items", left, right), row_means(interactions))
    expected = cases.history.toarray() @ related - row_means(interactions).toarray().mean(axis=0) @ apart
    np.testing.assert_allclose(values(feature, cases), expected, atol=1e-6)


def test_user_features_exclude_the_user(small: tuple[Cases, sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]) -> None:
    cases, interactions, left, _ = small
    left = sp.vstack([left, left[[0]]], format="csr")
    related = (left @ left.T).toarray()
    np.fill_diagonal(related, 0)
    feature = from_users(MetaPath((("User", "X", "Group"),) * 2, "users", left, left), interactions)
    np.testing.assert_allclose(values(feature, cases), (related @ interactions.toarray())[cases.user_num], atol=1e-6)


def test_popularity_feature_excludes_the_user(small: tuple[Cases, sp.csr_matrix, sp.csr_matrix, sp.csr_matrix]) -> None:
    cases, interactions, *_ = small
    others = interactions.toarray().sum(axis=0) - cases.wanted.toarray()
    np.testing.assert_allclose(values(from_popularity(interactions), cases), np.log1p(others), rtol=1e-6)


@dataclass
class Measured:
    """NDCG@20 of each test user by the paths, by the best single path beside popularity, and by popularity."""

    paths: npt.NDArray[np.float64]
    single: npt.NDArray[np.float64]
    popularity: npt.NDArray[np.float64]
    signal: MetaPaths

    def weight_of(self, edge_type: tuple[str, str, str]) -> float:
        pairs = zip(self.signal.paths, self.signal.weights, strict=False)
        return float(sum(weight for path, weight in pairs if edge_type in path.edge_types))


def measured(tables: GraphTables) -> Measured:
    graph = GraphSnapshot.from_tables(tables)
    test, train = graph.behaviors.split == "test", graph.with_behaviors(graph.behaviors.split == "train")
    relevant = graph.pairs(graph.behaviors.where(test))
    users = np.flatnonzero(np.diff(relevant.indptr))
    seen = train.interactions[users]
    ndcg = lambda scores: NDCG_AT_20.of_scores(scores.astype(np.float32), relevant[users], seen)  # noqa: E731
    popularity = np.tile(np.log1p(np.asarray(train.interactions.sum(axis=0)).ravel()), (len(users), 1))
    path = next(path for path in build_metapaths(train, 1.0) if BY in path.edge_types)
    related = ((row_means(seen) @ path.left) @ path.right.T).toarray()
    singles = [ndcg(popularity + weight * related) for weight in (1, 2, 4, 8, 16)]
    signal = MetaPaths().fit(train, {})
    assert signal.weights.max() <= 100 * MAX_LOG_ODDS
    return Measured(ndcg(signal.scores(users)), max(singles, key=np.mean), ndcg(popularity), signal)


@pytest.mark.parametrize("behaviors", [None, 2, 20, 100])
def test_paths_are_not_worse_than_the_best_path(behaviors: int | None) -> None:
    sizes = SMALL if behaviors is None else SMALL | {"n_users": 1500 if behaviors == 2 else 400}
    found = measured(thin_graph(seed=1, behaviors=behaviors, **sizes))
    assert not clearly_better(found.single, found.paths)
    assert not clearly_better(found.popularity, found.paths)
    if behaviors is None or behaviors == 2:
        assert found.paths.mean() > 0.97 * found.single.mean()


def test_odd_relations_do_not_mislead() -> None:
    found = measured(with_odd_relations(thin_graph(seed=2, n_users=1500, n_items=1500, n_idle=3)))
    assert not clearly_better(found.single, found.paths)
    assert found.weight_of(RARE) <= MAX_LOG_ODDS


def test_shuffled_relation_gets_no_weight() -> None:
    """Of an author relation without meaning nothing is learned: popularity ranks as well as without paths."""
    found = measured(shuffled(thin_graph(seed=3, **SMALL), only=BY))
    assert not clearly_better(found.popularity, found.paths)
    assert found.paths.mean() > 0.97 * found.popularity.mean()


def test_single_behaviors_give_equal_shares() -> None:
    """Where no user has two items nothing can be learned: related items rank higher, and a note says so."""
    found = measured(thin_graph(seed=1, n_users=1500, n_items=1500, n_idle=3, behaviors=1))
    assert "fewer than" in found.signal.note
    weights = [found.weight_of(edge_type) for edge_type in (BY, idle(0), idle(1), idle(2))]
    assert max(weights) < 2 * min(weights)
    assert found.paths.mean() > found.popularity.mean()


def test_weights_repeat_by_seed_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((metapath_weights, "MAX_FEATURE_VALUES"), (metapath_weights, "MAX_LEARNED_VALUES")):
        monkeypatch.setattr(module, name, 100_000)
    monkeypatch.setattr(weight_options, "MAX_COMPARED", 20_000)
    tables = thin_graph(seed=1, **SMALL)
    one, same = (measured(tables) for _ in range(2))
    np.testing.assert_array_equal(one.signal.weights, same.signal.weights)
    assert one.paths.mean() > 0.9 * one.single.mean()


def test_learn_weights_without_features_has_popularity() -> None:
    interactions = sp.csr_matrix((np.random.default_rng(0).random((50, 20)) < 0.3).astype(np.float32))
    found = learn_weights([from_popularity(interactions)], interactions, 0.0, seed=0)
    assert found.values.shape == (1,)
    assert np.isfinite(found.values).all()
