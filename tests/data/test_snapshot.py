from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgrec.data.id_map import IdMap
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.data.to_networkx import to_networkx

WROTE = ("Author", "WROTE", "Book")


@pytest.fixture(scope="module")
def shop(market: GraphTables) -> GraphSnapshot:
    return GraphSnapshot.from_tables(check(market))


def digest_of(tables: GraphTables) -> str:
    return GraphSnapshot.from_tables(check(tables)).digest


def with_node(tables: GraphTables, label: str, column: str, values: pa.Array | list) -> GraphTables:
    table = tables.nodes[label]
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    return replace(tables, nodes={**tables.nodes, label: table})


def with_edge(tables: GraphTables, edge_type, column: str, values: list) -> GraphTables:
    table = tables.edges[edge_type]
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    return replace(tables, edges={**tables.edges, edge_type: table})


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_digest_ignores_order_of_rows_and_tables(market, seed):
    rng = np.random.default_rng(seed)

    def mixed(tables):
        names = rng.permutation(len(tables))
        keys = list(tables)
        return {keys[n]: tables[keys[n]].take(pa.array(rng.permutation(tables[keys[n]].num_rows))) for n in names}

    other = replace(market, nodes=mixed(market.nodes), edges=mixed(market.edges))
    assert digest_of(other) == digest_of(market)


def test_digest_ignores_arrow_layout(market):
    split = {label: pa.concat_tables([t.slice(0, 1), t.slice(1)]) for label, t in market.nodes.items()}
    assert digest_of(replace(market, nodes=split)) == digest_of(market)


@pytest.mark.parametrize(
    "changed",
    [
        lambda t: with_node(t, "User", "age", [0, 30]),
        lambda t: with_node(t, "User", "age", [30, None]),
        lambda t: with_node(t, "Movie", "title", ["Solaris", "Alien", ""]),
        lambda t: with_node(t, "Book", "shelf", ["AB", ""]),
        lambda t: with_node(t, "Movie", "genres", [["drama", "space"], ["space"], []]),
        lambda t: with_node(t, "Movie", "genres", [["drama"], ["space"], None]),
        lambda t: with_node(t, "Book", "in_print", [True, False]),
        lambda t: with_edge(t, WROTE, "share", [0.5, 0.0]),
        lambda t: with_edge(t, WROTE, "share", [0.5, float("nan")]),
        lambda t: with_edge(t, WROTE, "first", [True, True]),
        lambda t: with_edge(t, ("User", "BOUGHT", "Movie"), "dst", ["m2", "m1", "m3"]),
        lambda t: replace(t, edges={k: v for k, v in t.edges.items() if k[1] != "VIEWED"}),
    ],
)
def test_digest_depends_on_every_value(market, changed):
    assert digest_of(changed(market)) != digest_of(market)


def test_digest_distinguishes_nan_zero_and_null(market):
    digests = {digest_of(with_edge(market, WROTE, "share", [0.5, x])) for x in (0.0, float("nan"), None)}
    assert len(digests) == 3


def test_to_tables_round_trip_is_equal(shop):
    again = GraphSnapshot.from_tables(check(shop.to_tables()))
    assert again.digest == shop.digest
    assert {t: e.table.to_pylist() for t, e in again.edges.items()} == {
        t: e.table.to_pylist() for t, e in shop.edges.items()
    }


def test_nodes_are_numbered_by_key_and_keep_their_properties(shop):
    assert shop.ids("Movie").to_pylist() == ["m1", "m2", "m3"]
    assert shop.nodes["Movie"].column("year").to_pylist() == [1979, None, 1972]
    assert shop.nodes["Movie"].column("genres").to_pylist() == [["space"], None, ["drama", "space"]]
    assert shop.names("Movie").to_pylist() == ["Alien", "m2", "Solaris"]
    assert shop.names("Book").to_pylist() == ["b1", "b2"]


def test_users_and_items_span_several_labels(shop):
    assert shop.users.ids.tolist() == ["u1", "u2", "g1"]
    assert shop.items.ids.tolist() == ["m1", "m2", "m3", "b1", "b2"]
    assert shop.item_names.tolist() == ["Alien", "m2", "Solaris", "b1", "b2"]
    assert shop.item_domains.tolist() == ["Movie", "Movie", "Movie", "Book", "Book"]


