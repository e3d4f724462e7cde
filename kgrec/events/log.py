"""Event log: an append-only file beside the graph that several processes write and read.

An event is acknowledged after its line is on disk. The writer holds a lock on the folder and first reads the lines of
other processes, so that no event id is written twice. A line that a killed writer left incomplete was not
acknowledged; the next writer cuts it off.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kgrec._util.files import locked, strange_target
from kgrec.errors import StoreError
from kgrec.events.event import Event

LOG_FILE: Final = "events.jsonl"
REJECTED_FILE: Final = "rejected.jsonl"
TAKEN: Final = "taken-"
"""Prefix of the name of a log whose events a refresh wrote to the graph."""


def events_folder(root: Path) -> Path:
    """Return the folder of events, which is beside the folder of runs."""
    return root.with_name(f"{root.stem}.events")


class EventLog:
    """The events of a folder, by user, as this process last read them.

    Several threads may use it at the same time.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open the log of a folder, which is created if it does not exist.

        Raises:
            StoreError: the folder or a log cannot be read, or a line is not an event.
        """
        self.folder = Path(folder)
        self._thread_lock = threading.Lock()
        with as_store_error(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        self.update()

    def __len__(self) -> int:
        """Number of events."""
        return len(self._ids)

    def of(self, user_id: str) -> Sequence[Event]:
        """Return the events of a user, in the order in which they were written."""
        return self._by_user.get(user_id, ())

    def append(self, events: Sequence[Event], rejected: Sequence[tuple[Event, str]] = ()) -> list[bool]:
        """Write the events with new ids, and the rejected ones with their reasons, to disk.

        Returns:
            For each event, whether its id was new.

        Raises:
            StoreError: the log cannot be written, for instance because the disk is full; no event was written.
        """
        with self._thread_lock, as_store_error(self.folder), locked(self.folder):
            self._read()
            new, first = [], set[str]()
            for event in events:
                new.append(event.event_id not in self._ids and event.event_id not in first)
                first.add(event.event_id)
            fresh = [event for event, is_new in zip(events, new, strict=True) if is_new]
            if rejected:
                append_lines(self.folder / REJECTED_FILE, "".join(event.to_line(reason=why) for event, why in rejected))
            if fresh:
                append_lines(self.folder / LOG_FILE, "".join(event.to_line() for event in fresh))
                self._read()
            return new

    def update(self) -> None:
        """Read the events that other processes wrote.

        Raises:
            StoreError: a log cannot be read, or a line is not an event.
        """
        with self._thread_lock, as_store_error(self.folder):
            self._read()

    def _clear(self) -> None:
        self._ids: set[str] = set()
        self._by_user: defaultdict[str, list[Event]] = defaultdict(list)
        self._files: list[tuple[int, int] | None] = []
        self._offset = 0

    def _read(self) -> None:
        """Read new lines of the log; all logs if one was set aside or replaced, by a refresh or an erasure."""
        aside, log = sorted(self.folder.glob(f"{TAKEN}*.jsonl")), self.folder / LOG_FILE
        files = [_identity(path) for path in (*aside, log)]
        if files != self._files:
            self._clear()
            self._files = files
            for path in aside:
                self._take(path, 0)
        if files[-1]:
            self._offset = self._take(log, self._offset)

    def _take(self, path: Path, offset: int) -> int:
        """Take the complete lines of a log from an offset on; return the offset after them."""
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read()
        end = content.rfind(b"\n") + 1
        for event in parsed(content[:end], path):
            if event.event_id not in self._ids:
                self._ids.add(event.event_id)
                self._by_user[event.user_id].append(event)
        return offset + end


def parsed(content: bytes, path: Path) -> Iterator[Event]:
    """Yield the events of complete lines.

    Raises:
        StoreError: a line is not an event.
    """
    for number, line in enumerate(content.splitlines(), 1):
        try:
            yield Event.from_line(line)
        except ValueError as error:
            raise StoreError(f"{path}, line {number}: not an event ({error}). Move the line to another file") from None


def append_lines(path: Path, text: str) -> None:
    """Append lines to a file and sync it to disk; the file is unchanged if that fails."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        size = _complete(descriptor)
        try:
            view = memoryview(text.encode())
            while view:
                view = view[os.pwrite(descriptor, view, os.fstat(descriptor).st_size) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _complete(descriptor: int) -> int:
    """Cut off an incomplete last line of a file; return its size."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 1 << 20, max(0, size - (1 << 20)))
    kept = size - len(tail) + tail.rfind(b"\n") + 1
    if kept < size:
        os.ftruncate(descriptor, kept)
    return kept


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a plain file; None if there is none.

    Raises:
        OSError: the path is something else, such as a link.
    """
    kind = strange_target(path)
    if kind:
        raise OSError(errno.EINVAL, f"{path.name} is {kind}, not a plain file")
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def as_store_error(folder: Path) -> Iterator[None]:
    """Raise an error of the operating system as a `StoreError`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"the event log in {folder} cannot be used: {error.strerror or error}") from error
