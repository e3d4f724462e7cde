"""Every named query on a small graph in a real store, compared to pandas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from conftest import CINEMA

import kgrec
from kgrec.data.schema import Schema
from kgrec.errors import StoreError, UnknownItem, UnknownUser, UsageError
from kgrec.query.named import fill, named_queries, run_named
from kgrec.store.base import GraphStore
from kgrec.testing.named_queries import PARAMETERS, recommendations

NAMES = named_queries()["name"].tolist()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    with kgrec.open(tmp_path_factory.mktemp("explore") / "cinema.lbug", create=True) as store:
        kgrec.load("atomic", CINEMA, into=store)
        store.publish(pa.Table.from_pandas(recommendations(), preserve_index=False), "run-1")
        yield store


@pytest.fixture(scope="module")
def behaviors() -> pd.DataFrame:
    return _read("inter")[["user_id", "item_id"]].drop_duplicates()


@pytest.fixture(scope="module")
def around() -> pd.DataFrame:
    """Every relationship of an item to a node that is not a user."""
    linked = _read("link").set_index("entity_id")["item_id"]
    triples = _read("kg")
    kg = pd.DataFrame(
        {"item_id": triples["head_id"].map(linked), "type": triples["relation_id"], "node": triples["tail_id"]}
    )
    genres = _read("item")[["item_id", "genre"]].rename(columns={"genre": "node"}).assign(type="HAS_GENRE")
    return pd.concat([kg, genres], ignore_index=True)


def _read(name: str) -> pd.DataFrame:
    frame = pd.read_csv(CINEMA / f"cinema.{name}", sep="\t", dtype=str)
    return frame.rename(columns=lambda column: column.split(":")[0])


def run(graph: GraphStore, name: str, **more: object) -> pd.DataFrame:
    return run_named(graph, name, {**PARAMETERS.get(name, {}), **more})


@pytest.mark.parametrize("name", NAMES)
def test_named_query_returns_limited_rows(graph: GraphStore, name: str) -> None:
    assert len(run(graph, name)) > 0
    if "k=20" in named_queries().set_index("name").loc[name, "parameters"]:
        assert len(run(graph, name, k=1)) == 1


def test_overview_counts_relationships(graph: GraphStore) -> None:
    counts = run(graph, "overview").set_index("relationship")["relationships"].to_dict()
    assert counts == {
        "INTERACTED": len(_read("inter")),
        "RECOMMENDED": 270,
        "directed_by": 72,
        "set_in": 72,
        "HAS_GENRE": 72,
    }


def test_user_neighborhood(graph: GraphStore, behaviors: pd.DataFrame, around: pd.DataFrame) -> None:
    found = run(graph, "user_neighborhood", k=100).set_index("item_id")
    mine = behaviors.query("user_id == 'u1'")["item_id"]
    assert set(found.index) == set(mine)
    users = behaviors.groupby("item_id")["user_id"].nunique()
    nodes = around.groupby("item_id")["node"].nunique()
    assert found["other_users"].to_dict() == (users[mine] - 1).to_dict()
    assert found["nodes_around"].to_dict() == nodes[mine].to_dict()


def test_user_taste_compares_to_all_items(graph: GraphStore, behaviors: pd.DataFrame, around: pd.DataFrame) -> None:
    mine = behaviors.query("user_id == 'u1'")["item_id"]
    everywhere = around.groupby(["type", "node"])["item_id"].nunique()
    here = around[around["item_id"].isin(mine)].groupby(["type", "node"])["item_id"].nunique()
    expected = ((here / len(mine)) / (everywhere / 72))[here[here >= 3].index]
    found = run(graph, "user_taste", k=100).set_index(["relationship", "node_id"])["times_as_frequent"]
    assert found.is_monotonic_decreasing
    assert found.to_dict() == pytest.approx(expected.to_dict(), abs=0.005)


def test_why_item_names_the_nodes_in_between(graph: GraphStore, behaviors: pd.DataFrame, around: pd.DataFrame) -> None:
    mine = set(behaviors.query("user_id == 'u1'")["item_id"]) - {"f2"}
    at_item = around.query("item_id == 'f2'")
    others = around[around["item_id"].isin(mine)]
    expected = at_item.merge(others, on=["node", "type"]).groupby(["type", "node"])["item_id_y"].nunique()
    found = run(graph, "why_item").set_index(["from_theirs", "node_id"])
    assert found["items"].to_dict() == expected.to_dict()
    assert found["items_around"].is_monotonic_increasing
    assert all(len(names) <= items for names, items in zip(found["names"], found["items"], strict=True))


def test_why_item_by_users(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    mine = set(behaviors.query("user_id == 'u1'")["item_id"]) - {"f2"}
    fans = set(behaviors.query("item_id == 'f2'")["user_id"]) - {"u1"}
    both = behaviors[behaviors["user_id"].isin(fans) & behaviors["item_id"].isin(mine)]
    found = run(graph, "why_item_by_users", k=100).set_index("user_id")["shared_items"]
    assert found.to_dict() == both.groupby("user_id").size().to_dict()


def test_shared_items(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    items = behaviors.groupby("user_id")["item_id"].agg(set)
    found = run(graph, "shared_items")
    assert set(found["item_id"]) == items["u1"] & items["u4"]
    assert found["users"].is_monotonic_increasing


def test_shared_tastes(graph: GraphStore, behaviors: pd.DataFrame, around: pd.DataFrame) -> None:
    counts = behaviors.merge(around, on="item_id").groupby(["user_id", "type", "node"])["item_id"].nunique()
    expected = pd.concat([counts["u1"], counts["u4"]], axis=1, join="inner")
    found = run(graph, "shared_tastes", k=100).set_index(["relationship", "node_id"])
    assert found["items_of_user"].to_dict() == expected.iloc[:, 0].to_dict()
    assert found["items_of_other"].to_dict() == expected.iloc[:, 1].to_dict()


def test_users_sharing_items_are_those_with_the_largest_jaccard(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    items = behaviors.groupby("user_id")["item_id"].agg(set)
    mine = items.pop("u1")
    expected = items.map(lambda other: len(mine & other) / len(mine | other))
    found = run(graph, "users_sharing_items", k=10).set_index("user_id")["likeness"]
    assert found.tolist() == pytest.approx(expected.nlargest(10).tolist(), abs=5e-5)
    assert found.to_dict() == pytest.approx(expected[found.index].to_dict(), abs=5e-5)


def test_co_liked_items_have_the_largest_cosine(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    users = behaviors.groupby("item_id")["user_id"].agg(set)
    its = users.pop("f2")
    expected = users.map(lambda other: len(its & other) / (len(its) * len(other)) ** 0.5)
    found = run(graph, "co_liked", k=10).set_index("item_id")["likeness"]
    assert found.to_dict() == pytest.approx(expected[found.index].to_dict(), abs=5e-5)
    assert found.iloc[0] == pytest.approx(expected[users.map(lambda other: len(its & other) >= 2)].max(), abs=5e-5)


def test_items_sharing_nodes_share_most(graph: GraphStore, around: pd.DataFrame) -> None:
    shared = around.merge(around.query("item_id == 'f2'"), on=["type", "node"]).query("item_id_x != 'f2'")
    expected = shared.groupby("item_id_x")["node"].nunique()
    found = run(graph, "items_sharing_nodes", k=100).set_index("item_id")
    assert found["shared_nodes"].to_dict() == expected.to_dict()
    assert found["nodes"].map(len).to_dict() == expected.to_dict()


def test_bridging_items_reach_both_segments(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    by_segment = behaviors.merge(_read("user"), on="user_id").groupby(["item_id", "occupation"])["user_id"].nunique()
    counts = by_segment.unstack(fill_value=0)[["writer", "farmer"]]
    found = run(graph, "bridging_items", k=100).set_index("item_id")
    expected = counts[(counts > 0).all(axis=1)]
    assert found["users_of_one"].to_dict() == expected["writer"].to_dict()
    assert found["users_of_other"].to_dict() == expected["farmer"].to_dict()
    assert found[["users_of_one", "users_of_other"]].min(axis=1).is_monotonic_decreasing


def test_connecting_items_have_both_nodes(graph: GraphStore, around: pd.DataFrame) -> None:
    items = around.groupby("node")["item_id"].agg(set)
    found = run(graph, "connecting_items")
    assert set(found["item_id"]) == items["Western"] & items["p.21"]
    assert found["by_other"].map(list).tolist() == [["directed_by"]] * len(found)


def test_popular_in_segment(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    writers = behaviors.merge(_read("user").query("occupation == 'writer'"), on="user_id")
    expected = writers.groupby("item_id")["user_id"].nunique()
    found = run(graph, "popular_in_segment", k=100).set_index("item_id")["users_in_segment"]
    assert found.to_dict() == expected.to_dict()
    assert found.is_monotonic_decreasing


def test_cold_items_and_users_have_few_behaviors(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    for name, column, most in (("cold_items", "item_id", 12), ("cold_users", "user_id", 9)):
        counts = behaviors.groupby(column).size()
        found = run(graph, name, k=100)
        assert set(found[column]) == set(counts[counts <= most].index)


def test_hubs(graph: GraphStore) -> None:
    found = run(graph, "hubs", k=6)
    assert found["items"].tolist() == [24] * 6
    assert found["node_id"].tolist() == ["Romance", "Science-Fiction", "Western", "place.0", "place.1", "place.2"]


def test_recommended_as_published(graph: GraphStore) -> None:
    found = run(graph, "recommended")
    expected = recommendations().query("user_id == 'u1'")
    assert found["item_id"].tolist() == expected["item_id"].tolist()
    assert found["score"].tolist() == pytest.approx(expected["score"].tolist())
    assert set(found["run"]) == {"run-1"}


def test_recommended_to_lists_the_audience(graph: GraphStore) -> None:
    found = run(graph, "recommended_to")
    assert set(found["user_id"]) == set(recommendations().query("item_id == 'f1'")["user_id"])
    assert found["rank"].is_monotonic_increasing


def test_daring_recommendations(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    users = behaviors.groupby("item_id").size()
    lists = recommendations().groupby("item_id").size()
    found = run(graph, "daring_recommendations", k=100).set_index("item_id")["recommended_to"]
    assert found.to_dict() == lists[lists.index.isin(users[users <= 10].index)].to_dict()


def test_disagreement_is_largest_first(graph: GraphStore) -> None:
    gaps = (recommendations()["graph"] - recommendations()["cf"]).abs().nlargest(20)
    found = run(graph, "disagreement")
    assert (found["graph"] - found["cf"]).abs().tolist() == pytest.approx(gaps.tolist())


def test_coverage_adds_up(graph: GraphStore, behaviors: pd.DataFrame) -> None:
    users = behaviors.groupby("item_id").size()
    found = run(graph, "coverage").set_index("users_of_item")
    assert found["items"].to_dict() == {"1 to 9": (users < 10).sum(), "10 to 99": (users >= 10).sum()}
    assert found["recommendations"].sum() == 270
    assert found["recommended_items"].sum() == recommendations()["item_id"].nunique()


def test_unknown_query_names_near_matches(graph: GraphStore) -> None:
    with pytest.raises(UsageError, match=r"unknown query 'hub'. Expected one of .*near matches: hubs"):
        run_named(graph, "hub")


def test_wrong_parameter_explains_the_expected_one(graph: GraphStore) -> None:
    with pytest.raises(UsageError, match="unknown parameter 'users', missing parameter 'item'") as caught:
        run_named(graph, "co_liked", {"users": 3})
    assert "item (item): the item" in str(caught.value)
    assert "k=20 (number): maximum number of rows" in str(caught.value)
    with pytest.raises(UsageError, match=r"'k': found 'many'\. Expected an integer of at least 0"):
        run(graph, "hubs", k="many")


def test_unknown_ids_and_properties_name_near_matches(graph: GraphStore) -> None:
    with pytest.raises(UnknownUser, match=r"unknown user: 'u900'\. It has no node"):
        run(graph, "recommended", user="u900")
    with pytest.raises(UnknownItem, match="unknown item: 'f111'"):
        run(graph, "co_liked", item="f111")
    with pytest.raises(UsageError, match="unknown node: 'Wester'; near matches: Western"):
        run(graph, "connecting_items", one="Wester")
    with pytest.raises(UsageError, match=r"unknown user property 'job'\. Expected one of age, occupation"):
        run(graph, "popular_in_segment", property="job")


def test_query_before_publish_or_load_says_what_to_run(tmp_path: Path) -> None:
    with kgrec.open(tmp_path / "new.lbug", create=True) as store:
        with pytest.raises(StoreError, match=r"is empty\. Run: kgrec load"):
            run_named(store, "hubs")
        kgrec.load("atomic", CINEMA, into=store)
        with pytest.raises(UsageError, match=r"nothing is published .* Run: kgrec train .*, then kgrec publish"):
            run(store, "recommended")


@pytest.mark.parametrize("name", NAMES)
def test_queries_run_with_several_labels_and_types(name: str, market_graph: GraphStore) -> None:
    parameters = {"user": "u1", "other": "g1", "item": "b1", "property": "age", "value": 30, "one": 30}
    if name == "connecting_items":
        parameters |= {"one": "a1", "other": "a1"}
    if name == "bridging_items":
        parameters |= {"other": 31}
    wanted = named_queries().set_index("name").loc[name, "parameters"].split(", ")
    found = run_named(market_graph, name, {key: value for key, value in parameters.items() if key in wanted})
    assert not re.search("<[A-Z]", " ".join(found.columns))


@pytest.fixture(scope="module")
def market_graph(tmp_path_factory: pytest.TempPathFactory, market: kgrec.GraphTables) -> Iterator[GraphStore]:
    with kgrec.open(tmp_path_factory.mktemp("market") / "market.lbug", create=True) as store:
        store.write(market)
        row = {"user_id": ["u1", "g1"], "item_id": ["b1", "m1"], "rank": [1, 1], "score": [1.0, 2.0]}
        shares = {name: [0.5, 0.1] for name in ("graph", "cf", "content")}
        store.publish(pa.table({**row, **shares}), "run-1")
        yield store


def test_labels_of_one_role_are_counted_together(market_graph: GraphStore) -> None:
    found = run_named(market_graph, "shared_items", {"user": "u2", "other": "g1"})
    assert found[["item_id", "users"]].values.tolist() == [["b1", 2]]
    found = run_named(market_graph, "user_neighborhood", {"user": "u1"}).set_index("item_id")
    assert found["name"].to_dict() == {"m1": "Alien", "m2": "m2"}


def test_query_needing_attributes_fails_without_them() -> None:
    schema = Schema.from_dict(
        {
            "name": "bare",
            "nodes": {"User": {"key": "id"}, "Item": {"key": "id"}},
            "relationships": {"LIKED": {"from": "User", "to": "Item"}},
            "roles": {"users": "User", "items": "Item", "behaviours": {"LIKED": {}}},
        }
    )
    with pytest.raises(UsageError, match=r"needs relationships other than behaviors\. Schema 'bare' has none"):
        fill("MATCH (i:<ITEM>)-[:<ATTRIBUTE>]-(n) RETURN n", schema)


def test_query_files_have_explanation_and_limit() -> None:
    queries = named_queries()
    assert len(queries) >= 12
    assert queries["what"].str.endswith(".").all()
    for file in (Path(__file__).parents[2] / "graph_schema" / "queries").glob("*.cypher"):
        text = file.read_text(encoding="utf-8")
        header, _, cypher = text.partition("\n\n")
        assert set(re.findall(r"\$(\w+)", cypher)) == set(re.findall(r"^// \$(\w+) \(", header, re.M)), file.name
        assert "*" not in re.sub(r"count\(\*\)| \* ", "", cypher), f"{file.name} has a path of variable length"