def test_graph_wide_numbers_name_the_same_nodes(shop):
    every = np.concatenate([np.asarray(shop.ids(label), dtype=object) for label in shop.offsets])
    assert len(every) == shop.n_nodes
    assert every[shop.user_nodes].tolist() == shop.users.ids.tolist()
    assert every[shop.item_nodes].tolist() == shop.items.ids.tolist()
    source, target = shop.relations[WROTE]
    assert list(zip(every[source], every[target], strict=True)) == [("a1", "b1"), ("a1", "b2")]
    assert list(shop.relations) == [WROTE]


def test_edges_are_sorted_and_keep_their_properties(shop):
    edges = shop.edges[WROTE]
    assert list(zip(edges.src_num.tolist(), edges.dst_num.tolist(), strict=True)) == [(0, 0), (0, 1)]
    assert edges.table.to_pylist() == [{"share": None, "first": False}, {"share": 0.5, "first": True}]


def test_behaviors_hold_user_item_weight_and_time(shop):
    done = shop.behaviors
    rows = zip(
        shop.users.ids[done.user_num], shop.items.ids[done.item_num], done.weight, done.type_num.tolist(), strict=True
    )
    assert list(rows) == [
        ("u1", "m1", 1.0, 0),
        ("u1", "m2", 3.0, 0),
        ("u2", "m1", 2.0, 0),
        ("u2", "b1", 4.0, 0),
        ("g1", "b1", 5.0, 0),
        ("g1", "b2", 6.0, 0),
        ("u1", "m1", 1.0, 1),
    ]
    assert done.time[0] == 1704067200.0  # 2024-01-01
    assert np.isnan(done.time[-1])
    assert done.split.tolist() == [""] * 7


def test_interactions_are_binary(shop):
    assert shop.interactions.toarray().tolist() == [[1, 1, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert shop.interactions.dtype == np.float32
    assert shop.interactions.has_sorted_indices


def test_with_behaviors_removes_rows_everywhere(shop):
    keep = np.array([True, False, True, False, True, True, False])
    less = shop.with_behaviors(keep)
    for name in ("user_num", "item_num", "weight", "time", "type_num"):
        np.testing.assert_array_equal(getattr(less.behaviors, name), getattr(shop.behaviors, name)[keep])
    assert less.interactions.toarray().tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert {t: len(e) for t, e in less.edges.items()} == {
        ("User", "BOUGHT", "Movie"): 2,
        ("User", "BOUGHT", "Book"): 0,
        ("Guest", "BOUGHT", "Book"): 2,
        ("User", "VIEWED", "Movie"): 0,
        WROTE: 2,
    }
    assert less.users.ids.tolist() == shop.users.ids.tolist()
    assert less.digest != shop.digest
    assert len(shop.behaviors) == 7


def test_with_all_behaviors_is_equal(shop):
    assert shop.with_behaviors(np.ones(7, dtype=bool)).digest == shop.digest


def test_without_behaviors_interactions_are_empty(shop):
    nothing = shop.with_behaviors(np.zeros(7, dtype=bool))
    assert len(nothing.behaviors) == 0
    assert nothing.interactions.shape == (3, 5)
    assert nothing.interactions.nnz == 0


def test_matrix_counts_edges(shop):
    assert shop.matrix(WROTE).toarray().tolist() == [[1, 1]]


def test_id_map_inverts():
    ids = IdMap(pa.array(["a", "b", "7"]))
    assert ids.nums(["b", "x", 7, "a"]).tolist() == [1, -1, 2, 0]
    assert ids.nums([]).dtype == np.int64
    assert ("a" in ids, "x" in ids, len(ids)) == (True, False, 3)


def test_to_pyg_returns_hetero_data(shop):
    vectors = {"Movie": np.ones((3, 2), np.float32)}
    data = shop.to_pyg(vectors)
    assert set(data.node_types) == set(shop.nodes)
    assert data["Movie"].x.shape == (3, 2)
    assert data["Book"].num_nodes == 2
    assert set(data.edge_types) == set(shop.edges)
    assert data[WROTE].edge_index.tolist() == [[0, 0], [0, 1]]


def test_to_networkx_without_relationships_keeps_node(market: GraphTables) -> None:
    pytest.importorskip("networkx")
    nodes_alone = GraphSnapshot.from_tables(replace(market, edges={}))
    assert list(to_networkx(nodes_alone, "m1")) == [("Movie", "m1")]


def test_snapshot_is_frozen(shop):
    with pytest.raises(AttributeError):
        shop.nodes = {}
