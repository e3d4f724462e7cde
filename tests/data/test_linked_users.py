"""Linked users: their behaviors are merged for training, and every linked id gets the same list."""

import numpy as np
import pyarrow as pa
import pytest

import kgrec
from kgrec.config import Config
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import uncut
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, SchemaError, UsageError
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.jobs.train import train_run
from kgrec.recommender import Recommender
from kgrec.testing.shops import SCHEMA

LINKED = Schema.from_dict(
    {
        **SCHEMA.to_dict(),
        "relationships": {**SCHEMA.to_dict()["relationships"], "SAME_AS": {"from": "User", "to": "User"}},
        "roles": {**SCHEMA.to_dict()["roles"], "same": "SAME_AS"},
    }
)
CONFIG = Config.checked({"signals": ["popularity", "item_knn"]})


def tables(links, bought=None):
    """Readers r0 … and viewers v0 …: of each number the same taste, in books and in films."""
    rng = np.random.default_rng(0)
    rows = bought or [
        (f"{shop}{user:02}", f"{shop}{item:02}")
        for user in range(40)
        for shop in "rv"
        for item in rng.choice(np.arange(user % 2, 20, 2), 4, replace=False)
    ]
    users, items = zip(*rows, strict=True)
    nodes = {
        "User": pa.table({"user_id": sorted(set(users))}),
        "Item": pa.table({"item_id": sorted(set(items)), "shop": [i[0] for i in sorted(set(items))]}),
    }
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users, "dst": items})}
    if links:
        edges["User", "SAME_AS", "User"] = pa.table(dict(zip(("src", "dst"), zip(*links, strict=True), strict=True)))
    return check(GraphTables(LINKED, nodes, edges))


def graph_of(links, bought=None):
    return GraphSnapshot.from_tables(tables(links, bought))


ALL = [(f"v{user:02}", f"r{user:02}") for user in range(40)]


def test_merge_assigns_interactions_to_first_linked_user():
    graph = graph_of(ALL)
    one = merge_linked_users(graph)
    matrix, apart = one.interactions.toarray(), graph.interactions.toarray()
    np.testing.assert_array_equal(matrix[:40], apart[:40] + apart[40:])
    assert not matrix[40:].any()
    assert merge_linked_users(one) is one


def test_merge_follows_chains_of_links():
    bought = [("a", "x1"), ("b", "y1"), ("c", "z1"), ("d", "x1")]
    one = merge_linked_users(graph_of([("c", "b"), ("a", "b")], bought))
    assert one.interactions.toarray()[0].tolist() == [1, 1, 1]
    assert one.user_nums(["a", "b", "c", "d", "e"]).tolist() == [0, 0, 0, 3, -1]


def test_merge_without_links_returns_the_graph():
    graph = graph_of([])
    assert merge_linked_users(graph) is graph


def test_merge_two_linked_users_of_one_domain_fails():
    bought = [("a", "x1"), ("b", "x2"), ("c", "y1"), ("d", "y1"), ("e", "y2"), ("f", "z1")]
    with pytest.raises(DataError) as error:
        merge_linked_users(graph_of([("a", "c"), ("c", "b"), ("d", "e"), ("e", "f")], bought))
    assert [p.found for p in error.value.problems] == [
        "linked users a, b who all have behaviors in domain 'x'",
        "linked users d, e who all have behaviors in domain 'y'",
    ]


def test_recommend_is_equal_for_linked_users():
    model = Recommender(CONFIG).fit(graph_of(ALL))
    for shop in "rv":
        lists = [model.recommend([id_], k=5, domain=shop).drop(columns="user_id") for id_ in ("r03", "v03")]
        assert lists[0].equals(lists[1])
        bought = graph_of(ALL).interactions[graph_of(ALL).users.nums([f"{shop}03"])[0]].indices
        assert not set(lists[0]["item_id"]) & set(graph_of(ALL).items.ids[bought])
        assert (lists[0]["item_id"].str[1:].astype(int) % 2 == 1).all()
    one, other = (model.explain(user, "v01").to_dict() for user in ("v03", "r03"))
    assert (one.pop("user_id"), other.pop("user_id")) == ("v03", "r03")
    assert one == other


def test_saved_run_keeps_links(tmp_path):
    place = str(tmp_path / "shops.lbug")
    with kgrec.open(place, create=True) as store:
        store.write(tables(ALL))
    run = train_run(place, CONFIG, split="none", k=3)
    model = Recommender.load(run.folder)
    listed = run.table("recommendations").to_pandas()
    assert listed["user_id"].nunique() == 80
    assert model.recommend(["v03"], k=3)["item_id"].tolist() == model.recommend(["r03"], k=3)["item_id"].tolist()


def test_refresh_merges_linked_users(tmp_path):
    place = str(tmp_path / "shops.lbug")
    assert refresh(RefreshRequest(place, tables(ALL), config=CONFIG))["result"] == "published"
    assert refresh(RefreshRequest(place, tables(ALL)))["result"] == "nothing new"


def test_train_on_unmerged_split_fails():
    with pytest.raises(UsageError, match="merge_linked_users"):
        Recommender(CONFIG).fit(uncut(graph_of(ALL)))


@pytest.mark.parametrize("same", ["BOUGHT", "KNOWS"])
def test_same_role_needs_a_type_within_one_user_label(same):
    data = LINKED.to_dict()
    data["roles"]["same"] = same
    with pytest.raises(SchemaError, match=r"roles\.same"):
        Schema.from_dict(data)
