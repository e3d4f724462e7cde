"""Loaders by name: whatever packages register in the entry-point group `kgrec.loaders`."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kgrec._util.secrets import holds_password
from kgrec.errors import UsageError, near_matches

if TYPE_CHECKING:
    from kgrec.data.schema import Schema
    from kgrec.data.tables import GraphTables
    from kgrec.store.base import GraphStore

GROUP = "kgrec.loaders"


class Loader(Protocol):
    """The port every loader implements: reads a source into GraphTables; made without arguments."""

    def load(self, source: Any, schema: Schema | None = None) -> GraphTables:
        """Read `source`.

        Args:
            source: what the loader reads, such as a folder.
            schema: the vocabulary; None lets the loader derive one.

        Returns:
            Tables as found; `kgrec.data.tables.check` checks them.

        Raises:
            DataError: with every problem that reading found, its file, row and field.
        """
        ...


def load(
    loader: str, source: Any = None, *, into: GraphStore | None = None, schema: Schema | str | Path | None = None
) -> GraphTables:
    """Read a source, check it, and write it into a graph; nothing is written if anything is wrong.

    Args:
        loader: name of a loader: "atomic", "tables", "movielens", or one that another package registered.
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
    from kgrec.data.schema import Schema
    from kgrec.data.tables import check

    known = schema if isinstance(schema, Schema) or schema is None else Schema.load(schema)
    check_address(source)
    tables = find_loader(loader).load(source, known)
    return into.write(tables) if into is not None else check(tables)


def check_source(loader: str, source: Any, *, schema: Schema | str | Path | None = None) -> GraphTables:
    """Check a source as `load` does, and by the loader's own `violations(source, schema)` where it has them.

    Returns:
        The checked tables.

    Raises:
        DataError, SchemaError, UsageError: as `load`.
    """
    from kgrec.data.schema import Schema
    from kgrec.errors import DataError

    known = schema if isinstance(schema, Schema) or schema is None else Schema.load(schema)
    check_address(source)
    violations = getattr(find_loader(loader), "violations", None)
    problems = violations(source, known) if violations else []
    try:
        tables = load(loader, source, schema=known)
    except DataError as error:
        raise DataError([*error.problems, *problems]) from None
    if problems:
        raise DataError(problems)
    return tables


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


def loader_names() -> list[str]:
    """Return the names of all loaders that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find_loader(name: str) -> Loader:
    """Return a new loader.

    Raises:
        UsageError: no loader of that name is installed, or its package cannot be imported.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        near = near_matches(name, points)
        raise UsageError(f"unknown loader {name!r}; expected one of {', '.join(sorted(points)) or 'none'}{near}")
    try:
        loader: Loader = points[name].load()()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"loader {name!r} ({points[name].value}) cannot be imported: {error}") from None
    return loader
