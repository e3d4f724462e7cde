"""Loading of a data source into a graph: read, check, write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from kgrec._util.secrets import holds_password
from kgrec.data.loader import Loader, find_loader
from kgrec.data.schema import Schema
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, Problem, UsageError
from kgrec.store.base import GraphStore

_IRI: Final = re.compile(r"<[^<>\s]+>")


def load(
    loader: str | type[Loader] | Loader,
    source: Any = None,
    *,
    into: GraphStore | None = None,
    schema: Schema | str | Path | None = None,
) -> GraphTables:
    """Read a source, check it and write it to a graph; nothing is written if there is a problem.

    Args:
        loader: name of a loader ("atomic", "tables", "movielens", or one that another package registers), or a loader's
            class or instance.
        source: input of the loader, such as a folder.
        into: the graph; None only checks the source.
        schema: a schema, or its file or name; None lets the loader derive one.

    Returns:
        The checked tables.

    Raises:
        DataError, SchemaError: the source or the schema has problems; the error lists all of them with file, row and
            field.
        UsageError: the loader does not exist, or the address of the source holds a password.
        StoreError: the graph cannot be written.
    """
    known = schema if isinstance(schema, Schema) or schema is None else Schema.load(schema)
    check_address(source)
    tables = find_loader(loader).load(source, known)
    return into.write(tables) if into is not None else check(tables)


def check_source(
    loader: str | type[Loader] | Loader, source: Any, *, schema: Schema | str | Path | None = None
) -> GraphTables:
    """Check a source as `load` does, and also with the loader's `violations(source, schema)` if it has that method.

    A violation is left out if a problem of `load` reports the same node and field.

    Returns:
        The checked tables.

    Raises:
        DataError, SchemaError, UsageError: as `load`.
    """
    known = schema if isinstance(schema, Schema) or schema is None else Schema.load(schema)
    check_address(source)
    violations = getattr(find_loader(loader), "violations", None)
    problems = violations(source, known) if violations else []
    try:
        tables = load(loader, source, schema=known)
    except DataError as error:
        raise DataError([*error.problems, *_unreported(problems, error.problems)]) from None
    if problems:
        raise DataError(problems)
    return tables


def _unreported(violations: Iterable[Problem], reported: Iterable[Problem]) -> list[Problem]:
    """Return the violations of nodes and fields that no problem reports; a problem may name its field in `found`."""
    known = {(node, p.field or p.found.partition(" ")[0]) for p in reported for node in _IRI.findall(p.found)}
    return [violation for violation in violations if (violation.where, violation.field) not in known]


def check_address(source: Any) -> None:
    """Check that the address of a source holds no user or password, since it appears in logs, journals and messages.

    Raises:
        UsageError: the address holds a user or a password; the message does not repeat them.
    """
    parts = source if isinstance(source, list | tuple) else [source]
    if any(isinstance(part, str | Path) and holds_password(str(part)) for part in parts):
        raise UsageError(
            "the address of the source holds a user or a password. Expected a file: download the source with a tool "
            "that reads ~/.netrc. The user and the password of a graph are NEO4J_USER and NEO4J_PASSWORD"
        )
