"""Running users' Cypher statements on a Neo4j server, with results as Python values."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kgrec.store.neo4j.write import COUNT

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


def run_writing(session: neo4j.Session, statement: neo4j.Query, values: dict[str, Any], row_limit: int) -> Result:
    """Run a statement that may write, without retries; it is rolled back if it exceeds the row limit."""
    import neo4j

    try:
        with session.begin_transaction(timeout=statement.timeout) as work:
            result = fetch(work.run(statement.text, values), row_limit)
            if len(result[1]) > row_limit:
                work.rollback()  # otherwise the end of the block commits
            else:
                work.run(COUNT).consume()
    except neo4j.exceptions.Neo4jError as error:
        if not any(sign in f"{error.code} {error.message}" for sign in _NEEDS_IMPLICIT_TRANSACTION):
            raise
        result = fetch(session.run(statement, values), row_limit)
        session.run(COUNT).consume()
    return result


def fetch(result: neo4j.Result, row_limit: int) -> Result:
    """Return the column names, at most `row_limit` + 1 rows, and the summary."""
    names = list(result.keys())
    found = [record.values() for record in itertools.islice(result, row_limit + 1)]
    return names, found, result.consume()


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
