from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import (
    SPLITS,
    Split,
    by_given,
    by_random,
    by_time,
    latest_of_users,
    leave_last_out,
    split_by,
    uncut,
)
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import UsageError
from kgrec.evaluation.protocols import warm
from kgrec.training.pipeline import training_sets

SCHEMA = Schema.from_dict(
    {
        "name": "views",
        "nodes": {"User": {"key": "user_id"}, "Item": {"key": "item_id"}},
        "relationships": {
            "VIEWED": {"from": "User", "to": "Item", "properties": {"at": "float", "part": "string"}},
        },
        "roles": {"users": "User", "items": "Item", "behaviours": {"VIEWED": {"time": "at", "split": "part"}}},
    }
)
PARTS = ["train", "valid", "test", None]


def snapshot_of(rows: list[tuple[str, str, float, str | None]]) -> GraphSnapshot:
    users, items, times, parts = zip(*rows, strict=True)
    edge = pa.table({"src": users, "dst": items, "at": times, "part": pa.array(parts, pa.string())})
    nodes = {
        "User": pa.table({"user_id": sorted(set(users))}),
        "Item": pa.table({"item_id": sorted(set(items))}),
    }
    return GraphSnapshot.from_tables(check(GraphTables(SCHEMA, nodes, {("User", "VIEWED", "Item"): edge})))


@st.composite
def snapshots(draw):
    """Users who come back to an item at another time, with ties in time between users."""
    pairs = st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 30))
    triples = draw(st.lists(pairs, min_size=1, max_size=60, unique=True))
    parts = draw(st.lists(st.sampled_from(PARTS), min_size=len(triples), max_size=len(triples)))
    return snapshot_of([(f"u{u}", f"i{i}", float(t), p) for (u, i, t), p in zip(triples, parts, strict=True)])


def timeless(snapshot: GraphSnapshot) -> GraphSnapshot:
    schema = snapshot.schema.to_dict()
    del schema["roles"]["behaviours"]["LIKED"]["time"]
    return replace(snapshot, schema=Schema.from_dict(schema))


def pairs_of(behaviors) -> set[tuple[int, int]]:
    return set(zip(behaviors.user_num.tolist(), behaviors.item_num.tolist(), strict=True))


CUTS = {
    "random": lambda s: by_random(s, 0.3, seed=1),
    "last": lambda s: leave_last_out(s, 2),
    "time": lambda s: by_time(s, 0.3),
}


@pytest.mark.parametrize("name", CUTS)
@given(snapshot=snapshots())
@settings(deadline=None, max_examples=50)
def test_no_test_pair_is_in_train(name, snapshot):
    split = CUTS[name](snapshot)
    assert not pairs_of(split.test) & pairs_of(split.train.behaviors)
    assert pairs_of(split.test) | pairs_of(split.train.behaviors) == pairs_of(snapshot.behaviors)
    assert not (split.train.interactions.multiply(snapshot.pairs(split.test))).nnz
    assert len(split.valid) == 0


@pytest.mark.parametrize("name", ["random", "last"])
@given(snapshot=snapshots())
@settings(deadline=None, max_examples=50)
def test_every_user_keeps_a_train_row(name, snapshot):
    split = CUTS[name](snapshot)
    assert set(split.train.behaviors.user_num.tolist()) == set(snapshot.behaviors.user_num.tolist())


@given(snapshots())
@settings(deadline=None, max_examples=50)
def test_by_time_test_is_not_before_train(snapshot):
    split = by_time(snapshot, 0.3)
    if len(split.test):
        assert split.test.time.min() >= split.train.behaviors.time.max()


@given(snapshots())
@settings(deadline=None, max_examples=50)
def test_leave_last_out_test_is_not_before_users_train(snapshot):
    split = leave_last_out(snapshot)
    for user, time in zip(split.test.user_num, split.test.time, strict=True):
        own = split.train.behaviors.time[split.train.behaviors.user_num == user]
        assert time >= own.max()


