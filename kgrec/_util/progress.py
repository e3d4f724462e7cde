"""Progress of long tasks: a bar in terminals and notebooks, else lines in the log `kgrec.progress`.

The steps themselves are logged by the modules that run them, at level INFO under the name of the module.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Final, TypeVar

from tqdm.auto import tqdm

from kgrec._util.duration import in_words
from kgrec._util.streams import is_watched
from kgrec._util.terminal import escaped

T = TypeVar("T")
logger = logging.getLogger("kgrec.progress")

FIRST_LINE_SECONDS: Final = 10.0
"""Seconds before the first log line; shorter tasks are not logged."""

LINE_SECONDS: Final = 30.0
"""Seconds between two log lines of a task."""


def track(
    items: Iterable[T], description: str, total: int | None = None, costs: Sequence[float] | None = None
) -> Iterator[T]:
    """Yield items while showing the progress and the estimated remaining time.

    Args:
        items: items to process.
        description: the task, in words.
        total: number of items if `items` has no length.
        costs: expected relative duration of each item; None means equal durations.
    """
    known = total if total is not None else len(items) if isinstance(items, Sized) else 0
    parts = list(costs) if costs is not None else [1.0] * known
    with _Bar(description, sum(parts)) if is_shown() else _Lines(description, sum(parts)) as shown:
        for number, item in enumerate(items):
            yield item
            shown.advance(parts[number] if number < len(parts) else 1.0)


def is_shown() -> bool:
    """Return True if bars are shown: stderr is a terminal, or the code runs in a notebook."""
    return is_watched() or in_notebook()


def in_notebook() -> bool:
    """Return True if the code runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


class _Tqdm(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A tqdm bar without its monitor thread, since kgrec forks processes and threads do not survive a fork."""

    monitor_interval = 0


class _Bar:
    """A progress bar that appears half a second after the start of a task."""

    def __init__(self, description: str, total: float) -> None:
        shape = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, about {remaining} left" if total else None
        self._bar = _Tqdm(
            total=total or None, desc=escaped(description), bar_format=shape, leave=False, disable=False, delay=0.5
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, part: float) -> None:
        """Advance the bar by a part of the total."""
        self._bar.update(part)


class _Lines:
    """Log lines about a task, the first one after `FIRST_LINE_SECONDS`."""

    def __init__(self, description: str, total: float) -> None:
        self._description, self._total, self._done = description, total, 0.0
        self._start, self._next = time.monotonic(), FIRST_LINE_SECONDS

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None and self._next > FIRST_LINE_SECONDS:
            logger.info("%s: done in %s", self._description, in_words(time.monotonic() - self._start))

    def advance(self, part: float) -> None:
        """Advance by a part of the total, and log a line if one is due."""
        self._done += part
        passed = time.monotonic() - self._start
        if passed < self._next or (self._total and self._done >= self._total):
            return
        self._next = passed + LINE_SECONDS
        if self._total:
            left = in_words(passed * (self._total - self._done) / self._done)
            logger.info("%s: %.0f %%, about %s left", self._description, 100 * self._done / self._total, left)
        else:
            logger.info("%s: %s so far", self._description, in_words(passed))
