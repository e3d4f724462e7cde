"""Planted noise is found row by row; dropping it restores the accuracy of a model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.histories import strengths
from kgrec.data.noise import is_noise, noise, without_noise
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_given
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import UsageError
from kgrec.recommender import Recommender
from kgrec.signals.cf.popularity import Popularity
from kgrec.signals.graph.adjacency import _directed
from kgrec.testing.graphs import LIKED, two_communities, withheld_items
from kgrec.training.pipeline import training_sets

NOW = 1.7e9
N_BOTS = 600
SCHEMA = Schema.from_dict(
    {
        "name": "shop",
        "nodes": {"User": {"key": "user_id"}, "Item": {"key": "item_id"}},
        "relationships": {
            "RATED": {"from": "User", "to": "Item", "properties": {"stars": "float", "at": "float"}},
            "VIEWED": {"from": "User", "to": "Item", "properties": {"at": "float"}},
            "LIKED": {"from": "User", "to": "Item"},
            "DISLIKED": {"from": "User", "to": "Item"},
        },
        "roles": {
            "users": "User",
            "items": "Item",
            "behaviours": {
                "RATED": {"weight": "stars", "time": "at"},
                "VIEWED": {"time": "at"},
                "LIKED": {},
                "DISLIKED": {},
            },
        },
    }
)


def shop(**rows):
    """A graph of behaviors: type → rows of user, item, then the type's properties. Equal rows are not merged."""
    frames = {
        type_: pd.DataFrame(of, columns=["src", "dst", *SCHEMA.relationships[type_].properties])
        for type_, of in rows.items()
    }
    ends = pd.concat(frames.values())
    nodes = {
        "User": pa.table({"user_id": sorted(ends["src"].unique())}),
        "Item": pa.table({"item_id": sorted(ends["dst"].unique())}),
    }
    edges = {("User", type_, "Item"): pa.Table.from_pandas(frame) for type_, frame in frames.items()}
    return GraphSnapshot.from_tables(GraphTables(SCHEMA, nodes, edges))


def people(n_users=30, n_each=12, n_items=200, seed=0, start=NOW):
    """Views of people who behave as people do: at any time, now this and now that."""
    rng = np.random.default_rng(seed)
    return [
        (f"u{user:02}", f"i{item:03}", start + float(second))
        for user in range(n_users)
        for item, second in zip(rng.permutation(n_items)[: n_each + user % 5], rng.integers(0, 10**7, 99), strict=False)
    ]


def rows(found, *columns):
    return list(found[list(columns)].itertuples(index=False, name=None))


def test_noise_finds_nothing_among_normal_users():
    snapshot = shop(VIEWED=people())
    assert noise(snapshot).empty
    assert list(noise(snapshot).columns) == ["kind", "user_id", "item_id", "count", "detail"]
    assert without_noise(snapshot) is snapshot


def test_noise_finds_near_duplicates():
    again = [("u00", "x", NOW), ("u00", "x", NOW), ("u01", "x", NOW), ("u01", "x", NOW + 3), ("u01", "x", NOW + 5000)]
    snapshot = shop(VIEWED=[*people(), *again], RATED=[("u01", "x", 3.0, NOW)])
    assert rows(noise(snapshot), "kind", "user_id", "item_id", "count", "detail") == [
        ("duplicate", "u00", "x", 1, "VIEWED more than once at the same time"),
        ("near duplicate", "u01", "x", 1, "VIEWED more than once within 10 seconds"),
    ]
    left = without_noise(snapshot)
    assert len(left.behaviors) == len(snapshot.behaviors) - 2
    assert sorted(left.behaviors.time[left.behaviors.item_num == left.items.nums(["x"])[0]]) == [
        NOW,
        NOW,
        NOW + 3,
        NOW + 5000,
    ]


def test_noise_ignores_ordinal_times():
    order = [(user, item, time - NOW) for user, item, time in people()]
    again = [("u01", "x", 1.0), ("u01", "x", 2.0), *(("u02", f"i{n:03}", float(n)) for n in range(60))]
    assert noise(shop(VIEWED=[*order, *again])).empty


