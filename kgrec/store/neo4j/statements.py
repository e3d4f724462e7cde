"""Running users' Cypher statements on a Neo4j server, with results as Python values."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kgrec.store.neo4j.write import COUNT
from kgrec.store.query_errors import too_many
from kgrec.store.statement import Statement

if TYPE_CHECKING:
    import neo4j

_NEEDS_IMPLICIT_TRANSACTION: Final = (
    "can only be executed in an implicit transaction",
    "ForbiddenDueToTransactionType",
)
"""Parts of error messages for statements that cannot run in an explicit transaction."""

Result: TypeAlias = "tuple[list[str], list[list[Any]], neo4j.ResultSummary]"
"""Column names, rows, and the server's summary of the query."""


def limited(text: str, timeout: float) -> neo4j.Query:
    """Return a statement with a time limit in seconds."""
    import neo4j

    return neo4j.Query(text, timeout=timeout)


def run_writing(session: neo4j.Session, statement: Statement, checked: str) -> Result:
    """Run a statement that may write, without retries.

    Args:
        session: a session that may write.
        statement: the user's statement with its limits.
        checked: the statement for the server.

    Raises:
        StoreError: the result exceeds the row limit. The changes are rolled back, except those of a statement that
            commits by itself (`IN TRANSACTIONS`); the message then says that they were kept.
    """
    import neo4j

    values = dict(statement.parameters)
    try:
        with session.begin_transaction(timeout=statement.time_limit) as work:
            result = fetch(work.run(checked, values), statement.row_limit)
            check_rows(result, statement)  # an error rolls back
            work.run(COUNT).consume()
            return result
    except neo4j.exceptions.Neo4jError as error:
        if not any(sign in f"{error.code} {error.message}" for sign in _NEEDS_IMPLICIT_TRANSACTION):
            raise
    try:
        result = fetch(session.run(limited(checked, statement.time_limit), values), statement.row_limit)
    finally:
        session.run(COUNT).consume()  # a statement that fails may have committed a part
    check_rows(result, statement, is_kept=True)
    return result


def check_rows(result: Result, statement: Statement, is_kept: bool = False) -> None:
    """Check that a result does not exceed the row limit of its statement.

    Raises:
        StoreError: it does; with `is_kept` the message says that the changes of the statement were kept.
    """
    if len(result[1]) > statement.row_limit:
        raise too_many(statement.text, statement.row_limit, is_kept)


def fetch(result: neo4j.Result, row_limit: int) -> Result:
    """Return the column names, at most `row_limit` + 1 rows, and the summary."""
    names = list(result.keys())
    rows = [record.values() for record in itertools.islice(result, row_limit + 1)]
    return names, rows, result.consume()


def native(value: Any) -> Any:
    """Return a driver value as Python data: a node or relationship as its properties, a path as a dict of both."""
    if isinstance(value, list):
        return [native(item) for item in value]
    if isinstance(value, dict):
        return {key: native(item) for key, item in value.items()}
    if hasattr(value, "to_native"):
        return value.to_native()
    if hasattr(value, "element_id"):
        return {key: native(item) for key, item in value.items()}
    if hasattr(value, "relationships"):
        return {name: [native(x) for x in getattr(value, name)] for name in ("nodes", "relationships")}
    return value.iso_format() if hasattr(value, "iso_format") else value
