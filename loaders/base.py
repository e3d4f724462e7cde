"""The port every loader implements."""

from __future__ import annotations

from typing import Any, Protocol

from kgrec.schema import Schema
from kgrec.tables import GraphTables


class Loader(Protocol):
    """Reads a source into GraphTables. Registered under the entry-point group `kgrec.loaders`; made without arguments."""

    def load(self, source: Any, schema: Schema | None = None) -> GraphTables:
        """Read `source`.

        Args:
            source: what the loader reads, such as a folder.
            schema: the vocabulary; None lets the loader derive one.

        Returns:
            Tables as found; `kgrec.tables.check` checks them.

        Raises:
            DataError: with every problem that reading found, its file, row and field.
        """
        ...
