"""Progress of long work: a bar in terminals and notebooks, else lines in the log `kgrec.progress`.

What is done at all is logged by the module that does it, at level INFO, under the name of the module.
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
"""Work that takes no longer than this has no line in a log."""

LINE_SECONDS: Final = 30.0
"""Seconds between two lines about one piece of work."""


def track(
    items: Iterable[T], description: str, total: int | None = None, costs: Sequence[float] | None = None
) -> Iterator[T]:
    """Yield `items`, and show how far the work is and about how long it will take.

    Args:
        items: what is worked on.
        description: what is being done, in words.
        total: number of items, where `items` has no length.
        costs: how long each item is expected to take, in any unit; all the same if not given.
    """
    known = total if total is not None else len(items) if isinstance(items, Sized) else 0
    parts = list(costs) if costs is not None else [1.0] * known
    with _Bar(description, sum(parts)) if is_shown() else _Lines(description, sum(parts)) as shown:
        for number, item in enumerate(items):
            yield item
            shown.advance(parts[number] if number < len(parts) else 1.0)


def is_shown() -> bool:
    """Return whether bars are shown: stderr is a terminal, or a notebook shows the output."""
    return is_watched() or in_notebook()


def in_notebook() -> bool:
    """Return whether the code runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


class _Tqdm(tqdm):  # type: ignore[misc]  # tqdm has no types
    """A bar without the thread that watches over it: kgrec starts processes, and threads do not survive a fork."""

    monitor_interval = 0


class _Bar:
    """A bar, shown only once the work has taken half a second."""

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
        """Note that a part of the work is done."""
        self._bar.update(part)


class _Lines:
    """Lines in a log, the first only once the work has proved to be long."""

    def __init__(self, description: str, total: float) -> None:
        self._description, self._total, self._done = description, total, 0.0
        self._start, self._next = time.monotonic(), FIRST_LINE_SECONDS

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None and self._next > FIRST_LINE_SECONDS:
            logger.info("%s: done in %s", self._description, in_words(time.monotonic() - self._start))

    def advance(self, part: float) -> None:
        """Note that a part of the work is done, and log a line if it is time for one."""
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
