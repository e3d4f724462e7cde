"""The Loader protocol, and the installed loaders by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from kgrec._util.plugins import PluginGroup
from kgrec.errors import UsageError

if TYPE_CHECKING:
    from kgrec.data.schema import Schema
    from kgrec.data.tables import GraphTables

LOADERS: Final = PluginGroup("loader", "kgrec.loaders")
"""Installed loaders; this project registers its own through the same entry points as other packages."""


@runtime_checkable
class Loader(Protocol):
    """Interface of a loader, which reads a source into GraphTables; its constructor takes no arguments."""

    def load(self, source: Any, schema: Schema | None = None) -> GraphTables:
        """Read `source`.

        Args:
            source: the source, such as a folder; each loader documents what it accepts.
            schema: the schema of the graph; None lets the loader derive one.

        Returns:
            Unchecked tables; `kgrec.data.table_checks.check` checks them.

        Raises:
            DataError: lists every problem found while reading, with file, row and field.
        """
        ...


def find_loader(loader: str | type[Loader] | Loader) -> Loader:
    """Return a loader given by name, class or instance; a name or class makes a new instance.

    Raises:
        UsageError: no loader of that name is installed, its package cannot be imported, or the object has no `load`.
    """
    loader_or_class = LOADERS.load(loader) if isinstance(loader, str) else loader
    made = loader_or_class() if isinstance(loader_or_class, type) else loader_or_class
    if not isinstance(made, Loader):
        expected = "expected a name, or a class or object with load(source, schema)"
        raise UsageError(f"not a loader: {loader!r}; {expected}")
    return made
