"""The live release: loaded in a thread when another run is published, and replaced in one step.

A request takes the live release once, so that its answer comes from one release. The old one is freed by its last
request.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from kgrec._util.files import reason
from kgrec.errors import KgrecError
from kgrec.runs.publications import HISTORY_FILE
from kgrec.serve.release import Release, published_run
from kgrec.store.uri import GraphUri

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""Seconds between two looks for another publication."""
RETRY_SECONDS: Final = 10.0
"""Seconds until a run that could not be loaded is tried again."""


class Releases:
    """The live release of a graph, kept up to date by a thread.

    Attributes:
        failures: number of publications that could not be loaded.
        fixed: name → other run in memory.
    """

    def __init__(self, graph: str, root: Path, fixed: Iterable[str] = ()) -> None:
        """Load the live release, if any.

        Args:
            graph: URI of the graph.
            root: folder of its runs.
            fixed: names of runs that are loaded too, for the arms of an experiment.

        Raises:
            StoreError: the graph does not exist or cannot be read.
            RunError: the published run is damaged.
        """
        self.graph, self.root, self.failures = graph, root, 0
        self._stop, self._stamp, self._again = threading.Event(), self._look(), 0.0
        self._live = self._load(published_run(graph))
        self.fixed: Mapping[str, Release] = {name: warmed(Release.load(graph, root, name)) for name in fixed}
        self._thread = threading.Thread(target=self._watch, name="kgrec-releases", daemon=True)

    @property
    def live(self) -> Release | None:
        """The live release; None if nothing is published."""
        return self._live

    def start(self) -> None:
        """Start to look for other publications."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def update(self) -> None:
        """Take up the published run if it is another one, or was rewritten by an erasure."""
        name = published_run(self.graph)
        if (name, self._written(name)) != self._is:
            self._live = self._load(name)
            logger.info(f"release {name or 'none'} of {self.graph} is live")

    def _load(self, name: str | None) -> Release | None:
        found = name, self._written(name)
        release = None if name is None else warmed(Release.load(self.graph, self.root, name))
        self._is = found
        return release

    def _written(self, name: str | None) -> tuple[int, ...] | None:
        """Return what changes if a run is written again."""
        return _stamp(self.root / name / "run.json") if name else None

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            stamp = self._look()
            if stamp == self._stamp and not (self._again and time.monotonic() > self._again):
                continue
            try:
                self.update()
                self._stamp, self._again = stamp, 0.0
            except (KgrecError, OSError) as error:
                self.failures, self._stamp, self._again = self.failures + 1, stamp, time.monotonic() + RETRY_SECONDS
                logger.error(f"{self.graph}: the published run was not taken up: {_text(error)}")

    def _look(self) -> tuple[Any, ...]:
        """Return what a publication changes: the history of publications, and the file of an embedded graph."""
        path = GraphUri.parse(self.graph).path
        return tuple(_stamp(place) for place in (self.root / HISTORY_FILE, path) if place)


def warmed(release: Release) -> Release:
    """Return a release after it has answered once each way."""
    release.warm()
    return release


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _text(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)
