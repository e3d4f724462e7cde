"""Cold start: simulated cold-start users in validation, and the blend for them."""

import numpy as np
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import uncut
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.hybrid.cold_start import SIMULATED_SHARE, simulate_cold_start
from kgrec.recommender import Recommender
from kgrec.runs.save_load import save_model
from kgrec.signals.domain_weighting import MIN_COLD_START_USERS
from kgrec.testing.shops import N_ITEMS, N_USERS, SCHEMA, TASTES, counts, rarely_shared, shops
from kgrec.training.pipeline import train, training_sets
from kgrec.training.report import blends_table
from kgrec.tuning import validation

pytestmark = pytest.mark.slow


def test_simulate_cold_start_takes_one_domain_of_some_users():
    graph = shops(n_new=100)
    taken = counts(graph, graph.behaviors.where(simulate_cold_start(graph, seed=0)))
    assert not taken[:, 0].any()
    assert not taken[:100].any()
    assert set(taken[:, 1]) == {0, 3}
    assert (taken[:, 1] == 3).sum() == round(SIMULATED_SHARE * 500)
    np.testing.assert_array_equal(simulate_cold_start(graph, 0), simulate_cold_start(graph, 0))
    assert (simulate_cold_start(graph, 0) != simulate_cold_start(graph, 1)).any()


@pytest.mark.parametrize("n_new", [0, MIN_COLD_START_USERS - 1])
def test_simulate_cold_start_needs_cold_start_users(n_new):
    assert not simulate_cold_start(shops(n_new), seed=0).any()


def test_cold_start_holdout_returns_to_final_fit():
    graph = shops(n_new=100)
    parts = training_sets(uncut(graph), Config(), "train")
    new = (counts(graph, parts.tuning_graph.behaviors)[:, 1] == 0) & (np.arange(N_USERS) >= 100)
    assert new.sum() == round(SIMULATED_SHARE * 500)
    assert (counts(graph, parts.held_out)[new, 1] == 3).all()
    assert len(parts.final_graph.behaviors) == len(graph.behaviors)


def test_sampled_holdout_weighs_cold_start_users(monkeypatch):
    def asked():
        return next(
            holdout
            for holdout in validation.validation_sets(parts.tuning_graph, parts.held_out)
            if holdout.domain == "b"
        )

    parts = training_sets(uncut(shops(n_new=100)), Config(), "train")
    everybody = asked()
    monkeypatch.setattr(validation, "MAX_SCORES", 40 * 2 * N_ITEMS)
    holdout = asked()
    new, of_all = (np.diff(of.seen.indptr) == 0 for of in (holdout, everybody))
    assert (new.sum(), (~new).sum()) == (20, 40)
    assert (everybody.weight == 1).all()
    assert holdout.weight.mean() == pytest.approx(1)
    ndcg = holdout.evaluate(np.tile(np.arange(N_ITEMS, dtype=np.float32), (60, 1)))
    expected = np.average([ndcg[new].mean(), ndcg[~new].mean()], weights=[of_all.sum(), (~of_all).sum()])
    assert validation.mean_metric(
        [holdout], lambda users: np.tile(np.arange(2.0 * N_ITEMS), (len(users), 1))
    ) == pytest.approx(expected, abs=1e-6)


def test_cold_start_blend_ranks_items_of_their_taste():
    graph = shops(n_new=100)
    config = Config.checked({"signals": ["popularity", "item_knn", "ials"], "budget": "10s"})
    model = train(uncut(graph), config, lambda _: {}, "train").model
    assert model.blends["b"].cold_start
    assert not model.blends["a"].cold_start
    listed = np.flatnonzero(graph.item_domains == "b")
    best = listed[model.score(np.arange(100)).total[:, listed].argmax(axis=1)]
    tastes = np.array([int(item[1:]) % TASTES for item in graph.items.ids])
    assert (tastes[best] == np.arange(100) % TASTES).mean() > 0.95


