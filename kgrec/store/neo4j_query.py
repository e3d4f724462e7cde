"""A user's Cypher on Neo4j: limits, errors that show the query, names that nobody declared, a DataFrame out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, LiteralString, cast

import pandas as pd

from kgrec.errors import StoreError
from kgrec.schema import Schema
from kgrec.store.cypher_errors import refused, too_long, too_many
from kgrec.store.neo4j_connect import Connection, explain
from kgrec.store.neo4j_ddl import POINTER_LABEL, SCHEMA_LABEL, vector_label
from kgrec.store.neo4j_lease import State

if TYPE_CHECKING:
    import neo4j

_PLACE: Final = re.compile(r"\s*\(line \d+, column \d+ \(offset: (\d+)\)\).*", re.DOTALL)
_MISSING: Final = re.compile(r"missing (?:label|relationship type|property) name is: (.+?)\)?$")
_OWN_TRANSACTION: Final = ("can only be executed in an implicit transaction", "ForbiddenDueToTransactionType", "after")
_OWN_PROPERTIES: Final = (
    *("id", "embedding", "run", "release", "score", "rank", "graph", "cf", "content"),
    *("yaml", "version", "writer", "task", "beat", "step", "adopted"),
)


def run_query(
    connection: Connection,
    query: str,
    parameters: Mapping[str, Any],
    *,
    schema: Schema | None,
    write: bool,
    time_limit: float,
    row_limit: int,
) -> pd.DataFrame:
    """Run one statement; see `GraphStore.cypher`.

    Args:
        connection: where.
        query: the statement.
        parameters: values of its `$name`s.
        schema: names in it are known even where no node has them yet.
        write: allow it to write.
        time_limit: seconds after which the server stops it.
        row_limit: rows it may return.

    Raises:
        StoreError: as `GraphStore.cypher` says.
    """
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        work = _write if write else _read
        records, keys, summary = work(connection, query, parameters, time_limit, row_limit)
    except (DriverError, Neo4jError, TypeError, ValueError) as error:
        raise _refusal(connection.uri, query, error, time_limit) from error
    if not write:
        _check_known(query, summary, schema)
    if len(records) > row_limit:
        raise too_many(query, row_limit)
    return _frame(records, keys)


_Answer = tuple[list[list[Any]], list[str], "neo4j.ResultSummary"]


def _read(connection: Connection, query: str, parameters: Mapping[str, Any], time: float, rows: int) -> _Answer:
    with _session(connection, write=False) as session, session.begin_transaction(timeout=time) as tx:
        return _answer(tx.run(cast("LiteralString", query), dict(parameters)), rows)


def _write(connection: Connection, query: str, parameters: Mapping[str, Any], time: float, rows: int) -> _Answer:
    """Write beside no other writer, and count the write, in one transaction if the statement can be in one."""
    from neo4j.exceptions import Neo4jError

    try:
        with _session(connection, write=True) as session, session.begin_transaction(timeout=time) as tx:
            _count(tx, connection.uri)
            answer = _answer(tx.run(cast("LiteralString", query), dict(parameters)), rows)
            if len(answer[0]) > rows:
                tx.rollback()
            else:
                tx.commit()
            return answer
    except Neo4jError as error:
        if not any(sign in f"{error.code} {error.message}" for sign in _OWN_TRANSACTION):
            raise
    return _write_alone(connection, query, parameters, time, rows)


def _write_alone(connection: Connection, query: str, parameters: Mapping[str, Any], time: float, rows: int) -> _Answer:
    """Run what needs a transaction of its own, such as CREATE INDEX or CALL { } IN TRANSACTIONS."""
    import neo4j

    connection.transact(lambda tx: _count(tx, connection.uri))
    with _session(connection, write=True) as session:
        statement = neo4j.Query(cast("LiteralString", query), timeout=time)
        answer = _answer(session.run(statement, dict(parameters)), rows)
    connection.transact(lambda tx: _count(tx, connection.uri))
    return answer


def _count(tx: neo4j.Transaction | neo4j.ManagedTransaction, uri: str) -> None:
    """Count a write if the graph is one of kgrec's: to others nothing is added."""
    query = "MATCH (s:_Kgrec {id: 'schema'}) SET s.version = coalesce(s.version, 0) + 1"
    tx.run(query).consume()
    State.read(tx).check_writable(uri)