def test_leave_last_out_takes_each_users_last():
    split = leave_last_out(
        snapshot_of([("a", "x", 1, None), ("a", "y", 3, None), ("a", "z", 2, None), ("b", "x", 9, None)])
    )
    assert pairs_of(split.test) == {(0, 1)}
    assert split.protocol == "last 1 of every user's behaviors"


def test_repeated_pair_is_not_tested_nor_in_train_twice():
    split = leave_last_out(snapshot_of([("a", "x", 1, None), ("a", "y", 2, None), ("a", "x", 3, None)]))
    assert len(split.test) == 0
    assert split.train.behaviors.time.tolist() == [1.0, 2.0]


def test_by_random_repeats_by_seed_and_takes_its_share():
    snapshot = snapshot_of([(f"u{u}", f"i{i}", 0.0, None) for u in range(20) for i in range(10)])
    split = by_random(snapshot, 0.2, seed=3)
    assert np.bincount(split.test.user_num).tolist() == [2] * 20
    assert split.digest == by_random(snapshot, 0.2, seed=3).digest
    assert split.digest != by_random(snapshot, 0.2, seed=4).digest
    assert split.protocol == "random 20% of every user's behaviors, seed 3"


def test_by_given_follows_marks():
    rows = [("a", "x", 1, "train"), ("a", "y", 2, "valid"), ("a", "z", 3, "test"), ("b", "x", 4, None)]
    split = by_given(snapshot_of(rows))
    assert pairs_of(split.train.behaviors) == {(0, 0), (1, 0)}
    assert pairs_of(split.valid) == {(0, 1)}
    assert pairs_of(split.test) == {(0, 2)}
    assert pairs_of(split.train_and_valid.behaviors) == {(0, 0), (0, 1), (1, 0)}


@pytest.mark.parametrize("name", ["train", "train_and_valid"])
def test_test_behaviors_are_absent_from_train_and_valid(communities, name):
    split = by_given(communities)
    seen = getattr(split, name)
    edges = seen.edges["User", "LIKED", "Item"]
    held = pairs_of(split.test)
    assert len(held) == communities.n_users
    assert not held & set(zip(edges.src_num.tolist(), edges.dst_num.tolist(), strict=True))
    assert "test" not in edges.table.column("split").to_pylist()
    assert not held & pairs_of(seen.behaviors)
    assert not seen.interactions.multiply(communities.pairs(split.test)).nnz
    assert ("User", "LIKED", "Item") not in seen.relations
    assert seen.n_items == communities.n_items


def test_uncut_keeps_everything_in_train(communities):
    split = uncut(communities)
    assert split.train.digest == communities.digest
    assert (len(split.valid), len(split.test)) == (0, 0)


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_split_by_finds_name(communities, name):
    assert split_by(communities, name).protocol == SPLITS[name](communities).protocol


def test_split_by_unknown_name_fails(communities):
    with pytest.raises(UsageError, match="unknown split 'tiem'; expected one of none, random, time, last, given"):
        split_by(communities, "tiem")


@pytest.mark.parametrize("name", ["time", "last"])
def test_by_time_without_times_fails(communities, name):
    with pytest.raises(UsageError, match=r"behaviors have no time\. Expected a `time` property .* column `timestamp`"):
        split_by(timeless(communities), name)


def test_by_given_without_marks_fails():
    with pytest.raises(UsageError, match="no behavior is marked valid or test"):
        by_given(snapshot_of([("a", "x", 1, "train"), ("a", "y", 2, None)]))


def twenty_days_each() -> GraphSnapshot:
    return snapshot_of([(f"u{u}", f"i{i}", 10.0 * u + i, None) for u in range(5) for i in range(20)])


def times_held(split) -> list[float]:
    cut = split.cut_again(split.train, 0.1)
    assert not pairs_of(cut.test) & pairs_of(split.test)
    return np.sort(cut.test.time).tolist()


def test_by_time_cut_again_uses_time():
    snapshot = twenty_days_each()
    assert times_held(leave_last_out(snapshot, 2)) == sorted(10.0 * u + i for u in range(5) for i in (16, 17))
    assert times_held(uncut(snapshot)) == sorted(10.0 * u + i for u in range(5) for i in (18, 19))


