"""Service: the parts that requests use, made once a process."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

from fastapi import Depends, Path, Request
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool

from kgrec.data.schema_parts import Behavior
from kgrec.events.event import DISMISSED, Event
from kgrec.events.exposures import Exposure, ExposureLog
from kgrec.events.log import EventLog
from kgrec.serve.experiment import Arm, Experiment
from kgrec.serve.keys import ApiKey, ApiKeys, Scope
from kgrec.serve.limits import FUTURE_SECONDS, MAX_ID_LENGTH, Rate
from kgrec.serve.metrics import Metrics
from kgrec.serve.models import NO_NULL
from kgrec.serve.problems import Failure
from kgrec.serve.release import Release
from kgrec.serve.releases import Releases

NEW_KEYS_PER_SECOND: Final = 10.0
"""Keys that a process checks for the first time, since each check takes 50 ms."""


@dataclass
class Service:
    """The parts that requests use.

    Attributes:
        releases: the live release.
        events: the event log.
        keys: API keys; None if every request is allowed.
        exposures: log of what an experiment showed.
        experiment: the A/B test, if there is one.
        metrics: counters.
    """

    releases: Releases
    events: EventLog
    keys: ApiKeys | None
    exposures: ExposureLog
    experiment: Experiment | None = None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self._rates: dict[str, Rate] = {}
        self._new_keys = Rate(NEW_KEYS_PER_SECOND)

    @property
    def live(self) -> Release:
        """The live release.

        Raises:
            Failure: nothing is published.
        """
        if self.releases.live is None:
            raise Failure(503, "nothing is published", {"Retry-After": "5"})
        return self.releases.live

    def arm_of(self, user_id: str) -> tuple[str | None, Arm | None, Release]:
        """Return name and arm of a user's arm, None without an experiment, and the release that answers.

        Raises:
            Failure: nothing is published.
        """
        if self.experiment is None:
            return None, None, self.live
        name = self.experiment.arm_of(user_id)
        arm = self.experiment.arms[name]
        return name, arm, self.live if arm.release is None else self.releases.fixed[arm.release]

    def expose(self, arm: str, user_id: str, release: Release, source: str, items: Sequence[str]) -> None:
        """Log that a list was shown in an experiment."""
        assert self.experiment is not None
        self.exposures.add(
            Exposure(self.experiment.name, arm, user_id, tuple(items), release.name, source, time.time())
        )

    async def admit(self, key: str | None, scope: Scope) -> ApiKey | None:
        """Return the named key of a request that may go on.

        Raises:
            Failure: the key is missing, unknown, lacks the scope, or is used too often.
        """
        if self.keys is None:
            if scope == "query":
                raise Failure(403, "queries need an API key with the scope query. Start the service with --keys FILE")
            return None
        known = await self._find(self.keys, key) if key else None
        if known is None:
            raise Failure(401, "no valid API key. Expected the header Authorization: Bearer KEY", _CHALLENGE)
        if scope not in known.scopes:
            raise Failure(403, f"the key has no scope {scope}. Expected a key with it")
        wait = self._rates.setdefault(known.name, Rate(known.requests_per_second)).take()
        if wait:
            raise Failure(429, f"more than {known.requests_per_second:g} requests a second", {"Retry-After": str(wait)})
        return known

    async def _find(self, keys: ApiKeys, key: str) -> ApiKey | None:
        """Return the named key that a key is; a new one is checked in a thread, and only so often."""
        known = keys.recall(key)
        if known is None:
            if wait := self._new_keys.take():
                raise Failure(429, "too many requests with new or wrong keys", {"Retry-After": str(wait)})
            known = await run_in_threadpool(keys.find, key)
        return known

    def place(self, events: Sequence[Event]) -> list[str | None]:
        """Return why each event cannot become a behavior of the graph; None if it can."""
        release, latest = self.live, time.time() + FUTURE_SECONDS
        known = (release.graph_items.nums([event.item_id for event in events]) >= 0).tolist()
        behaviors = release.train.schema.roles.behaviours
        return [_fault(event, there, behaviors, latest) for event, there in zip(events, known, strict=True)]

    def measure(self) -> None:
        """Set the gauges that depend on the time."""
        live = self.releases.live
        published = datetime.fromisoformat(live.since).timestamp() if live and live.since else time.time()
        self.metrics.release_age.set(max(0.0, time.time() - published))
        self.metrics.release_failures.set(self.releases.failures)


_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def _fault(event: Event, is_known: bool, behaviors: Mapping[str, Behavior], latest: float) -> str | None:
    if event.behavior not in behaviors and event.behavior != DISMISSED:
        return f"unknown behavior {event.behavior!r}. Expected one of {', '.join([*behaviors, DISMISSED])}"
    if not is_known:
        return f"unknown item {event.item_id!r}. Expected an item of the graph"
    if event.timestamp > latest:
        return f"timestamp {event.timestamp:.0f} is in the future. Expected epoch seconds"
    weight = behaviors[event.behavior].weight if event.behavior in behaviors else None
    if weight and event.weight is None:
        return f"{event.behavior} without a weight. Expected its {weight}"
    return None


SLASH: Final = "\x1f"
"""Stands for an escaped slash (%2F) in a part of a path."""


def _with_slashes(text: str) -> str:
    return text.replace(SLASH, "/")


_PART: Final = Path(min_length=1, max_length=MAX_ID_LENGTH, pattern=NO_NULL, examples=["196"])
PathId = Annotated[str, _PART, AfterValidator(_with_slashes)]


def service_of(request: Request) -> Service:
    """Return the service of the app that a request reached."""
    service: Service = request.app.state.service
    return service


def allowed(scope: Scope) -> Callable[[Request], Awaitable[Service]]:
    """Return a dependency that gives the service to a request whose key has a scope."""

    async def admit(request: Request) -> Service:
        service, header = service_of(request), request.headers.get("authorization", "")
        kind, _, key = header.partition(" ")
        known = await service.admit(
            key.strip() if kind.lower() == "bearer" else request.headers.get("x-api-key"), scope
        )
        request.scope["key_name"] = known and known.name
        return service

    return admit


Reader = Annotated[Service, Depends(allowed("read"))]
Writer = Annotated[Service, Depends(allowed("write"))]
Querier = Annotated[Service, Depends(allowed("query"))]
Admin = Annotated[Service, Depends(allowed("admin"))]