def _session(connection: Connection, write: bool) -> neo4j.Session:
    return connection.session(write=write, notifications_min_severity="WARNING")


def _answer(result: neo4j.Result, rows: int) -> _Answer:
    keys = list(result.keys())
    records = [record.values() for record in result.fetch(rows + 1)]
    return records, keys, result.consume()


def _refusal(uri: str, query: str, error: Exception, time_limit: float) -> StoreError:
    code, message = getattr(error, "code", None) or "", str(getattr(error, "message", None) or error)
    if "TransactionTimedOut" in code:
        return too_long(query, time_limit)
    if code.startswith("Neo.ClientError.Security") or not code.startswith(("Neo.ClientError", "")):
        return StoreError(explain(uri, error))
    place = _PLACE.search(message)
    offset = int(place[1]) if place else None
    reason = _PLACE.sub("", message) if code.startswith("Neo.ClientError") else explain(uri, error)
    return refused(query, reason, engine="neo4j", offset=offset)


def _check_known(query: str, summary: neo4j.ResultSummary, schema: Schema | None) -> None:
    """Refuse a query for names that neither the graph nor its schema has: it finds nothing, without a word."""
    names = _names(schema)
    for notification in summary.summary_notifications:
        found = _MISSING.search(notification.description.strip())
        if found and found[1] not in names:
            offset = notification.position.offset if notification.position else None
            reason = f"{found[1]!r}: no such name in the graph; {_known(notification.title, schema)}"
            raise refused(query, reason, engine="neo4j", offset=offset)


def _known(title: str, schema: Schema | None) -> str:
    if schema is None:
        return "kgrec schema infer lists what it has"
    kinds: Iterable[str] = schema.nodes
    if "relationship" in title:
        kinds = [*schema.relationships, "RECOMMENDED"]
    elif "property" in title:
        kinds = sorted(_names(schema) - {*schema.nodes, *schema.relationships})
    return f"expected one of {', '.join(kinds)}"


def _names(schema: Schema | None) -> set[str]:
    names = {SCHEMA_LABEL, POINTER_LABEL, "RECOMMENDED", *_OWN_PROPERTIES}
    if schema:
        names.update(schema.nodes, schema.relationships, map(vector_label, schema.nodes))
        names.update(node.key for node in schema.nodes.values())
        for kind in (*schema.nodes.values(), *schema.relationships.values()):
            names.update(kind.properties)
    return names


def _frame(records: list[list[Any]], keys: list[str]) -> pd.DataFrame:
    columns = zip(*records, strict=True) if records else ([] for _ in keys)
    return pd.DataFrame({key: _series(list(column)) for key, column in zip(keys, columns, strict=True)})


def _series(values: list[Any]) -> pd.Series:
    series = pd.Series(values)
    if series.dtype != object:
        return series
    return pd.Series([_plain(value) for value in values])


def _plain(value: Any) -> Any:
    """Return a value of the driver as pandas and Python know it; times in UTC, without a zone, as other stores have them."""
    from neo4j import graph, time

    if isinstance(value, graph.Node):
        return {"_label": ":".join(sorted(value.labels)), **_plain(dict(value))}
    if isinstance(value, graph.Relationship):
        return {"_label": value.type, **_plain(dict(value))}
    if isinstance(value, graph.Path):
        return {"_nodes": _plain(list(value.nodes)), "_rels": _plain(list(value.relationships))}
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, time.DateTime):
        stamp = pd.Timestamp(value.iso_format().partition("[")[0])
        return stamp.tz_convert(None).as_unit("us") if stamp.tzinfo else stamp.as_unit("us")
    if isinstance(value, time.Date):
        return pd.Timestamp(value.iso_format()).as_unit("us")
    if isinstance(value, time.Time):
        return value.to_native()
    if isinstance(value, time.Duration):
        return (
            str(value)
            if value.months
            else pd.Timedelta(days=value.days, seconds=value.seconds, nanoseconds=value.nanoseconds)
        )
    return value
