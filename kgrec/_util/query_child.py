"""Child process that runs a user's query, so that the query can be stopped whatever the engine does.

`kgrec._util.query_process` starts it, isolated from the working folder and PYTHONPATH; it ends with its parent.
Requests and answers are pairs of a JSON object and bytes, each preceded by its length; the bytes of an answer are a
table in Arrow's stream format. During a read-only request the system refuses to write files.

The module imports only an engine and Arrow, since a command waits for the process to start.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import struct
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Final, cast

from kgrec._util.memory import die_with_parent
from kgrec._util.values import PACKED, packed, table, unpack

if TYPE_CHECKING:
    import ladybug
    import pyarrow as pa
    import pyoxigraph as ox

HEAD: Final = struct.Struct("<QQ")
"""Head of a message: lengths of its JSON and of its bytes."""

_FUNCTION: Final = re.compile(r"Function: (\w+)")
_BEYOND: Final = re.compile(r"\b(\w*(?:COPY|EXPORT|IMPORT|EXTENSION|ATTACH|DETACH|TRANSACTION|STANDALONE)\w*)\[\d+\]")
"""Operators of a ladybug plan that do more than read the graph."""
_NOT_IN_ARROW: Final = ("MAP(", "UNION(")
"""Types of ladybug that have no equivalent in Arrow."""


class _Refused(Exception):
    """The engine refused a statement; the text is the engine's message."""


class _TooMany(Exception):
    """A statement exceeds its row limit."""


def main(parent: int) -> None:
    """Answer requests until stdin or the process `parent` ends."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles interrupts of the terminal
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _let_write(False)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for stream in (0, 1):  # keep output of the engine out of the answers
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    import pyarrow as pa

    engines: dict[str, Callable[[dict[str, Any]], pa.Table]] = {"ladybug": Ladybug(), "oxigraph": Oxigraph()}
    _send(answers, {"ready": True})
    while request := _received(requests):
        _let_write(request["write"] or request["unsafe"])
        try:
            answer = engines[request["engine"]](request)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, answer.schema) as stream:
                stream.write_table(answer)
            _send(answers, {}, sink.getvalue())
        except _TooMany:
            _send(answers, {"too_many": True})
        except MemoryError as error:
            _send(answers, {"refused": str(error) or "the query needs more memory than is available"})
        except Exception as error:  # an engine may raise anything, and this process must continue
            _send(answers, {"refused": str(error) or type(error).__name__})
        finally:
            _let_write(False)


class Ladybug:
    """Runs statements in ladybug and keeps the last read graph open."""

    def __init__(self) -> None:
        self._open: ladybug.Database | None = None
        self._what: Any = None

    def __call__(self, request: dict[str, Any]) -> pa.Table:
        import ladybug

        try:
            if request["write"]:
                with self._database(request, ladybug) as database, ladybug.Connection(database) as connection:
                    connection.execute("BEGIN TRANSACTION")
                    answer = self._run(connection, request, ladybug)
                    connection.execute("COMMIT")
                    connection.execute("CHECKPOINT")
                return answer
            if self._open is None or self._what != request["version"]:
                self._open, self._what = None, None
                self._open, self._what = self._database(request, ladybug), request["version"]
            with ladybug.Connection(self._open) as connection:
                return self._run(connection, request, ladybug)
        except (RuntimeError, ValueError, TypeError) as error:
            raise _Refused(str(error)) from None

    def _database(self, request: dict[str, Any], engine: Any) -> ladybug.Database:
        opened: ladybug.Database = engine.Database(
            request["path"],
            read_only=not request["write"],
            buffer_pool_size=request["buffer_pool"],
            max_num_threads=os.cpu_count() or 1,
            max_db_size=request["largest_file"],
        )
        return opened

    def _run(self, connection: ladybug.Connection, request: dict[str, Any], ladybug: Any) -> pa.Table:
        text, parameters = request["text"], unpack(request["parameters"])
        if request["plan"]:
            self._check_plan(connection, request)
        connection.set_query_timeout(max(1, int(request["time_limit"] * 1000)))
        prepared = ladybug.PreparedStatement(connection, text, parameters)
        if not prepared.is_success():
            raise _Refused(prepared.get_error_message())
        with cast("ladybug.QueryResult", connection.execute(prepared, parameters)) as result:
            if result.get_num_tuples() > request["row_limit"]:
                raise _TooMany
            return _of_ladybug(result)

    def _check_plan(self, connection: ladybug.Connection, request: dict[str, Any]) -> None:
        """Check that the engine's plan only accesses the graph; errors of the statement are reported when it runs."""
        try:
            with cast("ladybug.QueryResult", connection.execute("EXPLAIN " + request["plan"])) as result:
                plan = str(result.get_all())
        except RuntimeError:
            return
        functions = {name.lower() for name in _FUNCTION.findall(plan)} - {"read_ftable", *request["functions"]}
        strange = sorted(functions | set(_BEYOND.findall(plan)))
        if strange:
            raise _Refused(f"by the engine's plan, the query runs {strange[0]}, which accesses more than the graph")


