"""The ASGI app of the service."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import anyio
from fastapi import FastAPI
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from kgrec.errors import StoreError
from kgrec.events.exposures import ExposureLog
from kgrec.events.log import EventLog, events_folder
from kgrec.runs.folder import runs_folder
from kgrec.serve.experiment import Experiment
from kgrec.serve.keys import ApiKeys
from kgrec.serve.middleware import Envelope
from kgrec.serve.problems import MEDIA_TYPE, Problem, add_handlers
from kgrec.serve.releases import Releases
from kgrec.serve.routes import catalog, events, operations, queries, recommendations
from kgrec.serve.service import Service

logger = logging.getLogger(__name__)

EVENT_POLL_SECONDS: Final = 0.3
"""Seconds between two looks for events that other processes wrote."""

THREADS: Final = 4
"""Requests that are scored at a time; more would only take turns."""

_PROBLEM: Final = {"description": "Problem", "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = dict.fromkeys(
    (400, 401, 403, 404, 408, 413, 422, 429, 503, 507), _PROBLEM
)


def create_app(
    graph: str,
    runs: str | Path | None = None,
    keys: str | Path | None = None,
    experiment: str | Path | None = None,
) -> FastAPI:
    """Return the app that serves a graph's published run.

    Args:
        graph: URI of the graph.
        runs: folder of its runs; default: beside the graph.
        keys: file of API keys; None allows every request.
        experiment: file of an A/B test.

    Raises:
        StoreError: the graph does not exist or cannot be read, or the event log cannot be used.
        RunError: the published run, or one of the experiment, is missing or damaged.
        UsageError: the file of keys or of the experiment cannot be read.
    """
    threadpool_limits(1)  # many small requests: threads of one would wait for those of another
    root = runs_folder(graph, runs)
    test = Experiment.read(experiment) if experiment else None
    fixed = [arm.release for arm in test.arms.values() if arm.release] if test else []
    folder = events_folder(root)
    service = Service(
        Releases(graph, root, fixed),
        EventLog(folder),
        ApiKeys(keys) if keys else None,
        ExposureLog(folder),
        test,
    )
    app = FastAPI(
        title="kgrec",
        version=version("kgrec"),
        description="Recommendations from a knowledge graph.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        responses=_PROBLEMS,
    )
    app.state.service = service
    add_handlers(app)
    for part in (recommendations, catalog, events, queries, operations):
        app.include_router(part.router)
    app.add_middleware(Envelope, metrics=service.metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Follow publications and events while the app runs."""
    service: Service = app.state.service
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    stop = threading.Event()
    follower = threading.Thread(target=_follow, args=(service, stop), name="kgrec-events", daemon=True)
    service.releases.start()
    follower.start()
    yield
    stop.set()
    service.releases.stop()
    follower.join()
    service.exposures.flush()


def _follow(service: Service, stop: threading.Event) -> None:
    """Read the events of other processes and write exposures, until `stop` is set; a failure is logged and retried."""
    while not stop.wait(EVENT_POLL_SECONDS):
        try:
            service.events.update()
            service.exposures.flush()
        except StoreError as error:
            logger.error(str(error))
