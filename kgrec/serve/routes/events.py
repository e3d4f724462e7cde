"""Route for events: written to disk before they are acknowledged, and part of the user's next list."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from kgrec.errors import StoreError
from kgrec.events.event import Event
from kgrec.serve.models import EventOutcome, Events, EventsTaken
from kgrec.serve.problems import Failure
from kgrec.serve.service import Service, Writer

router = APIRouter(prefix="/v1", tags=["events"])


@router.post("/events")
async def events(service: Writer, given: Events) -> EventsTaken:
    """Take behaviors of users. The answer says what became of each; everything that it reports is on disk."""
    return await run_in_threadpool(_take, service, [event.as_event() for event in given.events])


def _take(service: Service, events: list[Event]) -> EventsTaken:
    faults = service.place(events)
    good = [event for event, fault in zip(events, faults, strict=True) if fault is None]
    bad = [(event, fault) for event, fault in zip(events, faults, strict=True) if fault is not None]
    try:
        new = iter(service.events.append(good, bad))
    except StoreError as error:
        raise Failure(507, "the events were not written: the log cannot be written") from error
    outcomes = [
        _outcome(event, fault, fault is None and next(new)) for event, fault in zip(events, faults, strict=True)
    ]
    counts = {kind: sum(one.outcome == kind for one in outcomes) for kind in ("accepted", "duplicate", "rejected")}
    for kind, n in counts.items():
        service.metrics.events.labels(kind).inc(n)
    return EventsTaken(
        accepted=counts["accepted"], duplicates=counts["duplicate"], rejected=counts["rejected"], outcomes=outcomes
    )


def _outcome(event: Event, fault: str | None, is_new: bool) -> EventOutcome:
    if fault is not None:
        return EventOutcome(event_id=event.event_id, outcome="rejected", reason=fault)
    return EventOutcome(event_id=event.event_id, outcome="accepted" if is_new else "duplicate")
