"""Erasure of a user or an item from the logs of events and exposures of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from kgrec._util.files import atomic_path, locked
from kgrec.errors import StoreError

Role = Literal["user", "item"]


def events_of(folder: Path, role: Role, id_: str) -> int:
    """Return the number of events of a user or an item, rejected ones included.

    Raises:
        StoreError: a log cannot be read.
    """
    return sum(_is_of(line, role, id_) for path in _logs(folder) for line in _lines(path))


def erase(folder: Path, role: Role, id_: str) -> int:
    """Remove the events of a user or an item, rejected ones included; return their number.

    A service that has the folder open reads its logs again. A line that is not an event is removed if it contains the
    id.

    Raises:
        StoreError: a log cannot be read or written.
    """
    if not folder.is_dir():
        return 0
    n = 0
    try:
        with locked(folder):
            for path in _logs(folder):
                lines = _lines(path)
                kept = [line for line in lines if not _is_of(line, role, id_)]
                if len(kept) < len(lines):
                    with atomic_path(path) as made:
                        made.write_bytes(b"".join(kept))
                n += len(lines) - len(kept)
    except OSError as error:
        raise StoreError(f"the event log in {folder} cannot be used: {error.strerror or error}") from error
    return n


def _logs(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.jsonl"))


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _is_of(line: bytes, role: Role, id_: str) -> bool:
    """Return whether a line is an event or an exposure of a user or an item, or is neither and contains the id."""
    try:
        values = json.loads(line)
        owner = values["user_id"]
        items = values["items"] if "items" in values else [values["item_id"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return id_.encode() in line
    return id_ == owner if role == "user" else id_ in items
