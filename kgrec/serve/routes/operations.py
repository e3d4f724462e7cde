"""Routes for operators: health, metrics, releases."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from kgrec.runs.publications import publications
from kgrec.serve.models import ReleaseInfo, State
from kgrec.serve.service import Admin, Reader, service_of

router = APIRouter()


@router.get("/health/live", tags=["operations"])
async def live() -> State:
    """Return whether the process answers."""
    return State(state="live")


@router.get("/health/ready", tags=["operations"], responses={503: {"model": State}})
async def ready(request: Request, response: Response) -> State:
    """Return whether a release is in memory; status 503 if none is."""
    release = service_of(request).releases.live
    if release is None:
        response.status_code = 503
        return State(state="not ready")
    return State(state="ready", release=release.name)


@router.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
def metrics(service: Admin) -> Response:
    """Return the metrics of this process for Prometheus."""
    service.measure()
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/releases", tags=["operations"])
def releases(service: Reader) -> ReleaseInfo:
    """Return the live release, and the runs that were published before it."""
    release = service.releases.live
    earlier = [known.run for known in reversed(publications(service.releases.root)) if known.run]
    return ReleaseInfo(
        release=release.name if release else None,
        since=release.since if release else None,
        metrics=dict(release.metrics) if release else {},
        users=release.train.n_users if release else 0,
        items=release.train.n_items if release else 0,
        earlier=[name for name in dict.fromkeys(earlier) if not release or name != release.name],
    )
