"""One job at a time on a graph: a lock that a job holds for as long as its process lives.

It covers minutes of work, in which the store is read and written several times. For an embedded graph it is a locked
file beside the graph, which the system unlocks when the process ends, however it ends. The file names the holder. On a
server it is a marker in the database.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import lock_descriptor

from kgrec._util.files import reason, strange_target
from kgrec._util.owner import HOST
from kgrec.errors import StoreError, StoreLocked
from kgrec.store.uri import GraphUri

LONGEST_HOLDER: Final = 4096
"""Bytes of a lock file that are read at most."""

Check = Callable[[], None]
"""Raises StoreError if the lock was lost: another job may have begun."""


@contextmanager
def leased(uri: str) -> Iterator[Check]:
    """Hold the lock of a graph in the block.

    Args:
        uri: of the graph.

    Yields:
        A function to call before a step that must not happen twice; it raises StoreError if the lock was lost.

    Raises:
        StoreLocked: another job holds it; the message names its process.
        StoreError: the lock file cannot be written.
    """
    if GraphUri.parse(uri).is_server:
        from kgrec.store.neo4j.job_lock import leased_on_server

        with leased_on_server(uri) as check:
            yield check
    else:
        with _in_file(uri) as check:
            yield check


def lease_file(uri: str) -> Path:
    """Return the lock file of an embedded graph, beside the graph."""
    path = GraphUri.parse(uri).path or Path(uri)
    path = path.expanduser().resolve()
    return path.with_name(f".{path.name}.lease")


@contextmanager
def _in_file(uri: str) -> Iterator[Check]:
    path = lease_file(uri)
    descriptor = _opened(path)
    try:
        if not lock_descriptor(descriptor, blocking=False):
            raise StoreLocked(f"{_holder(descriptor)} is at work on {uri}; try again when it is done")
        _write_holder(descriptor, path)
        try:
            yield lambda: _check_held(descriptor, path, uri)
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # unlocks it


def _opened(path: Path) -> int:
    """Open a lock file for reading and writing; create it, and its folder, if needed.

    Raises:
        StoreError: the disk refuses, or something else than a plain file is there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if found := strange_target(path):
            raise StoreError(f"{path} is {found}; expected the lock file of a graph, or a free name. Remove it")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StoreError(_refused(path, error)) from error


def _write_holder(descriptor: int, path: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(json.dumps({"pid": os.getpid(), "host": HOST}).encode())
    except OSError as error:
        raise StoreError(_refused(path, error)) from error


def _holder(descriptor: int) -> str:
    """Return the name of the process that holds a lock file, by the content of the file."""
    try:
        found = json.loads(os.pread(descriptor, LONGEST_HOLDER, 0))
        return f"process {int(found['pid'])} on {found['host']}"
    except (ValueError, TypeError, LookupError, OSError, RecursionError):
        return "another process"  # it has not written its name yet


def _check_held(descriptor: int, path: Path, uri: str) -> None:
    """Check that the locked file is still the one at its path.

    Raises:
        StoreError: it was removed or replaced, so another job may hold a lock too.
    """
    if not os.path.exists(path) or not os.path.samestat(os.fstat(descriptor), os.stat(path)):
        raise StoreError(f"{uri}: the lock file {path} was removed, so another job may have begun; run this again")


def _refused(path: Path, error: OSError) -> str:
    return f"{path}, the lock file of a graph, cannot be written: {reason(error)}"
