"""The ladybug engine: opening its file, running statements, its errors as kgrec's."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from kgrec.errors import StoreError, StoreLocked
from kgrec.store.lock import lock

if TYPE_CHECKING:
    import ladybug

BUFFER_POOL: Final = 2 << 30
"""Bytes; enough to load and read 1M behaviours, where the engine alone would take most of the memory."""

PATIENCE: Final = 60.0
"""Seconds a reader waits for a writer that keeps changing the file."""

Signature = tuple[tuple[int, int, int], ...]


def quote(name: str) -> str:
    """Return a name as Cypher takes it whatever it is, reserved words included."""
    return f"`{name}`"


def open_file(path: Path, read_only: bool) -> ladybug.Database:
    """Open the file of a graph; without `read_only` it is made if missing, and its lock must be held.

    Raises:
        StoreError: it is not a graph, or not accessible.
    """
    import ladybug

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return ladybug.Database(
            path,
            read_only=read_only,
            buffer_pool_size=min(BUFFER_POOL, memory // 4),
            max_num_threads=os.cpu_count() or 1,
        )
    except RuntimeError as error:
        raise StoreError(f"cannot open the graph {path}: {error}") from error


def open_beside_writer(path: Path) -> ladybug.Database:
    """Open the file of a graph for reading.

    While a writer moves its log into the file, this waits; if a writer was killed at that, it finishes the work.

    Raises:
        StoreError: it is missing, not a graph, or not accessible.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        if not path.is_file() or not path.stat().st_size:
            raise StoreError(f"no graph at {path}; load data first: kgrec load LOADER SOURCE --into {path}")
        try:
            return open_file(path, read_only=True)
        except StoreError:
            if time.monotonic() > deadline:
                raise
        with suppress(StoreLocked):
            _recover(path)
        time.sleep(0.05)


def _recover(path: Path) -> None:
    descriptor = lock(path)
    try:
        open_file(path, read_only=False).close()
    finally:
        os.close(descriptor)


def signature(path: Path) -> Signature:
    """Return what changes when a graph's file, or its log, is written: the file's state, then the log's."""
    return tuple(_state(p) for p in (path, path.with_name(path.name + ".wal")))


def _state(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def execute(
    connection: ladybug.Connection, query: str, parameters: Mapping[str, Any] | None = None
) -> ladybug.QueryResult:
    """Run one statement.

    Raises:
        StoreError: with the engine's message and the query.
    """
    try:
        return cast("ladybug.QueryResult", connection.execute(query, dict(parameters or {})))
    except (RuntimeError, ValueError, TypeError) as error:
        raise _refused(query, str(error)) from error


def execute_prepared(connection: ladybug.Connection, query: str, parameters: Mapping[str, Any]) -> ladybug.QueryResult:
    """Run a user's query prepared: the engine then takes one statement only, so none can end the transaction first.

    Raises:
        StoreError: with the engine's message and the query.
    """
    import ladybug

    try:
        prepared = ladybug.PreparedStatement(connection, query, dict(parameters))
        if not prepared.is_success():
            raise RuntimeError(prepared.get_error_message())
        return cast("ladybug.QueryResult", connection.execute(prepared, dict(parameters)))
    except (RuntimeError, ValueError, TypeError) as error:
        raise _refused(query, str(error)) from error


def fetch(connection: ladybug.Connection, query: str) -> list[list[Any]]:
    """Run one statement and return its rows."""
    with execute(connection, query) as result:
        return cast("list[list[Any]]", result.get_all())


def _refused(query: str, message: str) -> StoreError:
    return StoreError(f"{message.strip()}\nin the query: {query.strip()}")
