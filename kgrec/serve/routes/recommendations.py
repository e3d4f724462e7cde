"""Routes for lists: of a user, of an anonymous visitor, for a text, of popular items; and explanations."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from kgrec.errors import UnknownItem, UsageError
from kgrec.events.event import Event
from kgrec.ranking.conditions import parse_conditions
from kgrec.serve.answers import (
    Ranked,
    Wish,
    for_session,
    for_text,
    for_user,
    from_published,
    fused,
    most_popular,
    without_dismissed,
)
from kgrec.serve.models import (
    Explained,
    ListQuery,
    Reason,
    Recommendations,
    Recommended,
    Search,
    Session,
    UserListQuery,
)
from kgrec.serve.release import Release
from kgrec.serve.service import PathId, Reader

router = APIRouter(prefix="/v1", tags=["recommendations"])


@router.get("/users/{user_id}/recommendations", response_model=Recommendations)
async def user_recommendations(
    request: Request, service: Reader, user_id: PathId, given: Annotated[UserListQuery, Query()]
) -> Response:
    """Recommend items to a user: the published list, or one scored now if filters or new events ask for it."""
    (name, arm, release), events = service.arm_of(user_id), service.events.of(user_id)
    wish, num = _wish(release, given), int(release.train.users.nums([user_id])[0])
    ranked = from_published(release, num, wish) if num >= 0 and not events else None
    tag = None if ranked is None or arm else release.tag
    if tag and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    if arm and arm.popular:
        ranked = most_popular(release, without_dismissed(release, events, wish))
    elif ranked is None:
        ranked = await run_in_threadpool(for_user, release, user_id, events, wish)
    service.metrics.answers.labels(ranked.source).inc()
    listed = _listed(release, ranked, given.k, name)
    if name:
        service.expose(name, user_id, release, ranked.source, [item.item_id for item in listed.items])
    if given.explain and num >= 0:
        listed = await run_in_threadpool(_explained, release, user_id, listed)
    return _response(listed, tag)


@router.post("/sessions/recommendations", response_model=Recommendations)
async def session_recommendations(service: Reader, session: Session) -> Response:
    """Recommend items to an anonymous visitor by their latest events, by a text, or by both; nothing is stored."""
    release = service.live
    ranked = await run_in_threadpool(_for_session, release, session, _wish(release, session))
    service.metrics.answers.labels(ranked.source).inc()
    return _response(_listed(release, ranked, session.k))


@router.post("/search", response_model=Recommendations)
async def search(service: Reader, given: Search) -> Response:
    """Find the items that fit a text."""
    release = service.live
    ranked = await run_in_threadpool(for_text, release, given.text, _wish(release, given))
    return _response(_listed(release, ranked, given.k))


@router.get("/popular", response_model=Recommendations)
async def popular(service: Reader, given: Annotated[ListQuery, Query()]) -> Response:
    """List the items that most users chose."""
    release = service.live
    return _response(_listed(release, most_popular(release, _wish(release, given)), given.k))


@router.get("/explanations/{user_id}/{item_id}", response_model=Explained)
def explanation(service: Reader, user_id: PathId, item_id: PathId) -> Explained:
    """Explain an item's score for a user: each signal's share, and the strongest paths in the graph."""
    release = service.live
    found = release.model.explain(user_id, item_id)
    paths = [Reason(text=path.text, strength=path.strength) for path in found.paths]
    return Explained(
        release=release.name,
        user_id=user_id,
        item_id=item_id,
        name=found.item_name,
        score=found.score,
        rank=found.rank,
        shares=dict(found.shares),
        paths=paths,
    )


def _wish(release: Release, given: ListQuery | Session | Search) -> Wish:
    """Return what a list must satisfy; excluded items of the graph that the model does not know need no filter."""
    nowhere = [id_ for id_ in given.exclude if id_ not in release.graph_items and id_ not in release.train.items]
    if nowhere:
        raise UnknownItem(nowhere, release.train.items.ids, "Leave it out of `exclude`.")
    known = [id_ for id_ in given.exclude if id_ in release.train.items]
    return Wish(given.k, given.domain, parse_conditions(given.where), known)


def _for_session(release: Release, session: Session, wish: Wish) -> Ranked:
    train, now = release.train, time.time()
    usual = list(train.schema.roles.behaviours)[train.commonest_behavior]
    events = [
        Event(
            "",
            "",
            event.item_id,
            event.behavior or usual,
            now + number if event.timestamp is None else event.timestamp,
            event.weight,
        )
        for number, event in enumerate(session.events)
    ]
    _check_behaviors(events, list(train.schema.roles.behaviours))
    if not events:
        return for_text(release, session.text or "", wish)
    if session.text is None:
        return for_session(release, events, wish)
    return fused(release, session.text, events, wish)


def _check_behaviors(events: list[Event], known: list[str]) -> None:
    for event in events:
        if event.behavior not in known:
            raise UsageError(f"unknown behavior {event.behavior!r}. Expected one of {', '.join(known)}")


def _listed(release: Release, ranked: Ranked, wanted: int, arm: str | None = None) -> Recommendations:
    train, nums = release.train, ranked.item_num.tolist()
    names, ids = train.item_names, train.items.ids
    parts = zip(nums, ranked.score, *(ranked.shares[name] for name in ("graph", "cf", "content")), strict=True)
    items = [
        Recommended.model_construct(
            item_id=ids[num],
            name=names[num],
            rank=rank,
            score=round(score, 6),
            graph=round(graph, 6),
            cf=round(cf, 6),
            content=round(content, 6),
            reasons=None,
        )
        for rank, (num, score, graph, cf, content) in enumerate(parts, 1)
    ]
    return Recommendations.model_construct(
        release=release.name, source=ranked.source, wanted=wanted, arm=arm, items=items
    )


def _explained(release: Release, user_id: str, listed: Recommendations) -> Recommendations:
    for item in listed.items:
        paths = release.model.explain(user_id, item.item_id).paths
        item.reasons = [Reason(text=path.text, strength=path.strength) for path in paths]
    return listed


def _response(listed: Recommendations, tag: str | None = None) -> Response:
    """Return a list as a response, with an ETag if the release alone decides it."""
    headers = {"ETag": tag} if tag else {"Cache-Control": "no-store"}
    return Response(listed.model_dump_json(exclude_none=True), media_type="application/json", headers=headers)