def test_cut_again_without_times_is_none(communities):
    assert uncut(timeless(communities)).cut_again is None
    assert by_random(communities).cut_again is None
    assert by_given(communities).cut_again is None


def test_validation_cut_follows_the_test_protocol():
    snapshot = twenty_days_each()
    latest = training_sets(leave_last_out(snapshot), Config(), "train")
    assert np.sort(latest.held_out.time).tolist() == [10.0 * u + 18 for u in range(5)]
    assert latest.tuning_graph.behaviors.time.max() < 10.0 * 4 + 18
    at_random = by_random(snapshot, 0.1)
    held_out = training_sets(at_random, Config(valid_fraction=1 / 3), "train").held_out
    assert np.bincount(held_out.user_num).tolist() == [6] * 5
    assert pairs_of(held_out) != pairs_of(latest_of_users(at_random.train, 1 / 3).test)


def short_histories(n_users=400, n=3):
    """Users of `n` views each, a day apart."""
    users = [f"u{u:03}" for u in range(n_users) for _ in range(n)]
    rng = np.random.default_rng(0)
    items = [f"i{item:02}" for _ in range(n_users) for item in rng.permutation(20)[:n]]
    viewed = pa.table({"src": users, "dst": items, "at": [float(day) for _ in range(n_users) for day in range(n)]})
    nodes = {"User": pa.table({"user_id": sorted(set(users))}), "Item": pa.table({"item_id": sorted(set(items))})}
    return GraphSnapshot.from_tables(check(GraphTables(SCHEMA, nodes, {("User", "VIEWED", "Item"): viewed})))


@pytest.mark.parametrize("cut", [by_random, latest_of_users])
def test_cut_tests_short_histories_by_fraction(cut):
    split = cut(short_histories(), 0.1)
    assert 0.07 * 1200 < len(split.test) < 0.13 * 1200
    assert np.bincount(split.test.user_num).max() == 1


def test_validation_cut_keeps_most_short_histories():
    train = leave_last_out(short_histories()).train
    parts = training_sets(leave_last_out(short_histories()), Config(), "train")
    assert 0.07 * len(train.behaviors) < len(parts.held_out) < 0.13 * len(train.behaviors)
    assert (np.bincount(parts.tuning_graph.behaviors.user_num) == 2).mean() > 0.7


def baskets(common: str) -> GraphSnapshot:
    """40 users who took one common item and six others, all at one time."""
    rows = [
        (f"u{u:02}", item, 5.0, None) for u in range(40) for item in (common, *(f"m{(u + i) % 30}" for i in range(6)))
    ]
    return snapshot_of(rows)


@pytest.mark.parametrize("cut", [leave_last_out, lambda s: by_time(s, 1 / 7)])
@pytest.mark.parametrize("common", ["a99", "z99"])
def test_equal_times_are_cut_at_random(cut: Callable[[GraphSnapshot], Split], common: str) -> None:
    snapshot = baskets(common)
    test = cut(snapshot).test
    taken = (snapshot.items.ids[test.item_num] == common).sum()
    assert 1 <= taken <= 15  # one in seven of 40; ordered by id it is none or all
    assert len(np.unique(test.user_num)) > 20


def test_equal_times_are_cut_reproducibly() -> None:
    one, two = (leave_last_out(baskets("a99")) for _ in range(2))
    assert one.digest == two.digest


@pytest.mark.parametrize("cut", [leave_last_out, by_time, latest_of_users, warm])
def test_protocol_mentions_many_equal_times(cut: Callable[[GraphSnapshot], Split]) -> None:
    assert cut(baskets("a99")).protocol.endswith(
        "; 100% of them have the same time as a train behavior and were chosen by a seeded hash"
    )


def test_protocol_omits_distinct_times() -> None:
    rows = [("a", "x", 1.0, None), ("a", "y", 3.0, None), ("b", "x", 9.0, None), ("b", "z", 9.5, None)]
    assert "hash" not in leave_last_out(snapshot_of(rows)).protocol
