"""Interactions in other domains count less when items of one domain are scored, except for its cold-start users."""

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.signals.cf import IALS
from kgrec.signals.content import Embeddings
from kgrec.signals.domain_weighting import weight_by_domain
from kgrec.signals.graph.lightgcn import LightGCN

SCHEMA = {
    "name": "films and books",
    "nodes": {"User": {"key": "user_id"}, "Film": {"key": "film_id"}, "Book": {"key": "book_id"}},
    "relationships": {"TOOK": {"from": "User", "to": ["Film", "Book"], "properties": {"at": "float"}}},
    "roles": {"users": "User", "items": ["Film", "Book"], "behaviours": {"TOOK": {"time": "at"}}},
}
N = 12
BOTH, COLD_START = 0, 1
FILMS = np.arange(N)


def test_weight_by_domain_active_users_down_weighted():
    profiles = sp.csr_matrix(np.array([[1, 2, 4, 0], [0, 0, 4, 8]], np.float32))
    here = weight_by_domain(profiles, np.array([0, 1]), 0.5).toarray()
    np.testing.assert_array_equal(here, [[1, 2, 2, 0], [0, 0, 4, 8]])
    assert weight_by_domain(profiles, np.array([0, 1]), 0).nnz == 4
    assert profiles.nnz == 5


@pytest.fixture(scope="module")
def graph():
    """Users of two tastes with films and books; the second user has books only."""
    rng = np.random.default_rng(0)
    ids = {kind: [f"{kind}{n:02}" for n in range(N)] for kind in "fb"}
    edges = {}
    for kind, label in (("f", "Film"), ("b", "Book")):
        rows = [(u, n) for u in range(40) for n in rng.choice(N // 2, 4, replace=False) * 2 + u % 2]
        rows = [(u, n) for u, n in rows if not (u == COLD_START and kind == "f")]
        took = {"src": [f"u{u:02}" for u, _ in rows], "dst": [ids[kind][n] for _, n in rows]}
        edges["User", "TOOK", label] = pa.table({**took, "at": rng.permutation(len(rows)).astype(float)})
    nodes = {
        "User": pa.table({"user_id": [f"u{u:02}" for u in range(40)]}),
        "Film": pa.table({"film_id": ids["f"]}),
        "Book": pa.table({"book_id": ids["b"]}),
    }
    return GraphSnapshot.from_tables(check(GraphTables(Schema.from_dict(SCHEMA), nodes, edges)))


@pytest.mark.parametrize("half_life_items", [None, 2.0])
@pytest.mark.parametrize("kind", [IALS, LightGCN, Embeddings])
def test_out_of_domain_weight_scales_other_domains(graph, kind, half_life_items):
    vectors = {label: np.random.default_rng(1).normal(size=(N, 8)).astype(np.float32) for label in ("Film", "Book")}
    behaviors = graph.behaviors
    without = graph.with_behaviors(~((behaviors.user_num == BOTH) & (behaviors.item_num >= N)))
    fitted = kind(kind.Settings(half_life_items=half_life_items)).fit(graph, vectors)

    def scores(train, out_of_domain_weight):
        settings = kind.Settings(half_life_items=half_life_items, out_of_domain_weight=out_of_domain_weight)
        return kind(settings).restore(train, vectors, fitted.state()).scores(np.array([BOTH, COLD_START]))

    apart, together = (scores(graph, out_of_domain_weight) for out_of_domain_weight in (0.0, 0.5))
    np.testing.assert_allclose(apart[BOTH, FILMS], scores(without, 0.0)[BOTH, FILMS], atol=0.005)
    assert np.abs(together[BOTH, FILMS] - scores(without, 0.5)[BOTH, FILMS]).max() > 0.02
    assert apart[COLD_START, FILMS].std() > 0
    np.testing.assert_allclose(apart[COLD_START], together[COLD_START], atol=1e-5)
