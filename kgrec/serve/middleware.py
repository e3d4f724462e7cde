"""Everything around a request: its id, its key and rate, the size and time of its body, metrics, the access log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from kgrec.serve.limits import BODY_SECONDS, MAX_BODY_BYTES
from kgrec.serve.metrics import Metrics
from kgrec.serve.problems import internal, problem
from kgrec.serve.service import SLASH

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LISTS: Final = ("where", "exclude")
"""Query parameters that may be given several times."""
_REQUEST_ID: Final = re.compile(rb"[\w.-]{1,64}")

access = logging.getLogger("kgrec.access")
logger = logging.getLogger(__name__)


class Envelope:
    """ASGI middleware: gives each request an id, limits its body, and reports its outcome.

    An unexpected exception becomes a response 500 without detail; the log has its traceback.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, headers = time.perf_counter(), dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["request_id"], status = request_id, 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        scope["path"] = _path(scope)
        try:
            repeated = _repeated(scope["query_string"])
            if repeated:
                return await problem(request_id, 422, f"{repeated} is given twice. Expected it once")(
                    scope, receive, send_with_id
                )
            body = await _body(headers, receive)
            if isinstance(body, bytes):
                await self.app(scope, _once(body, receive), send_with_id)
            else:
                await problem(request_id, *body)(scope, receive, send_with_id)
        except Exception:
            logger.exception(f"request {request_id} failed")
            if not status:
                await internal(request_id)(scope, receive, send_with_id)
        finally:
            self._report(scope, status, time.perf_counter() - start)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if access.isEnabledFor(logging.INFO):
            line = {
                "request_id": scope["request_id"],
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(1000 * seconds, 2),
                "key": scope.get("key_name"),
            }
            access.info(json.dumps(line))


def _path(scope: Scope) -> str:
    """Return the decoded path, with `SLASH` for a slash inside a part, so that ids may contain slashes."""
    parts = scope["raw_path"].decode("ascii", "replace").split("/")
    return "/".join(unquote(part).replace("/", SLASH) for part in parts)


def _repeated(query: bytes) -> str | None:
    """Return a parameter that is given twice and takes one value; None without one."""
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    return next((name for name in names if name not in LISTS and names.count(name) > 1), None)


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes | tuple[int, str]:
    """Return the body of a request; status and reason if it is too large or too slow."""
    length = headers.get(b"content-length", b"0")
    too_large = 413, f"the body is too large. Expected at most {MAX_BODY_BYTES:,} bytes"
    if not length.isdigit():
        return 400, "Content-Length is not a number"
    if int(length[:20]) > MAX_BODY_BYTES:
        return too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BODY_BYTES:
                    return too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        return 408, f"the body did not arrive. Expected it within {BODY_SECONDS:g} seconds"


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first."""
    given = False

    async def from_body() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return from_body
