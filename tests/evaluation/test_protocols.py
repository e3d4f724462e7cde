"""Evaluation protocols: what each holds out, and validation cuts of the same kind."""

import numpy as np
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import UsageError
from kgrec.evaluation.protocols import PROTOCOL_SHARE, PROTOCOLS, cut_for
from kgrec.testing.graphs import two_communities
from kgrec.testing.shops import N_USERS, SCHEMA, counts, shops
from kgrec.training.pipeline import training_sets
from kgrec.tuning.validation import validation_sets


@pytest.fixture(scope="module")
def graph():
    return shops(n_new=100)


def left(split, what):
    """Who, or what, train has any behavior of."""
    return np.unique(getattr(split.train.behaviors, what))


def test_warm_tests_every_in_domain_user_and_keeps_train(graph):
    split = cut_for(graph, "warm")
    had, holdouts = counts(graph, graph.behaviors), counts(graph, split.test)
    np.testing.assert_array_equal(holdouts, had > 1)
    assert (counts(graph, split.train.behaviors)[had > 0] > 0).all()


def test_warm_takes_latest_interactions():
    snapshot = GraphSnapshot.from_tables(two_communities(seed=1))
    split = cut_for(snapshot, "warm")
    newest = {u: split.train.behaviors.time[split.train.behaviors.user_num == u].max() for u in left(split, "user_num")}
    assert all(time >= newest[user] for user, time in zip(split.test.user_num, split.test.time, strict=True))


@pytest.mark.parametrize(("protocol", "what", "n"), [("cold-user", "user_num", N_USERS), ("cold-item", "item_num", 60)])
def test_cold_user_and_item_leave_no_train_rows(graph, protocol, what, n):
    split = cut_for(graph, protocol)
    cold = np.unique(getattr(split.test, what))
    assert len(cold) == round(PROTOCOL_SHARE * n)
    assert not np.isin(cold, left(split, what)).any()


def test_cold_target_takes_one_domain_of_some_users(graph):
    split = cut_for(graph, "cold-target")
    holdouts, kept = counts(graph, split.test), counts(graph, split.train.behaviors)
    cold = holdouts.sum(axis=1) > 0
    assert cold.sum() == round(PROTOCOL_SHARE * (N_USERS - 100))
    assert ((holdouts[cold] > 0).sum(axis=1) == 1).all()
    assert not (kept[holdouts > 0]).any()
    assert (kept[cold].sum(axis=1) == 3).all()


def test_cold_target_needs_users_of_several_domains():
    with pytest.raises(UsageError, match="several domains"):
        cut_for(GraphSnapshot.from_tables(two_communities(seed=1)), "cold-target")


def test_cross_domain_tests_one_domain_of_multi_domain_users(graph):
    split = cut_for(graph, "cross-domain")
    had, holdouts = counts(graph, graph.behaviors), counts(graph, split.test)
    kept = counts(graph, split.train.behaviors)
    np.testing.assert_array_equal((holdouts > 0).sum(axis=1), (had > 0).sum(axis=1) == 2)
    assert (kept[holdouts > 0] > 0).all()
    np.testing.assert_array_equal(kept[holdouts == 0], had[holdouts == 0])
    assert 0.4 < (holdouts[:, 1] > 0).sum() / (holdouts > 0).sum() < 0.6


def test_cross_domain_takes_latest_interactions():
    snapshot = timed(days={"a": [3, 1, 2], "b": [4, 6, 5]})
    split = cut_for(snapshot, "cross-domain")
    assert split.test.time.tolist() in ([3], [6])
    assert len(split.train.behaviors) == 6


@pytest.mark.parametrize("days", [{"a": [1, 2, 3]}, {"a": [1], "b": [2]}])
def test_cross_domain_needs_two_interactions_in_one_domain(days):
    with pytest.raises(UsageError, match="several domains, with several in one"):
        cut_for(timed(days), "cross-domain")


def timed(days):
    """A user who buys something on each of these days in each shop, and one who is in the first shop only."""
    rows = [("u1", f"{shop}{day}", shop, day) for shop, given in days.items() for day in given]
    rows += [("u2", rows[0][1], "a", 1)]
    users, items, shops_, days_ = zip(*rows, strict=True)
    bought = {"from": "User", "to": "Item", "properties": {"day": "int"}}
    schema = {**SCHEMA.to_dict(), "relationships": {"BOUGHT": bought}}
    schema["roles"] = {**schema["roles"], "behaviours": {"BOUGHT": {"time": "day"}}}
    nodes = {"User": pa.table({"user_id": ["u1", "u2"]}), "Item": pa.table({"item_id": items, "shop": shops_})}
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users, "dst": items, "day": days_})}
    return GraphSnapshot.from_tables(check(GraphTables(Schema.from_dict(schema), nodes, edges)))


def test_warm_validation_keeps_short_histories(graph):
    parts = training_sets(cut_for(graph, "warm"), Config(), "train")
    n = len(parts.final_graph.behaviors)
    n_newcomers = round(PROTOCOL_SHARE * 500)
    assert 0.05 * n < len(parts.held_out) - 2 * n_newcomers < 0.15 * n


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_validation_cut_has_enough_users(graph, protocol):
    parts = training_sets(cut_for(graph, protocol), Config(), "train")
    assert sum(len(holdout.user_num) for holdout in validation_sets(parts.tuning_graph, parts.held_out)) > 20


@pytest.mark.parametrize("protocol", ["cold-item", "cold-target", "cross-domain"])
def test_validation_cut_follows_the_protocol(graph, protocol):
    split = cut_for(graph, protocol)
    again = split.cut_again(split.train, PROTOCOL_SHARE)
    held_out = training_sets(split, Config(), "train").held_out
    cells = set(zip(held_out.user_num, held_out.item_num, strict=True))
    assert set(zip(again.test.user_num, again.test.item_num, strict=True)) <= cells


def test_cold_item_validation_includes_known_items(graph):
    parts = training_sets(cut_for(graph, "cold-item"), Config(), "train")
    known = np.isin(parts.held_out.item_num, parts.tuning_graph.behaviors.item_num)
    assert 0.2 < known.mean() < 0.8


def test_unknown_protocol_lists_known_ones(graph):
    with pytest.raises(UsageError, match="cold-item"):
        cut_for(graph, "frozen")
