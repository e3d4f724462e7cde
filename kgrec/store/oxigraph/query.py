"""SPARQL of a user, on a version of a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec._util.query_process import TooManyRows, run
from kgrec.store.query_errors import too_long, too_many
from kgrec.store.statement import Statement

if TYPE_CHECKING:
    import pyarrow as pa


def ask(version: Path, statement: Statement, text: str, prefixes: Mapping[str, str]) -> pa.Table:
    """Run a query or an update on a version of a store, in a process of its own.

    Args:
        version: folder of the store; without `statement.write` it is opened read-only.
        statement: with its limits.
        text: the statement as the engine takes it, with its parameters.
        prefixes: prefix → IRI, known in the query.

    Raises:
        StoreError: it went over a limit, or the engine broke.
        Refused: the engine's message.
    """
    request = {
        "engine": "oxigraph",
        "path": str(version),
        "text": text,
        "prefixes": dict(prefixes),
        "write": statement.write,
        "unsafe": statement.unsafe,
        "row_limit": int(statement.row_limit),
    }
    try:
        return run(request, statement.time_limit)
    except TimeoutError:
        raise too_long(statement.text, statement.time_limit) from None
    except TooManyRows:
        raise too_many(statement.text, statement.row_limit) from None
