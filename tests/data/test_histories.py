"""User histories: time decay and order are computed within each domain."""

import itertools

import numpy as np
import pyarrow as pa

from kgrec.data.histories import sequences, user_histories
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.signals.cf import ItemTransitions

SCHEMA = Schema.from_dict(
    {
        "name": "shops",
        "nodes": {"User": {"key": "user_id"}, "Item": {"key": "item_id", "properties": {"shop": "string"}}},
        "relationships": {"BOUGHT": {"from": "User", "to": "Item", "properties": {"at": "float"}}},
        "roles": {"users": "User", "items": "Item", "behaviours": {"BOUGHT": {"time": "at"}}, "domain": "shop"},
    }
)


def shops(*bought):
    """A graph of (user, item, time), an item's first letter being its shop."""
    users, items, times = zip(*bought, strict=True)
    known = sorted(set(items))
    nodes = {
        "User": pa.table({"user_id": sorted(set(users))}),
        "Item": pa.table({"item_id": known, "shop": [item[0] for item in known]}),
    }
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users, "dst": items, "at": pa.array(times, pa.float64())})}
    return GraphSnapshot.from_tables(check(GraphTables(SCHEMA, nodes, edges)))


def test_time_decay_counts_interactions_of_one_domain():
    graph = shops(("u", "a1", 0), ("u", "a2", 1), ("u", "b1", 0), ("u", "b2", 1), ("u", "b3", 2), ("u", "b4", 3))
    assert list(graph.items.ids) == ["a1", "a2", "b1", "b2", "b3", "b4"]
    np.testing.assert_allclose(
        user_histories(graph, half_life_items=1.0).toarray()[0], [1 / 2, 1, 1 / 8, 1 / 4, 1 / 2, 1]
    )


def test_item_transitions_stay_within_a_domain():
    bought = [(f"u{n}", item, at) for n in range(3) for item, at in (("a1", 0), ("b1", 1), ("a2", 2), ("b2", 3))]
    graph = shops(*bought, ("v", "a1", 0), ("v", "b9", 0))
    scores = (
        ItemTransitions(ItemTransitions.Settings(backward_weight=0.0))
        .fit(graph, {})
        .scores(np.array([graph.n_users - 1]))[0]
    )
    assert list(graph.items.ids[scores > 0]) == ["a2"]


def test_sequences_order_equal_times_at_random() -> None:
    bought = [(f"u{n}", item, 0.0) for n in range(40) for item in ("a1", "a2", "a3")]
    graph = shops(*bought)
    item_num = sequences(graph)[2].reshape(40, 3)
    assert {tuple(row) for row in item_num.tolist()} == set(itertools.permutations(range(3)))