@pytest.mark.parametrize(
    ("views", "detail"),
    [
        ([(f"i{n % 100:03}", 7919.0 * n**1.5) for n in range(500)], "500 behaviors; the median is 14"),
        ([(f"i{n:03}", 7919.0 * n**1.5) for n in range(190)], "190 of all 199 items"),
        ([(f"i{n:03}", n * n % 89 / 100) for n in range(30)], "30 within one second; the median is 1"),
        ([(f"i{n:03}", 60.5 * n + n // 15 * 5000) for n in range(30)], "97% of all gaps are about 60.5 seconds"),
    ],
    ids=["volume", "whole catalog", "burst", "regular"],
)
def test_noise_finds_bots_by_each_rule(views, detail):
    bot = [("bot", item, NOW + time) for item, time in views]
    snapshot = shop(VIEWED=[*people(), *bot])
    found = noise(snapshot)
    assert rows(found, "kind", "user_id", "item_id", "count", "detail") == [("bot-like", "bot", "", len(bot), detail)]
    assert snapshot.users.ids[snapshot.behaviors.user_num[is_noise(snapshot)]].tolist() == ["bot"] * len(bot)


def test_noise_ignores_times_in_days():
    days = [(user, item, NOW - NOW % 86400 + time % 30 * 86400) for user, item, time in people()]
    daily = [("u00", f"j{n:03}", NOW - NOW % 86400 + n * 86400) for n in range(30)]
    at_once = [("u01", f"j{n:03}", NOW - NOW % 86400) for n in range(30)]
    assert noise(shop(VIEWED=[*days, *daily, *at_once])).empty


def test_noise_finds_contradictions():
    stars = [("u00", "a", 5.0, NOW), ("u00", "a", 1.0, NOW + 9e4), ("u01", "a", 5.0, NOW), ("u01", "a", 3.0, NOW + 9e4)]
    graded = [("u02", f"i{n:03}", 4.0, NOW + n**2 * 100) for n in range(9)]
    both = {"LIKED": [("u03", "a"), ("u03", "b")], "DISLIKED": [("u03", "b"), ("u04", "a")]}
    snapshot = shop(VIEWED=people(), RATED=stars + graded, **both)
    assert rows(noise(snapshot), "kind", "user_id", "item_id", "count", "detail") == [
        ("contradiction", "u00", "a", 2, "RATED 5, then RATED 1"),
        ("contradiction", "u03", "b", 2, "LIKED 1, then DISLIKED 1"),
    ]
    left = without_noise(snapshot)
    assert left.interactions.nnz == snapshot.interactions.nnz  # what was seen stays seen
    stays = left.behaviors.where(left.behaviors.type_num == 0)
    assert stays.weight[(stays.user_num == 0)].tolist() == [1.0]


def test_noise_amounts_are_not_ratings():
    pieces = [(f"u{n:02}", "a", 1.0, NOW + n) for n in range(30)]
    assert noise(shop(VIEWED=people(), RATED=[*pieces, ("u00", "a", 9.0, NOW + 9e6)])).empty


@pytest.fixture(scope="module")
def flooded():
    """Two communities, and programs that every minute like one item of the first or five of the second in turn."""
    tables = two_communities(seed=1, n_users=6)
    rng = np.random.default_rng(0)
    liked = tables.edges[LIKED].to_pandas()
    # Times of people are far apart, and keep their order, so that the withheld item stays a user's last.
    liked["timestamp"] = NOW + liked["timestamp"] * 7919 + rng.integers(0, 5000, len(liked))
    items = tables.nodes["Item"].column("item_id").to_numpy()
    first = np.isin(items, liked.loc[liked["src"].isin(_friends(liked)), "dst"])
    picks = [[rng.choice(items[first]), *rng.permutation(items[~first])[:5]] for _ in range(N_BOTS)]
    bots = pd.concat([_bot(num, picked) for num, picked in enumerate(picks)])
    users = pa.table({"user_id": [*tables.nodes["User"].column("user_id").to_pylist(), *bots["src"].unique()]})
    both = {**tables.edges, LIKED: pa.Table.from_pandas(pd.concat([liked, bots]), preserve_index=False)}
    return GraphSnapshot.from_tables(check(replace(tables, nodes={**tables.nodes, "User": users}, edges=both)))


def _friends(liked):
    """Return the users who like something that the first one does: a community."""
    own = liked.loc[liked["src"] == liked["src"].iloc[0], "dst"]
    return liked.loc[liked["dst"].isin(own), "src"]


def _bot(num, items):
    times = NOW + 1e4 * num + 60.5 * np.arange(36)
    return pd.DataFrame(
        {"src": f"bot{num}", "dst": np.tile(items, 6), "rating": 5.0, "timestamp": times, "split": "train"}
    )


def found_first(model, snapshot):
    """Share of people whose withheld item is recommended first."""
    people_ = [user for user in snapshot.users.ids if not user.startswith("bot")]
    best = model.recommend(people_, k=1)["item_id"]
    return (best.to_numpy() == snapshot.items.ids[withheld_items(snapshot)]).mean()


def test_dropping_bots_restores_accuracy(flooded):
    split = by_given(flooded)
    kept, dropped = (
        found_first(Recommender(signals="ials", noise=noise, budget="1s").fit(split), flooded)
        for noise in ("keep", "drop")
    )
    assert kept < 0.6
    assert dropped == 1


@pytest.mark.parametrize("fit_on", ["train", "train+valid"])
def test_noise_is_dropped_from_train_only(flooded, fit_on):
    split = by_given(flooded)
    valid = np.flatnonzero(split.is_test)[:5]
    split = replace(split, is_valid=np.isin(np.arange(len(split.is_test)), valid))
    parts = training_sets(split, Config(noise="drop"), fit_on)
    assert len(parts.held_out) == 5
    for part in (parts.tuning_graph, parts.final_graph):
        assert not set(part.users.ids[part.behaviors.user_num]) & {f"bot{num}" for num in range(N_BOTS)}
    assert np.isin(parts.final_graph.behaviors.split, ["test"]).sum() == 0


@pytest.fixture(scope="module")
def weighed(flooded):
    """The flooded graph with its noise weighed, and which users are bots."""
    return without_noise(flooded, "weigh"), np.char.startswith(flooded.users.ids.astype(str), "bot")


def test_weighed_noise_gets_half_confidence(flooded, weighed):
    graph, is_bot = weighed
    assert (np.diff(graph.interactions.indptr) == np.diff(flooded.interactions.indptr)).all()
    assert set(graph.interactions[is_bot].data) == {0.5}
    assert set(graph.interactions[~is_bot].data) == {1.0}
    assert graph.digest == flooded.digest
    assert without_noise(flooded, "keep") is flooded


def test_weighed_pair_with_clean_row_has_full_weight():
    again = [("u01", "x", NOW), ("u01", "x", NOW + 3)]
    graph = without_noise(shop(VIEWED=[*people(), *again]), "weigh")
    assert sorted(graph.behaviors.confidence)[:2] == [0.5, 1]
    assert set(graph.interactions.data) == {1.0}


def test_every_signal_uses_noise_confidence(flooded, weighed):
    graph, is_bot = weighed
    of_bots = np.bincount(flooded.behaviors.item_num[is_bot[flooded.behaviors.user_num]], minlength=flooded.n_items)
    counts, half = (np.expm1(Popularity().fit(g, {}).scores(np.array([0]))[0]) for g in (flooded, graph))
    np.testing.assert_allclose(counts - half, of_bots / 2, rtol=1e-3)
    for influence in (0.0, 1.0):
        ratio = strengths(graph, influence).data / strengths(flooded, influence).data
        assert set(np.round(ratio, 5)) == {0.5, 1.0}
    edges = [_directed(g, 0.0, 0.0) for g in (flooded, graph)]
    assert edges[1].sum() == edges[0].sum() - flooded.interactions[is_bot].nnz / 2


def test_noise_confidence_survives_save_and_load(flooded, tmp_path):
    model = Recommender(signals="popularity,item_knn", noise="weigh", budget="1s").fit(by_given(flooded))
    assert set(model._model.train.interactions.data) == {0.5, 1.0}
    loaded = Recommender.load(model.save(tmp_path / "run").folder)
    assert set(loaded._model.train.interactions.data) == {0.5, 1.0}
    users = [user for user in flooded.users.ids if not user.startswith("bot")]
    pd.testing.assert_frame_equal(loaded.recommend(users, k=3), model.recommend(users, k=3))


def test_noise_without_interactions_is_empty():
    snapshot = shop(VIEWED=people())
    nothing = snapshot.with_behaviors(np.zeros(len(snapshot.behaviors), dtype=bool))
    assert noise(nothing).empty
    assert without_noise(nothing) is nothing


def test_dropping_every_interaction_fails(flooded):
    bots = np.char.startswith(flooded.users.ids.astype(str), "bot")
    only = flooded.with_behaviors(bots[flooded.behaviors.user_num])
    with pytest.raises(UsageError, match=r"noise=drop leaves no interaction to learn from. See kgrec audit data"):
        Recommender(signals="popularity", noise="drop").fit(only)


def test_fold_in_drops_noise(flooded):
    model = Recommender(signals="popularity", noise="drop", budget="1s").fit(by_given(flooded))
    grown = model.fold_in(by_given(flooded))
    assert grown._model.train.digest == model._model.train.digest
