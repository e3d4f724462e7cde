"""Client of the HTTP service, synchronous and asynchronous, with typed results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from kgrec.errors import KgrecError, MissingExtra
from kgrec.serve.models import EventsTaken, Explained, Item, Recommendations, ReleaseInfo, Rows, SimilarItems, User

try:
    import httpx
except ImportError:
    raise MissingExtra("the client needs httpx. Run: pip install 'kgrec[client]'") from None

if TYPE_CHECKING:
    from httpx import Response

SECONDS: Final = 10.0
"""Default time limit of a request."""

Result = TypeVar("Result", bound=BaseModel)


class ServiceError(KgrecError):
    """The service refused a request, or cannot be reached.

    Attributes:
        status: status of the response; 0 without one.
        request_id: id of the request in the service's log; empty without a response.
    """

    def __init__(self, detail: str, status: int = 0, request_id: str = "") -> None:
        super().__init__(detail)
        self.status, self.request_id = status, request_id


@dataclass(frozen=True)
class Wanted:
    """What a list must satisfy.

    Attributes:
        k: length of the list.
        domain: only items of this domain.
        where: conditions on properties, such as `price<50`.
        exclude: items that may not be listed.
    """

    k: int = 10
    domain: str | None = None
    where: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the values that differ from the defaults of the service, and k."""
        values = {"k": self.k, "domain": self.domain, "where": list(self.where), "exclude": list(self.exclude)}
        return {name: value for name, value in values.items() if value}


