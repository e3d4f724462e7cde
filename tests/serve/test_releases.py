"""Releases of a running service: taken up whole, kept when the next one is damaged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kgrec.config import Config
from kgrec.jobs.forget.job import forget
from kgrec.jobs.rollback import roll_back
from kgrec.jobs.train import publish_run, train_run
from kgrec.runs.folder import list_runs
from kgrec.serve.app import create_app
from kgrec.store import open_graph

PATH = "/v1/users/u1/recommendations"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(graph: str) -> list[str]:
    return [run.name for run in list_runs(Path(graph).with_suffix(".runs"))]


def another_run(graph: str) -> str:
    train_run(graph, Config.read(overrides=["signals=popularity"]))
    return runs(graph)[-1]


def published_items(graph: str) -> list[str]:
    with open_graph(graph, read_only=True) as store:
        query = "MATCH (u:User)-[r:RECOMMENDED]->(m) WHERE u.user_id = 'u1' RETURN m.item_id AS id ORDER BY r.rank"
        return store.cypher(query)["id"].tolist()


def test_next_release_and_a_rollback_are_taken_up(client: TestClient, published: str) -> None:
    first, second = client.get(PATH).json()["release"], another_run(published)
    for name, change in (
        (second, lambda: publish_run(published, second, None, 5)),
        (first, lambda: roll_back(published)),
    ):
        change()
        until(lambda name=name: client.get(PATH).json()["release"] == name)  # type: ignore[misc]
        items = [item["item_id"] for item in client.get(PATH, params={"k": 5}).json()["items"]]
        assert items == published_items(published)[:5]


def test_answers_during_a_change_come_from_one_release(client: TestClient, published: str) -> None:
    first, second = client.get(PATH).json()["release"], another_run(published)
    lists: dict[str, set[tuple[str, ...]]] = {}
    statuses, stop = set(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = client.get(PATH, params={"k": 5})
            statuses.add(answer.status_code)
            content = answer.json()
            lists.setdefault(content["release"], set()).add(tuple(item["item_id"] for item in content["items"]))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for name in (second, first, second):
        publish_run(published, name, None, 5)
        until(lambda name=name: client.app.state.service.live.name == name)  # type: ignore[misc, attr-defined]
    stop.set()
    for thread in threads:
        thread.join()
    assert statuses == {200}
    assert {name: len(of_release) for name, of_release in lists.items()} == {first: 1, second: 1}


def test_damaged_release_leaves_the_old_one_live(client: TestClient, published: str) -> None:
    first, second = client.get(PATH).json()["release"], another_run(published)
    publish_run(published, second, None, 5)
    folder = Path(published).with_suffix(".runs") / second
    for file in folder.glob("arrays/*"):
        file.write_bytes(b"")
    until(lambda: client.app.state.service.releases.failures > 0)  # type: ignore[attr-defined]
    assert client.get(PATH).json()["release"] == first


def test_unpublished_graph_is_not_ready(cinema: Path) -> None:
    with TestClient(create_app(str(cinema))) as client:
        assert client.get("/health/ready").status_code == 503
        assert client.get(PATH).status_code == 503
        publish_run(str(cinema), None, None, 5)
        until(lambda: client.get("/health/ready").status_code == 200)


@pytest.mark.slow
def test_forgotten_user_is_gone_from_the_service(client: TestClient, published: str) -> None:
    event = {"user_id": "u1", "item_id": "f1", "behavior": "INTERACTED", "weight": 5}
    client.post("/v1/events", json={"events": [event]})
    assert forget(published, "user", "u1")["removed"]["events"] == 1
    until(lambda: client.get("/v1/users/u1").status_code == 404)
    until(lambda: not client.app.state.service.events.of("u1"))  # type: ignore[attr-defined]
