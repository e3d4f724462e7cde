"""New users: they are withheld to learn their blend, and never ranked worse than by popularity."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from kgrec.config import Config
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given
from kgrec.hybrid.new_users import MAX_SHARE, SHARE_WITHOUT_NEW_USERS, simulate_new_users
from kgrec.recommender import Recommender
from kgrec.signals.cf import AttributeRidge
from kgrec.testing.graphs import two_communities
from kgrec.testing.new_users import N_NEW, N_TASTES, N_USERS, TAKEN, users_of_trades
from kgrec.training.pipeline import training_sets

SIGNALS = ["popularity", "attribute_ridge", "ials"]


def trades(destroyed: bool = False) -> Split:
    return by_given(GraphSnapshot.from_tables(users_of_trades(destroyed=destroyed)))


def fitted(split: Split) -> Recommender:
    return Recommender(signals=SIGNALS, effort="fast", seed=1).fit(split)


def test_whole_users_are_withheld() -> None:
    split = trades()
    parts = training_sets(split, Config(), "train")
    left = np.diff(parts.tuning_graph.interactions.indptr)
    asked = np.diff(parts.tuning_graph.pairs(parts.held_out).indptr)
    withheld = (left == 0) & (np.arange(N_USERS) < N_USERS - N_NEW)
    assert withheld.sum() == int(MAX_SHARE * (N_USERS - N_NEW))
    assert (asked[withheld] == TAKEN).all()
    assert len(parts.final_graph.behaviors) == len(split.train.behaviors)


def test_few_are_withheld_without_new_users() -> None:
    graph = trades().graph
    withheld = simulate_new_users(graph, seed=0)
    assert withheld.sum() == TAKEN * max(20, round(SHARE_WITHOUT_NEW_USERS * N_USERS))
    np.testing.assert_array_equal(withheld, simulate_new_users(graph, 0))
    assert (withheld != simulate_new_users(graph, 1)).any()


def test_nobody_is_withheld_without_attributes() -> None:
    assert not simulate_new_users(GraphSnapshot.from_tables(two_communities()), seed=0).any()


def test_new_users_get_what_their_attributes_say() -> None:
    split = trades()
    model = fitted(split)
    blend = model._model.blends["Item"].new_users
    assert blend is not None
    assert blend.kind != "popularity"
    assert blend.report["options"][blend.kind] > 1.5 * blend.report["options"]["popularity"]
    assert "new users of Item" in model.report_.scores
    new = split.graph.users.ids[N_USERS - N_NEW :]
    found = model.recommend(new.tolist(), k=3)
    taste = split.graph.interactions.toarray().reshape(N_USERS, -1, N_TASTES).sum(axis=1).argmax(axis=1)
    own = taste[split.graph.users.nums(found["user_id"])]
    assert (found["item_id"].str[1:].astype(int) % N_TASTES == own).mean() > 0.95
    assert (found["basis"] == "description").all()
    np.testing.assert_allclose(found["graph"] + found["cf"] + found["content"], found["score"], rtol=1e-4, atol=1e-5)


def test_shuffled_attributes_fall_back_to_popularity(tmp_path: Path) -> None:
    split = trades(destroyed=True)
    model = fitted(split)
    assert model._model.blends["Item"].new_users.kind == "popularity"
    new = split.graph.users.ids[N_USERS - N_NEW :].tolist()
    found = model.recommend(new, k=5)
    popular = np.argsort(-model._model.popularity, kind="stable")[:5]
    assert found["item_id"].tolist() == model._model.train.items.ids[popular].tolist() * N_NEW
    assert (found["basis"] == "popularity").all()
    model.save(tmp_path / "model")
    again = Recommender.load(tmp_path / "model").recommend(new, k=5)
    assert again.equals(found)


def test_attribute_ridge_scores_users_added_later() -> None:
    now = trades().train
    tables, kept = now.to_tables(), now.ids("User")[: N_USERS - N_NEW]
    nodes = {**tables.nodes, "User": tables.nodes["User"].slice(0, N_USERS - N_NEW)}
    edges = {kind: table.filter(pc.is_in(table["src"], kept)) for kind, table in tables.edges.items()}
    before = GraphSnapshot.from_tables(replace(tables, nodes=nodes, edges=edges))
    folded = AttributeRidge().fit(before, {}).fold_in(GraphDelta(before, now, {}))
    new = np.arange(N_USERS - N_NEW, N_USERS)
    np.testing.assert_array_equal(folded.scores(new), AttributeRidge().fit(now, {}).scores(new))
