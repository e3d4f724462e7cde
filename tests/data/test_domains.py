"""Edge cases of domains: no items, no interactions, users without any domain."""

from importlib import resources

import numpy as np
import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import UsageError
from kgrec.recommender import Recommender

pytestmark = pytest.mark.slow

SCHEMA = {
    "name": "films and books",
    "nodes": {
        "User": {"key": "user_id"},
        "Item": {"key": "item_id", "properties": {"domain": "string"}},
        "Game": {"key": "game_id"},
        "Genre": {"key": "genre_id"},
    },
    "relationships": {
        "TOOK": {"from": "User", "to": ["Item", "Game"]},
        "HAS_GENRE": {"from": "Item", "to": "Genre"},
    },
    "roles": {"users": "User", "items": ["Item", "Game"], "behaviours": {"TOOK": {}}},
}
BY_PROPERTY = {**SCHEMA, "roles": {"users": "User", "items": "Item", "behaviours": {"TOOK": {}}, "domain": "domain"}}
BY_PROPERTY["relationships"] = {**SCHEMA["relationships"], "TOOK": {"from": "User", "to": "Item"}}
NUMBERS = np.arange(20)


def fitted(schema):
    """Users of two genres who see films of theirs; nobody has read a book, there is no game, and `idle` did nothing."""
    rng = np.random.default_rng(0)
    took = [(f"u{u:02}", f"f{n:02}") for u in range(60) for n in rng.choice(NUMBERS[u % 2 :: 2], 4, replace=False)]
    users, films = zip(*took, strict=True)
    items = [f"{domain}{n:02}" for domain in "fb" for n in NUMBERS]
    nodes = {
        "User": pa.table({"user_id": [*sorted(set(users)), "idle"]}),
        "Item": pa.table({"item_id": items, "domain": [{"f": "films", "b": "books"}[i[0]] for i in items]}),
        "Genre": pa.table({"genre_id": ["even", "odd"]}),
    }
    edges = {
        ("User", "TOOK", "Item"): pa.table({"src": users, "dst": films}),
        ("Item", "HAS_GENRE", "Genre"): pa.table(
            {"src": items, "dst": [("even", "odd")[int(i[1:]) % 2] for i in items]}
        ),
    }
    graph = GraphSnapshot.from_tables(check(GraphTables(Schema.from_dict(schema), nodes, edges)))
    return Recommender(Config.checked({"signals": ["popularity", "item_knn", "metapaths"]})).fit(graph)


@pytest.fixture(scope="module")
def model():
    return fitted(BY_PROPERTY)


def test_recommend_domain_without_items_fails():
    model = fitted(SCHEMA)
    with pytest.raises(UsageError, match=r"no items in domain 'Game'. Load some"):
        model.recommend(["u00"], domain="Game")
    with pytest.raises(UsageError, match=r"unknown domain 'Song'. Expected one of Item"):
        model.recommend(["u00"], domain="Song")


def test_recommend_domain_without_interactions_uses_graph(model):
    listed = model.recommend(["u00", "u01"], k=5, domain="books")
    own = listed["user_id"].map({"u00": 0, "u01": 1})
    assert (listed["item_id"].str[1:].astype(int) % 2 == own).all()
    assert (listed["graph"] > 0).all()


def test_recommend_user_without_interactions_lists_popular(model):
    popular = model.recommend(["idle"], k=3, domain="films")
    unknown = model.recommend(["?"], k=3, domain="films", on_unknown="popular")
    assert popular["item_id"].tolist() == unknown["item_id"].tolist()
    assert (popular["score"] > 0).all()
    assert len(model.recommend(["idle"], k=3, domain="books")) == 3


def test_train_reports_domains_and_skipped_choices(kgrec, tmp_path):
    graph, files = tmp_path / "shop.lbug", resources.files("kgrec") / "cli" / "films_and_books"
    assert kgrec("load", "atomic", files, "--into", graph).code == 0
    told = kgrec("train", graph, "--set", "signals=popularity,ease", "--set", "budget=0.001s", "--k", 3).out
    for domain in ("book", "film"):
        unchecked = "not checked for negative transfer: no time left in the budget"
        assert f"{domain} is learned from: all domains, {unchecked}" in told
    assert "settings: defaults" not in told
    small = tmp_path / "small"
    small.mkdir()
    (small / "small.inter").write_text("user_id:token\titem_id:token\nu1\ti1\nu2\ti1\nu2\ti2\n")
    assert kgrec("load", "atomic", small, "--into", tmp_path / "small.lbug").code == 0
    told = kgrec("train", tmp_path / "small.lbug", "--split", "none", "--k", 3).out
    assert "settings: defaults, and an equal blend: too few behaviors for a validation split" in told
