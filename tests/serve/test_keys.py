"""API keys: scopes, rates, and what a file of keys may hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kgrec.errors import UsageError
from kgrec.serve.app import create_app
from kgrec.serve.keys import ApiKeys, add_key
from kgrec.serve.limits import Rate
from kgrec.serve.server import ServeOptions, serve


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def guarded(published: str, file: Path) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A client of a service with keys, and a key for each scope."""
    keys = {scope: add_key(file, scope, [scope]) for scope in ("read", "write", "query", "admin")}
    with TestClient(create_app(published, keys=file)) as client:
        yield client, keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_key_is_not_stored_in_its_file(file: Path) -> None:
    key = add_key(file, "shop", ["read"])
    assert key not in file.read_text()
    assert ApiKeys(file).find(key).name == "shop"  # type: ignore[union-attr]


@pytest.mark.parametrize("change", [lambda key: key + "0", lambda key: "", lambda key: key.replace("shop", "shops")])
def test_changed_key_is_not_found(file: Path, change) -> None:  # type: ignore[no-untyped-def]
    key = add_key(file, "shop", ["read"])
    assert ApiKeys(file).find(change(key)) is None


def test_request_without_a_key_is_refused(guarded: tuple[TestClient, dict[str, str]]) -> None:
    client, _ = guarded
    answer = client.get("/v1/popular")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/health/live").status_code == 200


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("read", "GET", "/v1/popular"),
        ("write", "POST", "/v1/events"),
        ("query", "GET", "/v1/queries"),
        ("admin", "GET", "/metrics"),
    ],
)
def test_key_opens_what_its_scope_allows(
    guarded: tuple[TestClient, dict[str, str]], scope: str, method: str, path: str
) -> None:
    client, keys = guarded
    body = {"events": [{"user_id": "u1", "item_id": "f1", "behavior": "INTERACTED", "weight": 5}]}
    for name, key in keys.items():
        answer = client.request(method, path, headers=bearer(key), json=body if method == "POST" else None)
        assert answer.status_code == (200 if name == scope else 403)


def test_query_runs_with_its_key_and_cannot_write(guarded: tuple[TestClient, dict[str, str]]) -> None:
    client, keys = guarded

    def ask(query: str) -> tuple[int, dict]:  # type: ignore[type-arg]
        answer = client.post("/v1/query", json={"query": query}, headers=bearer(keys["query"]))
        return answer.status_code, answer.json()

    assert ask("MATCH (u:User) RETURN count(*) AS n") == (200, {"columns": ["n"], "rows": [[90]]})
    status, problem = ask("MATCH (u:User) DETACH DELETE u")
    assert (status, "lbug" in problem["detail"]) == (400, False)


def test_rate_refills_with_time() -> None:
    rate = Rate(0.5)
    assert rate.take() == 0
    assert rate.take() in (1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "not a file of keys"), ('[{"name": "a b"}]', "0.name"), ("[{}]", "0.name: Field required")],
)
def test_faulty_file_of_keys_is_named(file: Path, content: str, message: str) -> None:
    file.write_text(content)
    with pytest.raises(UsageError, match=message):
        ApiKeys(file)


def test_name_is_given_once(file: Path) -> None:
    add_key(file, "shop", ["read"])
    with pytest.raises(UsageError, match="has a key named 'shop'"):
        add_key(file, "shop", ["write"])


def test_unknown_scope_is_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="unknown scope: 'reed'"):
        add_key(file, "shop", ["reed"])


def test_service_without_keys_stays_on_this_machine(published: str) -> None:
    with pytest.raises(UsageError, match=r"0\.0\.0\.0 is reachable from other machines, and there are no API keys"):
        serve(ServeOptions(published, host="0.0.0.0"))