def gains(told, **more):
    """For both shops: what cold-start users gain from the hybrid, from popular items, and from the best ones."""
    truth = rarely_shared(told, **more)
    config = Config.checked({"signals": ["popularity", "item_knn", "ease"], "effort": "fast"})
    model = train(uncut(truth.graph), config, lambda _: {}, "train").model
    for shop, users in truth.new.items():
        listed = np.flatnonzero(truth.graph.item_domains == shop)
        popular = np.tile(truth.graph.interactions[:, listed].sum(axis=0), (len(users), 1))
        yield [
            truth.gain(shop, scores) for scores in (model.score(users).total[:, listed], popular, truth.chance[users])
        ]


def test_few_shared_users_teach_the_others():
    for hybrid, popular, best in gains(told=True):
        assert popular < 0.6 * best
        assert hybrid > 0.85 * best


@pytest.mark.parametrize("shared", [0.025, 0.05])
def test_untelling_shared_users_leave_popular_items(shared):
    for hybrid, popular, _ in gains(told=False, shared=shared):
        assert hybrid > 0.93 * popular


def test_non_overlapping_users_get_popular_similar_items(monkeypatch, tmp_path):
    """No user is in both shops; names of items say the taste, and the first of each is what most people of it buy."""
    monkeypatch.setattr(
        "kgrec.signals.content.tfidf.MAX_DOCUMENT_SHARE", 1.0
    )  # a taste's word is in a third of the titles
    rng, tastes = np.random.default_rng(0), ("oil", "ink", "clay")
    schema = SCHEMA.to_dict()
    schema["nodes"]["Item"]["properties"]["title"] = "string"
    schema["nodes"]["Item"]["text"] = "{title}"
    numbers = np.arange(N_ITEMS)
    ids = [f"{shop}{i:02}" for shop in "ab" for i in numbers]
    titles = [f"{tastes[i % TASTES]} number{shop}{i}" for shop in "ab" for i in numbers]
    chance = 1 / (1 + np.arange(N_ITEMS // TASTES))
    rows = [
        (f"{shop}{user:03}", f"{shop}{item:02}")
        for user in range(300)
        for shop in "ab"
        for item in rng.choice(numbers[user % TASTES :: TASTES], 3, replace=False, p=chance / chance.sum())
    ]
    users, bought = zip(*rows, strict=True)
    items = pa.table({"item_id": ids, "shop": [i[0] for i in ids], "title": titles})
    nodes = {"User": pa.table({"user_id": sorted(set(users))}), "Item": items}
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users, "dst": bought})}
    graph = GraphSnapshot.from_tables(check(GraphTables(Schema.from_dict(schema), nodes, edges)))
    model = Recommender(signals=["popularity", "item_knn", "ease", "lightgcn", "tfidf"], seed=1).fit(graph)
    report = model._model.blends["b"].cold_start.report
    assert report["kind"] == "non_overlapping"
    assert set(report["shares"]) == {"popularity", "item_knn", "ease", "lightgcn", "tfidf"}
    assert report["shares"]["popularity"] + report["shares"]["tfidf"] == pytest.approx(1)
    assert min(report["shares"]["popularity"], report["shares"]["tfidf"]) > 0
    blends = blends_table(save_model(tmp_path / "run", model._trained, model.config).choices).set_index("blend")
    assert blends.loc["cold-start users of b", "gain over the best signal"] == "no validation users"
    strangers = [f"a{user:03}" for user in range(300)]
    found = model.recommend(strangers, k=3, domain="b")
    taste = found["item_id"].str[1:].astype(int) % TASTES
    own = found["user_id"].str[1:].astype(int) % TASTES
    first = found[found["rank"] == 1]
    assert (taste == own)[first.index].mean() > 0.9
    assert (first["item_id"].str[1:].astype(int) < TASTES).mean() > 0.9
    assert not found["graph"].any()
