"""The port of loaders, and those that are installed, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from kgrec._util.plugins import PluginGroup
from kgrec.errors import UsageError

if TYPE_CHECKING:
    from kgrec.data.schema import Schema
    from kgrec.data.tables import GraphTables

LOADERS: Final = PluginGroup("loader", "kgrec.loaders")
"""The loaders; those of the project are registered as those of other packages are."""


@runtime_checkable
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


def find_loader(loader: str | type[Loader] | Loader) -> Loader:
    """Return a loader that is given by name, as a class or as an object; a new one in the first two cases.

    Raises:
        UsageError: no loader of that name is installed, its package cannot be imported, or it is no loader.
    """
    found = LOADERS.load(loader) if isinstance(loader, str) else loader
    made = found() if isinstance(found, type) else found
    if not isinstance(made, Loader):
        expected = "expected a name, or a class or object with load(source, schema)"
        raise UsageError(f"found {loader!r} as a loader; {expected}")
    return made
