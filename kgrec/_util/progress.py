"""Progress of long work: on stderr, silent when nobody watches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from kgrec._util.streams import is_watched
from kgrec._util.terminal import escaped

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items`, showing a bar with `description` and the time left while stderr is a terminal.

    Args:
        items: what is worked on.
        description: what is being done, in words.
        total: number of items, where `items` has no length.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not is_watched()) as bar:
        yield from bar.track(items, description=escaped(description), total=total)


def say(message: str) -> None:
    """Show one line of progress on stderr while it is a terminal."""
    if is_watched():
        Console(stderr=True).print(Text(escaped(message)), style="dim")