@dataclass(frozen=True)
class _Call(Generic[Result]):
    """A request and the type of its result."""

    result: type[Result]
    method: str
    parts: Sequence[str]
    params: Mapping[str, Any] | None = None
    json: Mapping[str, Any] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `httpx.Client.request`."""
        path = "/".join(quote(part, safe="") for part in self.parts)
        return {"method": self.method, "url": f"/v1/{path}", "params": self.params, "json": self.json}

    def read(self, response: Response) -> Result:
        """Return the result of a response.

        Raises:
            ServiceError: the response is not a success.
        """
        if response.is_success:
            return self.result.model_validate_json(response.content)
        try:
            problem = dict(response.json())
        except ValueError:
            problem = {}
        detail = problem.get("detail", f"the service answered with status {response.status_code}")
        raise ServiceError(str(detail), response.status_code, str(problem.get("request_id", "")))


def _recommendations(user_id: str, wanted: Wanted, explain: bool) -> _Call[Recommendations]:
    params = wanted.to_dict() | ({"explain": "true"} if explain else {})
    return _Call(Recommendations, "GET", ("users", user_id, "recommendations"), params)


def _session(items: Iterable[str], text: str | None, wanted: Wanted) -> _Call[Recommendations]:
    events = {"events": [{"item_id": item_id} for item_id in items]}
    known = events | ({} if text is None else {"text": text})
    return _Call(Recommendations, "POST", ("sessions", "recommendations"), json=known | wanted.to_dict())


def _search(text: str, wanted: Wanted) -> _Call[Recommendations]:
    return _Call(Recommendations, "POST", ("search",), json={"text": text} | wanted.to_dict())


def _popular(wanted: Wanted) -> _Call[Recommendations]:
    return _Call(Recommendations, "GET", ("popular",), wanted.to_dict())


def _similar(item_id: str, wanted: Wanted) -> _Call[SimilarItems]:
    return _Call(SimilarItems, "GET", ("items", item_id, "similar"), wanted.to_dict())


def _events(events: Iterable[Mapping[str, Any]]) -> _Call[EventsTaken]:
    return _Call(EventsTaken, "POST", ("events",), json={"events": [dict(event) for event in events]})


def _query(query: str, parameters: Mapping[str, Any] | None) -> _Call[Rows]:
    return _Call(Rows, "POST", ("query",), json={"query": query, "parameters": dict(parameters or {})})


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


ANY: Final = Wanted()
"""Ten items, without conditions."""


class Client:
    """Synchronous client.

    Every method raises `ServiceError` if the service refuses the request or cannot be reached.

    Examples:
        >>> with Client("http://localhost:8000") as client:  # doctest: +SKIP
        ...     client.recommendations("196", Wanted(k=5)).items
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = SECONDS) -> None:
        """Open a client; nothing is sent yet.

        Args:
            url: address of the service, such as http://localhost:8000.
            key: API key.
            timeout: time limit of a request in seconds.
        """
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)

    def recommendations(self, user_id: str, wanted: Wanted = ANY, explain: bool = False) -> Recommendations:
        """Return a user's list, with reasons if `explain` is set."""
        return self._send(_recommendations(user_id, wanted, explain))

    def session(self, items: Iterable[str] = (), text: str | None = None, wanted: Wanted = ANY) -> Recommendations:
        """Return a list for an anonymous visitor by items they chose, oldest first, by a text, or by both."""
        return self._send(_session(items, text, wanted))

    def search(self, text: str, wanted: Wanted = ANY) -> Recommendations:
        """Return the items that fit a text."""
        return self._send(_search(text, wanted))

    def popular(self, wanted: Wanted = ANY) -> Recommendations:
        """Return the items that most users chose."""
        return self._send(_popular(wanted))

    def similar(self, item_id: str, wanted: Wanted = ANY) -> SimilarItems:
        """Return the items most similar to an item."""
        return self._send(_similar(item_id, wanted))

    def item(self, item_id: str) -> Item:
        """Return an item with its properties."""
        return self._send(_Call(Item, "GET", ("items", item_id)))

    def user(self, user_id: str) -> User:
        """Return a user with their properties and latest items."""
        return self._send(_Call(User, "GET", ("users", user_id)))

    def explanation(self, user_id: str, item_id: str) -> Explained:
        """Return why an item has its score for a user."""
        return self._send(_Call(Explained, "GET", ("explanations", user_id, item_id)))

    def events(self, events: Iterable[Mapping[str, Any]]) -> EventsTaken:
        """Send events: user_id, item_id, behavior, and optionally event_id, timestamp, weight."""
        return self._send(_events(events))

    def query(self, query: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Return the rows of a read-only query."""
        return self._send(_query(query, parameters))

    def releases(self) -> ReleaseInfo:
        """Return the live release."""
        return self._send(_Call(ReleaseInfo, "GET", ("releases",)))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: _Call[Result]) -> Result:
        try:
            return call.read(self._http.request(**call.arguments))
        except httpx.HTTPError as error:
            raise ServiceError(f"the service cannot be reached: {error}") from error


class AsyncClient:
    """Asynchronous client; its methods are those of `Client`, to be awaited."""

    def __init__(self, url: str, key: str | None = None, timeout: float = SECONDS) -> None:
        """Open a client; arguments as for `Client`."""
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)

    async def recommendations(self, user_id: str, wanted: Wanted = ANY, explain: bool = False) -> Recommendations:
        """Return a user's list; see `Client`."""
        return await self._send(_recommendations(user_id, wanted, explain))

    async def session(
        self, items: Iterable[str] = (), text: str | None = None, wanted: Wanted = ANY
    ) -> Recommendations:
        """Return a list for an anonymous visitor; see `Client`."""
        return await self._send(_session(items, text, wanted))

    async def search(self, text: str, wanted: Wanted = ANY) -> Recommendations:
        """Return the items that fit a text."""
        return await self._send(_search(text, wanted))

    async def popular(self, wanted: Wanted = ANY) -> Recommendations:
        """Return the items that most users chose."""
        return await self._send(_popular(wanted))

    async def similar(self, item_id: str, wanted: Wanted = ANY) -> SimilarItems:
        """Return the items most similar to an item."""
        return await self._send(_similar(item_id, wanted))

    async def item(self, item_id: str) -> Item:
        """Return an item with its properties."""
        return await self._send(_Call(Item, "GET", ("items", item_id)))

    async def user(self, user_id: str) -> User:
        """Return a user with their properties and latest items."""
        return await self._send(_Call(User, "GET", ("users", user_id)))

    async def explanation(self, user_id: str, item_id: str) -> Explained:
        """Return why an item has its score for a user."""
        return await self._send(_Call(Explained, "GET", ("explanations", user_id, item_id)))

    async def events(self, events: Iterable[Mapping[str, Any]]) -> EventsTaken:
        """Send events; see `Client`."""
        return await self._send(_events(events))

    async def query(self, query: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Return the rows of a read-only query."""
        return await self._send(_query(query, parameters))

    async def releases(self) -> ReleaseInfo:
        """Return the live release."""
        return await self._send(_Call(ReleaseInfo, "GET", ("releases",)))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: _Call[Result]) -> Result:
        try:
            return call.read(await self._http.request(**call.arguments))
        except httpx.HTTPError as error:
            raise ServiceError(f"the service cannot be reached: {error}") from error
