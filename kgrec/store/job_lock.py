"""Lock that lets only one job at a time work on a graph.

A job holds the lock for minutes, while it reads and writes the store several times. For an embedded graph the lock is a
locked file beside the graph that names the holder; the system unlocks the file when the process ends for any reason. On
a server it is a marker in the database.
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

MAX_HOLDER_BYTES: Final = 4096
"""Maximum number of bytes read from a lock file."""

Check = Callable[[], None]
"""Raises StoreError if the lock was lost, since another job may have started."""


@contextmanager
def leased(uri: str) -> Iterator[Check]:
    """Hold the lock of a graph during the block.

    Args:
        uri: URI of the graph.

    Yields:
        A function to call before each step that must not run twice; it raises StoreError if the lock was lost.

    Raises:
        StoreLocked: another job holds the lock; the message names its process.
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
            raise StoreLocked(f"{_holder(descriptor)} is working on {uri}; try again when it has finished")
        _write_holder(descriptor, path)
        try:
            yield lambda: _check_held(descriptor, path, uri)
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # unlocks it


def _opened(path: Path) -> int:
    """Return the descriptor of a lock file, which is created with its folder if it does not exist.

    Raises:
        StoreError: the file cannot be opened, or the path is not a plain file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind := strange_target(path):
            raise StoreError(f"{path} is {kind}; expected the lock file of a graph, or a free name. Remove it")
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
    """Return the name of the process that a lock file names as its holder."""
    try:
        holder = json.loads(os.pread(descriptor, MAX_HOLDER_BYTES, 0))
        return f"process {int(holder['pid'])} on {holder['host']}"
    except (ValueError, TypeError, LookupError, OSError, RecursionError):
        return "another process"  # the holder has not written its name yet


def _check_held(descriptor: int, path: Path, uri: str) -> None:
    """Check that the lock file was not removed or replaced.

    Raises:
        StoreError: it was, so another job may hold a lock too.
    """
    if not os.path.exists(path) or not os.path.samestat(os.fstat(descriptor), os.stat(path)):
        raise StoreError(f"{uri}: the lock file {path} was removed, so another job may have started; run this again")


def _refused(path: Path, error: OSError) -> str:
    return f"the lock file of the graph cannot be written: {path}: {reason(error)}"
