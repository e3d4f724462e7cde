"""Bad requests: one problem each, with what was found and expected, and never a status of 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from kgrec.serve.limits import MAX_BODY_BYTES, MAX_EVENTS
from kgrec.serve.problems import MEDIA_TYPE

EVENT = {"user_id": "u1", "item_id": "f1", "behavior": "RATED", "weight": 5}


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/v1/users/u1/recommendations?k=0", 422, "k: Input should be greater than or equal to 1"),
        ("/v1/users/u1/recommendations?k=-1", 422, "greater than or equal to 1"),
        ("/v1/users/u1/recommendations?k=1000000000", 422, "less than or equal to 1000"),
        ("/v1/users/u1/recommendations?k=ten", 422, "valid integer"),
        ("/v1/users/u1/recommendations?k=1&k=2", 422, "k is given twice"),
        ("/v1/users/u1/recommendations?kk=1", 422, "kk: Extra inputs"),
        ("/v1/users/u1/recommendations?domain=nowhere", 422, "unknown domain 'nowhere'. Expected one of Item"),
        ("/v1/users/u1/recommendations?where=size<5", 422, "unknown item property 'size'"),
        ("/v1/users/u1/recommendations?where=size", 422, "invalid where: 'size'. Expected property=value"),
        ("/v1/users/u1/recommendations?exclude=zz", 404, "unknown item: 'zz'"),
        ("/v1/users/u1/recommendations?" + "&".join(f"exclude=f{n}" for n in range(201)), 422, "at most 200"),
        ("/v1/items/zz", 404, "unknown item: 'zz'"),
        ("/v1/items/a%2Fb", 404, "unknown item: 'a/b'"),
        ("/v1/items/%F0%9F%8E%AC", 404, "unknown item: '🎬'"),
        ("/v1/items/%00", 422, "should match pattern"),
        ("/v1/items/" + "x" * 257, 422, "at most 256 characters"),
        ("/v1/users/zz", 404, "unknown user: 'zz'"),
        ("/v1/nowhere", 404, "Not Found"),
        ("/v1/queries", 403, "queries need an API key"),
    ],
)
def test_bad_path_or_query_is_a_problem(reader: TestClient, path: str, status: int, detail: str) -> None:
    answer = reader.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert detail in answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("events", b"", 422, "Field required"),
        ("events", b"{", 422, "JSON decode error"),
        ("events", b"[]", 422, "valid dictionary"),
        ("events", {"events": []}, 422, "at least 1"),
        ("events", {"events": [EVENT] * (MAX_EVENTS + 1)}, 422, "at most 1000"),
        ("events", {"events": [EVENT | {"weight": "5"}]}, 422, "valid number"),
        (
            "events",
            b'{"events": [{"user_id": "u", "item_id": "i", "behavior": "RATED", "weight": NaN}]}',
            422,
            "finite",
        ),
        ("events", {"events": [EVENT | {"user_id": ""}]}, 422, "at least 1 character"),
        ("events", {"events": [EVENT | {"user_id": "\ud800"}]}, 422, ""),
        ("events", {"events": [EVENT | {"more": 1}]}, 422, "Extra inputs"),
        ("sessions/recommendations", {}, 422, "neither events nor a text"),
        ("sessions/recommendations", {"events": [{"item_id": "zz"}]}, 404, "unknown item: 'zz'"),
        ("sessions/recommendations", {"events": [{"item_id": "f1", "behavior": "ATE"}]}, 422, "unknown behavior 'ATE'"),
        ("sessions/recommendations", {"text": "x" * 2_001}, 422, "at most 2000 characters"),
        ("search", {"text": ""}, 422, "at least 1 character"),
        ("query", {"query": "RETURN 1"}, 403, "queries need an API key"),
    ],
)
def test_bad_body_is_a_problem(reader: TestClient, path: str, body: Any, status: int, detail: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = reader.post(f"/v1/{path}", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    assert detail in answer.json()["detail"]


def test_too_large_body_is_refused(reader: TestClient) -> None:
    answer = reader.post("/v1/events", content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


def test_unexpected_error_shows_no_detail(reader: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    release = reader.app.state.service.releases.live  # type: ignore[attr-defined]
    monkeypatch.setattr(type(release), "popular", property(lambda release: 1 / 0))
    answer = reader.get("/v1/popular")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert reader.get("/health/live").status_code == 200