class Oxigraph:
    """Runs queries and updates in Oxigraph and keeps the last read version open."""

    def __init__(self) -> None:
        self._open: ox.Store | None = None
        self._what = ""

    def __call__(self, request: dict[str, Any]) -> pa.Table:
        import pyoxigraph as ox

        try:
            if request["write"]:
                store = ox.Store(request["path"])
                store.update(request["text"], prefixes=request["prefixes"])
                store.flush()
                return table([], [])
            if self._open is None or self._what != request["path"]:
                self._open, self._what = None, ""
                self._open, self._what = ox.Store.read_only(request["path"]), request["path"]
            return self._run(request, ox)
        except (SyntaxError, ValueError, OSError, RuntimeError) as error:
            raise _Refused(str(error)) from None

    def _run(self, request: dict[str, Any], ox: Any) -> pa.Table:
        from kgrec._util.rdf_values import native

        assert self._open is not None
        answer: Any = self._open.query(request["text"], prefixes=request["prefixes"])
        if isinstance(answer, ox.QueryBoolean):
            return table(["answer"], [[bool(answer)]])
        limit = request["row_limit"]
        if isinstance(answer, ox.QueryTriples):
            names = ["subject", "predicate", "object"]
            rows = [[native(part) for part in (t.subject, t.predicate, t.object)] for t in _up_to(limit, answer)]
        else:
            variables = answer.variables
            names = [variable.value for variable in variables]
            rows = [[native(row[variable]) for variable in variables] for row in _up_to(limit, answer)]
        return table(names, list(zip(*rows, strict=True)) if rows else [()] * len(names))


def _up_to(limit: int, rows: Any) -> Iterator[Any]:
    for number, row in enumerate(rows):
        if number == limit:
            raise _TooMany
        yield row


def _of_ladybug(result: ladybug.QueryResult) -> pa.Table:
    """Return a result of ladybug as a table; 128-bit integers become 64-bit integers if they fit."""
    import pyarrow as pa

    names, types = result.get_column_names(), result.get_column_data_types()
    if not names:
        return pa.table({})
    if "UINT128" in str(types):
        raise _Refused("ladybug cannot return UINT128; write CAST(… AS INT128)")
    answer = result.get_as_arrow(-1)  # a chunk size would allocate full chunks in advance
    columns, fields = list(answer.columns), list(answer.schema)
    other = [i for i, kind in enumerate(types) if any(word in kind for word in _NOT_IN_ARROW)]
    wide = [i for i, field in enumerate(fields) if pa.types.is_decimal(field.type) and field.type.scale == 0]
    if other:
        result.reset_iterator()
        rows = cast("list[list[Any]]", result.get_all())
    for i in other:
        columns[i], fields[i] = packed([row[i] for row in rows]), pa.field(names[i], pa.string(), metadata=PACKED)
    for i in wide:
        columns[i], fields[i] = _integers(columns[i], names[i])
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _integers(column: pa.ChunkedArray, name: str) -> tuple[Any, pa.Field]:
    import pyarrow as pa

    try:
        return column.cast(pa.int64()), pa.field(name, pa.int64())
    except pa.ArrowInvalid:
        values = [None if value is None else int(value) for value in column.to_pylist()]
        return packed(values), pa.field(name, pa.string(), metadata=PACKED)


def _let_write(allowed: bool) -> None:
    """Allow this process to write files, or make the system refuse it."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if allowed else 0, most))


def _send(stream: IO[bytes], head: dict[str, Any], body: Any = b"") -> None:
    text = json.dumps(head).encode()
    stream.write(HEAD.pack(len(text), len(body)) + text)
    stream.write(body)
    stream.flush()


def _received(stream: IO[bytes]) -> dict[str, Any] | None:
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    request: dict[str, Any] = json.loads(stream.read(HEAD.unpack(head)[0]))
    return request
