"""The ladybug engine: opening its file, running statements, its errors as kgrec's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from kgrec._util.memory import room
from kgrec._util.query_process import Refused, TooManyRows, run
from kgrec.errors import StoreError
from kgrec.store.cypher_guard import check, explained
from kgrec.store.cypher_names import PROCEDURES
from kgrec.store.query_errors import offset_of, refused, too_long, too_many
from kgrec.store.statement import Statement

if TYPE_CHECKING:
    import ladybug
    import pyarrow as pa

BUFFER_POOL_BYTES: Final = 2 << 30
"""Bytes; enough to load and read 1M behaviors, where the engine alone would take most of the memory."""

_NO_VALUE: Final = "a parameter holds what the engine cannot take: a whole number beyond 64 bits, or half a character"
MAX_DATABASE_BYTES, MIN_FILE_BYTES = 1 << 43, 1 << 26
"""Bytes that the engine keeps addresses for by itself, and at least; powers of two."""

CHUNK_ROWS: Final = 100_000
"""Rows of a chunk of a table at most."""

LOGS: Final = (".wal", ".wal.checkpoint", ".shadow")
"""Endings of the files the engine keeps beside a graph while it is written in place, and replays on opening."""


def quote(name: str) -> str:
    """Return a name as Cypher takes it whatever it is, reserved words included."""
    return f"`{name}`"


def literal(text: str) -> str:
    """Return a text as a value in a statement that takes no parameters."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def buffer_pool() -> int:
    """Return the bytes that the engine may keep of a graph in memory."""
    left = room()
    most = BUFFER_POOL_BYTES if left is None else min(BUFFER_POOL_BYTES, left // 4)
    return min(most, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)


def largest_file() -> int:
    """Return the bytes that the engine keeps addresses for: its own 8 TB, or what a limit on memory leaves."""
    left = room()
    return (
        MAX_DATABASE_BYTES if left is None else 1 << max(MIN_FILE_BYTES.bit_length() - 1, (left // 4).bit_length() - 1)
    )


def open_file(path: Path, read_only: bool) -> ladybug.Database:
    """Open the file of a graph; without `read_only` it is made if missing, and must be locked.

    Raises:
        StoreError: it is not a graph, or not accessible.
    """
    import ladybug

    if read_only and not (path.is_file() and path.stat().st_size):
        raise StoreError(f"no graph at {path}; load data first: kgrec load LOADER SOURCE --into {path}")
    logs = [log for suffix in LOGS if os.path.lexists(log := path.with_name(path.name + suffix))]
    if logs:
        raise StoreError(
            f"{logs[0]} is beside the graph, and kgrec leaves none: another program was cut off, or it is of another "
            "file. Let that program finish its work, or move the log elsewhere"
        )
    try:
        return ladybug.Database(
            path,
            read_only=read_only,
            buffer_pool_size=buffer_pool(),
            max_num_threads=os.cpu_count() or 1,
            max_db_size=largest_file(),
        )
    except RuntimeError as error:
        raise StoreError(f"cannot open the graph {path}: {error}") from error


@contextmanager
def transaction(path: Path) -> Iterator[ladybug.Connection]:
    """Run the block in one write transaction on a file, and leave everything in that file, nothing in a log.

    Raises:
        StoreError: the engine failed; the file may then be unusable.
    """
    import ladybug

    with open_file(path, read_only=False) as database, ladybug.Connection(database) as connection:
        execute(connection, "BEGIN TRANSACTION")
        yield connection
        _commit(connection)


def _commit(connection: ladybug.Connection) -> None:
    try:
        execute(connection, "COMMIT")
        execute(connection, "CHECKPOINT")
    except StoreError as error:
        # The engine promises to recover the commit from its log, but the file it was made on is dropped.
        reason = str(error.__cause__).rpartition("exception: ")[2].strip()
        raise StoreError(f"cannot write the graph, which is as it was; is the disk full? {reason}") from error


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


def as_arrow(result: ladybug.QueryResult) -> pa.Table:
    """Return a result as a table, in chunks of its own size: the engine takes the memory of a whole chunk at once."""
    return result.get_as_arrow(max(1, min(result.get_num_tuples(), CHUNK_ROWS)))


def ask(path: Path, statement: Statement, version: tuple[int, ...] = ()) -> pa.Table:
    """Run a user's statement in a process of its own: one statement only, and every parameter it names must be given.

    Args:
        path: file of the graph; for a statement that writes it must be locked.
        statement: with its limits.
        version: changes when another file has taken the place of this one.

    Raises:
        StoreError: with the engine's message and the query, or the limit that it went over.
    """
    text, limits = statement.text, (float(statement.time_limit), int(statement.row_limit))
    checked = text if statement.unsafe else check(text, "ladybug", statement.write)
    request = {
        "engine": "ladybug",
        "path": str(path),
        "version": [str(path), *version],
        "buffer_pool": buffer_pool(),
        "largest_file": largest_file(),
        "text": checked,
        "plan": "" if statement.unsafe else explained(checked),
        "functions": sorted(PROCEDURES["ladybug"]),
        "parameters": statement.packed_parameters(),
        "write": statement.write,
        "unsafe": statement.unsafe,
        "time_limit": limits[0],
        "row_limit": limits[1],
    }
    try:
        return run(request, statement.time_limit)
    except TimeoutError:
        raise too_long(text, limits[0]) from None
    except TooManyRows:
        raise too_many(text, limits[1]) from None
    except Refused as error:
        if str(error) == "Interrupted.":
            raise too_long(text, limits[0]) from None
        reason = _NO_VALUE if str(error).startswith("Unable to cast Python instance") else str(error)
        raise _refused(text, reason) from None


def fetch(connection: ladybug.Connection, query: str) -> list[list[Any]]:
    """Run one statement and return its rows."""
    with execute(connection, query) as result:
        return cast("list[list[Any]]", result.get_all())


def _refused(query: str, message: str) -> StoreError:
    """Turn the engine's message, without the piece of the query it may quote, into an error with a caret."""
    reason = message.strip().splitlines()[0]
    return refused(query, re.sub(r" \(line: \d+, offset: \d+\)$", "", reason), "ladybug", _offset(query, reason))


def _offset(query: str, message: str) -> int | None:
    """Return where the fault is: the place that the engine names, else the name it complains about."""
    place = re.search(r"\(line: (\d+), offset: (\d+)\)$", message)
    if place:
        return offset_of(query, int(place[1]), int(place[2]) + 1)
    name = re.search(r"(?:Table|property|function|Variable|Parameter) (\w+)", message)
    found = re.search(rf"\b{name[1]}\b", query, re.IGNORECASE) if name else None
    return found.start() if found else None
