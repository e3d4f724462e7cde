"""Lists of the service: equal to the published ones and to the model's, and changed by events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import kgrec
from kgrec.runs.folder import find_run
from kgrec.store import open_graph

BEHAVIOR = "INTERACTED"


def listed(client: TestClient, path: str, **query: Any) -> tuple[str, list[str]]:
    answer = client.get(path, params=query).json()
    return answer["source"], [item["item_id"] for item in answer["items"]]


def model(graph: str) -> kgrec.Recommender:
    return kgrec.Recommender.load(find_run(graph.replace(".lbug", ".runs")).folder)


def owned(graph: str, user: str) -> list[str]:
    with open_graph(graph, read_only=True) as store:
        query = f"MATCH (u:User {{user_id: '{user}'}})-[:{BEHAVIOR}]->(i) RETURN i.item_id AS id"
        return store.cypher(query)["id"].tolist()


def send(client: TestClient, *events: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/events", json={"events": list(events)})
    assert (answer.status_code, answer.json()["rejected"]) == (200, 0), answer.text
    return answer.json()


def rated(user: str, item: str, event_id: str | None = None) -> dict[str, Any]:
    return {"event_id": event_id, "user_id": user, "item_id": item, "behavior": BEHAVIOR, "weight": 5}


def test_user_list_equals_the_published_list(reader: TestClient, published_cinema: Path) -> None:
    with open_graph(published_cinema, read_only=True) as store:
        query = "MATCH (u:User)-[r:RECOMMENDED]->(m) WHERE u.user_id = 'u1' RETURN m.item_id AS id ORDER BY r.rank"
        wanted = store.cypher(query)["id"].tolist()
    assert listed(reader, "/v1/users/u1/recommendations", k=5) == ("published", wanted)


def test_shares_of_an_item_sum_to_its_score(reader: TestClient) -> None:
    for item in reader.get("/v1/users/u1/recommendations").json()["items"]:
        assert item["graph"] + item["cf"] + item["content"] == pytest.approx(item["score"], abs=1e-4)


def test_longer_list_is_scored_live(reader: TestClient, published_cinema: Path) -> None:
    wanted = (
        model(str(published_cinema))
        .recommend(["u1"], k=60, exclude=owned(str(published_cinema), "u1"))["item_id"]
        .tolist()
    )
    assert listed(reader, "/v1/users/u1/recommendations", k=60) == ("live", wanted)


def test_filter_gives_the_best_allowed_items(reader: TestClient, published_cinema: Path) -> None:
    years = [str(year) for year in range(1990, 2010)]
    options: dict[str, Any] = {"where": {"release_year": years}, "exclude": owned(str(published_cinema), "u1")}
    wanted = model(str(published_cinema)).recommend(["u1"], k=5, **options)["item_id"].tolist()
    conditions = [f"release_year={year}" for year in years]
    assert listed(reader, "/v1/users/u1/recommendations", k=5, where=conditions)[1] == wanted


def test_excluded_items_are_not_listed(reader: TestClient) -> None:
    _, first = listed(reader, "/v1/users/u1/recommendations", k=2)
    _, rest = listed(reader, "/v1/users/u1/recommendations", k=2, exclude=first)
    assert not set(first) & set(rest)


def test_unknown_user_gets_popular_items(reader: TestClient) -> None:
    assert listed(reader, "/v1/users/nobody/recommendations", k=3) == (
        "popular",
        listed(reader, "/v1/popular", k=3)[1],
    )


def test_new_event_changes_the_next_list(client: TestClient, published: str) -> None:
    _, before = listed(client, "/v1/users/u1/recommendations", k=5)
    send(client, rated("u1", before[0]))
    source, after = listed(client, "/v1/users/u1/recommendations", k=5)
    assert source == "live"
    assert before[0] not in after


def test_event_of_a_learned_item_changes_nothing(client: TestClient) -> None:
    before = listed(client, "/v1/users/u1/recommendations", k=5)
    send(client, rated("u1", "f6"))
    assert listed(client, "/v1/users/u1/recommendations", k=5) == before


def test_dismissed_item_is_hidden(client: TestClient) -> None:
    _, before = listed(client, "/v1/users/u1/recommendations", k=3)
    send(client, {"user_id": "u1", "item_id": before[1], "behavior": "dismissed"})
    assert listed(client, "/v1/users/u1/recommendations", k=2) == ("published", [before[0], before[2]])


def test_new_user_with_events_equals_a_session(client: TestClient) -> None:
    send(client, rated("new", "f6"), rated("new", "f7"))
    events = [{"item_id": "f6", "weight": 5}, {"item_id": "f7", "weight": 5}]
    session = client.post("/v1/sessions/recommendations", json={"events": events, "k": 5}).json()
    assert listed(client, "/v1/users/new/recommendations", k=5) == ("session", [i["item_id"] for i in session["items"]])


def test_session_equals_recommend_for_a_history(reader: TestClient, published_cinema: Path) -> None:
    wanted = model(str(published_cinema)).recommend(history=["f6", "f7"], k=5)["item_id"].tolist()
    answer = reader.post(
        "/v1/sessions/recommendations", json={"events": [{"item_id": "f6"}, {"item_id": "f7"}], "k": 5}
    )
    assert [item["item_id"] for item in answer.json()["items"]] == wanted


def test_unchanged_list_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/v1/users/u1/recommendations", params={"k": 3})
    known = {"If-None-Match": first.headers["etag"]}
    again = client.get("/v1/users/u1/recommendations", params={"k": 3}, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    send(client, rated("u1", first.json()["items"][0]["item_id"]))
    changed = client.get("/v1/users/u1/recommendations", params={"k": 3}, headers=known)
    assert changed.status_code == 200


def test_explained_list_has_reasons(reader: TestClient) -> None:
    answer = reader.get("/v1/users/u1/recommendations", params={"k": 1, "explain": True}).json()
    item = answer["items"][0]
    explained = reader.get(f"/v1/explanations/u1/{item['item_id']}").json()
    assert item["reasons"] == explained["paths"]
    assert sum(explained["shares"].values()) == pytest.approx(explained["score"], abs=1e-4)


def test_item_and_user_show_the_graph(reader: TestClient) -> None:
    item, user = reader.get("/v1/items/f1").json(), reader.get("/v1/users/u1").json()
    assert (item["name"], item["properties"]["release_year"]) == ("The Colony and the Comet", "2012")
    assert user["properties"] == {"age": "39", "occupation": "engineer"}
    assert "f6" in user["latest"]


def test_similar_items_leave_the_item_out(reader: TestClient) -> None:
    items = reader.get("/v1/items/f6/similar", params={"k": 5}).json()["items"]
    assert len(items) == 5
    assert "f6" not in {item["item_id"] for item in items}
