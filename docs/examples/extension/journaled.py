"""A graph in a file, with a journal of every write beside it: `journaled:PATH`."""

from datetime import UTC, datetime

from kgrec import GraphTables
from kgrec.store.ladybug.store import LadybugStore
from kgrec.store.uri import GraphUri


class JournaledStore(LadybugStore):
    """A ladybug graph that notes when how many rows were written."""

    def __init__(self, uri: str, read_only: bool = False) -> None:
        path = GraphUri.parse(uri).path
        super().__init__(path, read_only)
        self.uri, self.journal = uri, path.with_name(f"{path.name}.journal")

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables and write them, and a line in the journal."""
        written = super().write(tables)
        with self.journal.open("a") as journal:
            journal.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {sum(written.counts().values())} rows\n")
        return written
