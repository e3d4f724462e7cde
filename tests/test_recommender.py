"""The estimator on the cinema data: three tastes, each with its genre, directors and words."""

import numpy as np
import pandas as pd
import pytest

from kgrec import Recommender, StoreError, UnknownItem, UnknownUser, UsageError
from kgrec.config import METRICS
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import by_random
from kgrec.evaluation.evaluate import measure, metrics
from kgrec.hybrid.model import HYBRID
from kgrec.store.load import load

pytestmark = pytest.mark.slow

CINEMA = "tests/data/cinema"


@pytest.fixture(scope="module")
def snapshot():
    return GraphSnapshot.from_tables(load("atomic", CINEMA))


@pytest.fixture(scope="module")
def split(snapshot):
    return by_random(snapshot, 0.2, seed=1)


@pytest.fixture(scope="module")
def model(split):
    return Recommender(seed=0).fit(split)


@pytest.fixture(scope="module")
def measured(model, split):
    return metrics(measure(model._model, split, (5, 10)), split.protocol)


def test_recommend_finds_tastes(measured):
    models = measured["models"]
    assert models[HYBRID]["NDCG@10"] > 1.5 * models["popularity"]["NDCG@10"]
    assert models[HYBRID]["NDCG@10"] > 0.85 * max(found["NDCG@10"] for found in models.values())


def test_shuffled_behaviors_destroy_the_result(snapshot, split, measured):
    rng = np.random.default_rng(0)
    tables = split.train.to_tables()
    edge_type = next(t for t in tables.edges if tables.schema.is_behavior(t))
    table = tables.edges[edge_type]
    shuffled = table.set_column(1, "dst", table.column("dst").take(rng.permutation(table.num_rows)))
    broken = GraphSnapshot.from_tables(type(tables)(tables.schema, tables.nodes, {**tables.edges, edge_type: shuffled}))
    model = Recommender(signals=("ials", "lightgcn")).fit(broken)
    result = metrics(measure(model._model, split, (5, 10)), split.protocol)
    assert result["models"][HYBRID]["NDCG@10"] < 0.7 * measured["models"][HYBRID]["NDCG@10"]


def test_lists_have_ids_ranks_and_shares_of_the_score(model, snapshot):
    frame = model.recommend(["u1", "u2"], k=5)
    assert list(frame.columns) == ["user_id", "item_id", "score", "rank", "graph", "cf", "content", "basis"]
    assert frame.groupby("user_id")["rank"].apply(list).to_dict() == {"u1": [1, 2, 3, 4, 5], "u2": [1, 2, 3, 4, 5]}
    assert frame["item_id"].isin(snapshot.items.ids).all()
    assert (frame.groupby("user_id")["score"].diff().dropna() <= 0).all()
    np.testing.assert_allclose(frame["graph"] + frame["cf"] + frame["content"], frame["score"], rtol=1e-4, atol=1e-4)


def test_recommend_many_users_equals_one_by_one(model, snapshot, monkeypatch):
    users = list(snapshot.users.ids[:7])
    monkeypatch.setattr("kgrec.hybrid.audience.BATCH_SCORES", 1500)
    batches = model.recommend(users, k=4)
    single = pd.concat([model.recommend([user], k=4) for user in users], ignore_index=True)
    assert batches["item_id"].tolist() == single["item_id"].tolist()
    np.testing.assert_allclose(batches["score"], single["score"], rtol=1e-4, atol=1e-4)


def test_list_of_one_user_equals_its_rows_of_all(model, snapshot):
    everyone = model.recommend(snapshot.users.ids, k=20)
    for user in snapshot.users.ids[:5]:
        rows = everyone[everyone["user_id"] == user].reset_index(drop=True)
        pd.testing.assert_frame_equal(model.recommend([user], k=20), rows, rtol=1e-4, atol=1e-5)


def test_recommend_excludes_seen_items_by_default(model):
    train = model._model.train
    seen = {train.items.ids[i] for i in train.interactions[train.users.nums(["u1"])[0]].indices}
    everything = model.recommend(["u1"], k=10_000)
    assert set(everything["item_id"]) == set(train.items.ids) - seen
    assert set(model.recommend(["u1"], k=10_000, include_seen=True)["item_id"]) == set(train.items.ids)


def test_filters_apply_before_top_k(model):
    train = model._model.train
    unseen = model.recommend(["u1"], k=100)["item_id"].tolist()
    assert model.recommend(["u1"], items=unseen[-2:])["item_id"].tolist() == unseen[-2:]
    assert model.recommend(["u1"], k=3, exclude=unseen[:2])["item_id"].tolist() == unseen[2:5]
    year = train.nodes["Item"].column("release_year")[int(train.items.nums([unseen[5]])[0])].as_py()
    assert unseen[5] in model.recommend(["u1"], k=100, where={"release_year": year})["item_id"].tolist()


def test_unknown_user_fails_or_gets_popular_items(model):
    with pytest.raises(UnknownUser, match=r"unknown user: 'u1x'\. .*on_unknown='popular'"):
        model.recommend(["u1x"])
    popular = model.recommend(["stranger"], k=3, on_unknown="popular")
    expected = np.argsort(-model._model.popularity, kind="stable")[:3]
    assert popular["item_id"].tolist() == model._model.train.items.ids[expected].tolist()
    np.testing.assert_allclose(popular["cf"], popular["score"])
    with pytest.raises(UsageError, match=r"on_unknown='maybe'\. Expected 'raise' or 'popular'"):
        model.recommend(["u1"], on_unknown="maybe")


