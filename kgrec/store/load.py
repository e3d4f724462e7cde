"""Load a source into a graph: read, check, write."""

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
    """Read a source, check it, and write it into a graph; nothing is written if anything is wrong.

    Args:
        loader: name of a loader: "atomic", "tables", "movielens", or one that another package registered; or a loader's
            class or object.
        source: what the loader reads, such as a folder.
        into: the graph; without one, the source is only checked.
        schema: the vocabulary, or the file or name of one; None lets the loader derive one.

    Returns:
        The checked tables.

    Raises:
        DataError, SchemaError: with every problem found, its file, row and field.
        UsageError: no such loader.
        StoreError: the graph cannot be written.
    """
    known = schema if isinstance(schema, Schema) or schema is None else Schema.load(schema)
    check_address(source)
    tables = find_loader(loader).load(source, known)
    return into.write(tables) if into is not None else check(tables)


def check_source(
    loader: str | type[Loader] | Loader, source: Any, *, schema: Schema | str | Path | None = None
) -> GraphTables:
    """Check a source as `load` does, and by the loader's own `violations(source, schema)` where it has them.

    What a problem of `load` tells of a node and a field, a violation does not tell again.

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
        raise DataError([*error.problems, *_untold(problems, error.problems)]) from None
    if problems:
        raise DataError(problems)
    return tables


def _untold(violations: Iterable[Problem], told: Iterable[Problem]) -> list[Problem]:
    """Return the violations of nodes and fields that no problem tells of; some name their field in what was found."""
    known = {(node, p.field or p.found.partition(" ")[0]) for p in told for node in _IRI.findall(p.found)}
    return [violation for violation in violations if (violation.where, violation.field) not in known]


def check_address(source: Any) -> None:
    """Refuse a source whose address holds a user or a password: it would be in logs, journals and messages.

    Raises:
        UsageError: it does; the error does not repeat it.
    """
    parts = source if isinstance(source, list | tuple) else [source]
    if any(isinstance(part, str | Path) and holds_password(str(part)) for part in parts):
        raise UsageError(
            "found a user or a password in the address of the source; fetch it first, with a tool that reads ~/.netrc, "
            "and name the file; a graph's user and password are NEO4J_USER and NEO4J_PASSWORD"
        )
