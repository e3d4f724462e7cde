"""The ladybug engine: opening a graph file, running statements, and translating errors to `StoreError`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from kgrec._util.memory import address_space_left
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
"""Maximum buffer pool in bytes: enough for 1M interactions; the engine's default takes most of the memory."""

_NO_VALUE: Final = "the engine cannot take a value of a parameter: an integer beyond 64 bits, or a lone surrogate"
MAX_DATABASE_BYTES, MIN_FILE_BYTES = 1 << 43, 1 << 26
"""Address space in bytes that the engine reserves by default, and the minimum; powers of two."""

CHUNK_ROWS: Final = 100_000
"""Maximum number of rows in a chunk of a result table."""

LOGS: Final = (".wal", ".wal.checkpoint", ".shadow")
"""Suffixes of the log files that the engine keeps beside a graph during writes and replays when it opens the graph."""


def quote(name: str) -> str:
    """Return a name in backticks, so that Cypher accepts any name, including reserved words."""
    return f"`{name}`"


def literal(text: str) -> str:
    """Return a text as a quoted Cypher literal, for statements that take no parameters."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def buffer_pool() -> int:
    """Return the size of the engine's buffer pool in bytes."""
    left = address_space_left()
    most = BUFFER_POOL_BYTES if left is None else min(BUFFER_POOL_BYTES, left // 4)
    return min(most, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)


def largest_file() -> int:
    """Return the address space in bytes that the engine may reserve: 8 TB, or less if `ulimit -v` limits memory."""
    left = address_space_left()
    return (
        MAX_DATABASE_BYTES if left is None else 1 << max(MIN_FILE_BYTES.bit_length() - 1, (left // 4).bit_length() - 1)
    )


def open_file(path: Path, read_only: bool) -> ladybug.Database:
    """Return the opened database of a graph file.

    For writing, the caller must hold the file's lock; the file is created if it does not exist.

    Raises:
        StoreError: the file does not exist (`read_only`), is not a graph, or is not accessible.
    """
    import ladybug

    if read_only and not (path.is_file() and path.stat().st_size):
        raise StoreError(f"no graph at {path}. Run: kgrec load LOADER SOURCE --into {path}")
    logs = [log for suffix in LOGS if os.path.lexists(log := path.with_name(path.name + suffix))]
    if logs:
        raise StoreError(
            f"found a log file beside the graph that kgrec did not write: {logs[0]}. Another program wrote the graph "
            "and was interrupted, or the log belongs to another file. Finish the write with that program, or move the "
            "log to another folder"
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
    """Run the block in one write transaction on a file and flush the engine's log into the file.

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
        # The engine could recover the commit from its log, but the copy that it was made on is discarded.
        reason = str(error.__cause__).rpartition("exception: ")[2].strip()
        raise StoreError(f"cannot write the graph, which was not changed; is the disk full? {reason}") from error


def execute(
    connection: ladybug.Connection, query: str, parameters: Mapping[str, Any] | None = None
) -> ladybug.QueryResult:
    """Return the result of one statement.

    Raises:
        StoreError: the engine refused the statement; the message shows the engine's reason and the query.
    """
    try:
        return cast("ladybug.QueryResult", connection.execute(query, dict(parameters or {})))
    except (RuntimeError, ValueError, TypeError) as error:
        raise _refused(query, str(error)) from error


def as_arrow(result: ladybug.QueryResult) -> pa.Table:
    """Return a result as a table, in chunks no larger than needed: the engine allocates full chunks in advance."""
    return result.get_as_arrow(max(1, min(result.get_num_tuples(), CHUNK_ROWS)))


def ask(path: Path, statement: Statement, version: tuple[int, ...] = ()) -> pa.Table:
    """Return the result of a user's statement, run in a separate process.

    Args:
        path: file of the graph; for a statement that writes, the caller must hold its lock.
        statement: a single statement with its limits and values for all its parameters.
        version: identity of the file; changes when the file is replaced.

    Raises:
        StoreError: the statement is invalid, not allowed, or exceeds a limit; the message shows the reason and the
            query.
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
    """Return the rows of one statement."""
    with execute(connection, query) as result:
        return cast("list[list[Any]]", result.get_all())


def _refused(query: str, message: str) -> StoreError:
    """Return the error for the engine's message, with a caret in place of the engine's quote of the query."""
    reason = message.strip().splitlines()[0]
    return refused(query, re.sub(r" \(line: \d+, offset: \d+\)$", "", reason), "ladybug", _offset(query, reason))


def _offset(query: str, message: str) -> int | None:
    """Return the position of the fault: the position in the engine's message, else that of the name in the message."""
    place = re.search(r"\(line: (\d+), offset: (\d+)\)$", message)
    if place:
        return offset_of(query, int(place[1]), int(place[2]) + 1)
    name = re.search(r"(?:Table|property|function|Variable|Parameter) (\w+)", message)
    match = re.search(rf"\b{name[1]}\b", query, re.IGNORECASE) if name else None
    return match.start() if match else None