def test_names_follow_their_id_columns(model: Recommender) -> None:
    train = model._model.train
    similar = model.similar_items(train.items.ids[:2].tolist(), k=2, names=True)
    assert similar.columns[:4].tolist() == ["item_id", "name", "similar_item_id", "similar_name"]
    for ids, name in (("item_id", "name"), ("similar_item_id", "similar_name")):
        assert similar[name].tolist() == train.item_names[train.items.nums(similar[ids])].tolist()
    listed = model.recommend(["u1"], k=3, names=True)
    assert listed.columns[1:3].tolist() == ["item_id", "name"]
    assert listed["name"].tolist() == train.item_names[train.items.nums(listed["item_id"])].tolist()


def test_wrong_use_says_what_to_do(model):
    with pytest.raises(UsageError, match="k"):
        model.recommend(["u1"], k=0)
    with pytest.raises(UsageError, match=r"users='u1'; expected a list of ids, such as \['u1'\]"):
        model.recommend("u1")
    with pytest.raises(UsageError, match=r"not fitted\. Call fit"):
        Recommender().recommend(["u1"])
    with pytest.raises(UsageError, match=r"unknown domain 'books'. Expected one of Item"):
        model.recommend(["u1"], domain="books")
    with pytest.raises(UnknownItem, match="near matches: f1"):
        model.similar_items(["f1x"])
    with pytest.raises(UsageError, match=r"the data are of type list\. Expected a frame of interactions"):
        Recommender(signals=["popularity"]).fit([("u1", "f1")])
    with pytest.raises(StoreError, match=r"no graph at .*shop\.lbug"):
        Recommender(signals=["popularity"]).fit("shop.lbug")
    assert model.recommend([]).empty


def test_user_without_train_rows_gets_popular_items(snapshot):
    behaviors = snapshot.behaviors
    new = snapshot.users.nums(["u3"])[0]
    model = Recommender(signals=("popularity", "ials")).fit(snapshot.with_behaviors(behaviors.user_num != new))
    popular = model._model.train.items.ids[np.argsort(-model._model.popularity, kind="stable")[:5]]
    assert model.recommend(["u3"], k=5)["item_id"].tolist() == popular.tolist()


def test_similar_items_and_users_share_taste(model):
    items = model.similar_items(model._model.train.items.ids, k=5)
    assert list(items.columns) == ["item_id", "similar_item_id", "score", "rank"]
    taste = items["similar_item_id"].str[1:].astype(int).sub(1) // 24
    assert (taste == (items["item_id"].str[1:].astype(int) - 1) // 24).mean() > 0.8
    users = model.similar_users(model._model.train.users.ids, k=5)
    assert list(users.columns) == ["user_id", "similar_user_id", "score", "rank"]
    assert (users["similar_user_id"].str[1:].astype(int) % 3 == users["user_id"].str[1:].astype(int) % 3).mean() > 0.8


def test_loaded_model_recommends_the_same(model, snapshot, tmp_path):
    model.save(tmp_path / "run")
    again = Recommender.load(tmp_path / "run")
    users = list(snapshot.users.ids)
    pd.testing.assert_frame_equal(again.recommend(users), model.recommend(users))
    assert again.config == model.config
    assert str(again.explain("u1", "f2")) == str(model.explain("u1", "f2"))


def test_same_seed_gives_the_same_lists(split, model, snapshot):
    again = Recommender(seed=0).fit(split)
    users = list(snapshot.users.ids)
    assert again.recommend(users)["item_id"].tolist() == model.recommend(users)["item_id"].tolist()


def test_explain_shares_sum_and_paths_are_named(model):
    best = model.recommend(["u1"], k=1)
    explanation = model.explain("u1", best["item_id"][0])
    assert explanation.rank == 1
    np.testing.assert_allclose(sum(explanation.shares.values()), explanation.score, rtol=1e-4)
    np.testing.assert_allclose(explanation.score, best["score"][0], rtol=1e-4)
    assert explanation.paths
    assert all(path.strength > 0 for path in explanation.paths)
    item_name = model._model.train.item_names[model._model.train.items.nums(best["item_id"])[0]]
    assert all(path.text.endswith(item_name) for path in explanation.paths)


def test_fit_with_too_few_interactions_to_tune(snapshot):
    first_of_user = np.r_[True, np.diff(snapshot.behaviors.user_num) > 0]
    model = Recommender(signals=("popularity", "ease")).fit(snapshot.with_behaviors(first_of_user))
    assert len(model.recommend(["u1"], k=5)) == 5


def test_fit_without_interactions_fails(snapshot):
    with pytest.raises(UsageError, match="no interaction to learn from"):
        Recommender().fit(snapshot.with_behaviors(np.zeros(len(snapshot.behaviors), dtype=bool)))


def test_fixed_setting_of_a_model_is_not_searched(communities: GraphSnapshot) -> None:
    model = Recommender(signals=["ease"], models={"ease": {"dropout": 0.1}}, budget="5s").fit(communities)
    tried = model.report_.choices["signals"]["ease"]["tried"]
    assert {one["settings"]["dropout"] for one in tried} == {0.1}
    assert len({one["settings"]["regularization"] for one in tried}) > 1
    assert model.report_.settings["ease"]["dropout"] == 0.1


@pytest.mark.parametrize("metric", [f"{name}@5" for name in METRICS])
def test_every_metric_can_be_tuned_for(communities: GraphSnapshot, metric: str) -> None:
    model = Recommender(signals=["popularity", "ease"], metric=metric, budget="1s").fit(communities)
    assert model.report_.metric == metric
    assert metric in model.report_.tried.columns
    assert 0 <= min(model.report_.scores.values()) <= 1
