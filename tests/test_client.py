"""The client against a real service."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from kgrec.client import AsyncClient, Client, ServiceError, Wanted
from kgrec.jobs.train import publish_run
from kgrec.serve.app import create_app
from kgrec.serve.keys import add_key


@pytest.fixture
def service(cinema: Path) -> Iterator[tuple[str, str]]:
    """Address of a service of the cinema graph, and a key that opens everything."""
    publish_run(str(cinema), None, None, 5)
    key = add_key(cinema.with_name("keys.json"), "all", ["read", "write", "query"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(create_app(str(cinema), keys=cinema.with_name("keys.json")), log_config=None)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", key
        server.should_exit = True
        thread.join()


def test_client_reads_writes_and_queries(service: tuple[str, str]) -> None:
    event = {"user_id": "a/b", "item_id": "f6", "behavior": "INTERACTED", "weight": 5}
    with Client(*service) as client:
        first = client.recommendations("u1", Wanted(k=2), explain=True)
        assert (first.source, len(first.items), bool(first.items[0].reasons)) == ("published", 2, True)
        others = client.recommendations("u1", Wanted(k=2, exclude=[item.item_id for item in first.items]))
        assert not {item.item_id for item in first.items} & {item.item_id for item in others.items}
        assert client.events([event]).accepted == 1
        assert client.recommendations("a/b").source == "session"
        assert client.session(["f6"]).source == "session"
        assert client.popular(Wanted(k=1)).items[0].rank == 1
        assert client.item("f1").name == "The Colony and the Comet"
        assert client.user("u1").user_id == "u1"
        assert client.similar("f6", Wanted(k=3)).items[2].rank == 3
        assert client.explanation("u1", "f1").item_id == "f1"
        assert client.query("MATCH (u:User) RETURN count(*) AS n").rows == [[90]]
        assert client.releases().users == 90


def test_async_client_answers_like_the_other(service: tuple[str, str]) -> None:
    async def ask() -> tuple[object, ...]:
        async with AsyncClient(*service) as client:
            return await client.recommendations("u1"), await client.session(["f6"]), await client.releases()

    with Client(*service) as client:
        assert asyncio.run(ask()) == (client.recommendations("u1"), client.session(["f6"]), client.releases())


def test_refusal_says_what_the_service_found(service: tuple[str, str]) -> None:
    with Client(*service) as client, pytest.raises(ServiceError, match="unknown item: 'zz'") as refused:
        client.item("zz")
    assert (refused.value.status, len(refused.value.request_id)) == (404, 16)
    with Client(service[0]) as client, pytest.raises(ServiceError, match="no valid API key"):
        client.popular()


def test_service_that_is_not_there_is_one_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ServiceError, match="cannot be reached"):
        client.releases()


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        found = {name: of for name, of in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
        return {name: list(inspect.signature(of).parameters) for name, of in found.items()}

    assert methods(Client) == methods(AsyncClient)
