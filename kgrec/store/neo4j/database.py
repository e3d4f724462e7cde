"""Connection to one database of a Neo4j server: sessions, statements and constraints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kgrec.errors import StoreError
from kgrec.store.neo4j.connect import answering, connect
from kgrec.store.neo4j.rows import quote

if TYPE_CHECKING:
    import neo4j


class Database:
    """A connected database; errors of the server are raised as `StoreError`."""

    def __init__(self, uri: str) -> None:
        """Connect to a database; arguments and errors as in `Neo4jStore`."""
        self.uri, self._closed = uri, False
        self._driver, self._name = connect(uri)

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._driver.close()

    @contextmanager
    def session(self, write: bool = False) -> Iterator[neo4j.Session]:
        """Yield a session; without `write` the server refuses changes in it."""
        import neo4j

        if self._closed:
            raise StoreError(f"{self.uri} is closed; open it again")
        mode = neo4j.WRITE_ACCESS if write else neo4j.READ_ACCESS
        with (
            answering(self.uri),
            self._driver.session(database=self._name, default_access_mode=mode, fetch_size=10_000) as session,
        ):
            yield session

    def rows(self, query: str, **values: Any) -> list[neo4j.Record]:
        """Return the rows of a read-only statement."""
        with self.session() as session:
            records: list[neo4j.Record] = session.execute_read(lambda work: list(work.run(query, **values)))
        return records

    def write(self, query: str, **values: Any) -> None:
        """Run a statement in a transaction; it is retried after transient errors."""
        with self.session(write=True) as session:
            session.execute_write(lambda work: work.run(query, **values).consume())

    def delete(self, match: str, **values: Any) -> None:
        """Delete every matched `x`, in separate transactions of 10,000 rows."""
        with self.session(write=True) as session:
            session.run(f"{match} CALL (x) {{ DELETE x }} IN TRANSACTIONS OF 10000 ROWS", **values).consume()

    def constrain(self, keys: Mapping[str, str]) -> None:
        """Create unique constraints on the keys of labels, which also index the keys.

        Raises:
            StoreError: two stored nodes of a label have the same key.
        """
        for label, key in keys.items():
            self.write(
                f"CREATE CONSTRAINT {quote(f'kgrec_{label}')} IF NOT EXISTS "
                f"FOR (n:{quote(label)}) REQUIRE n.{quote(key)} IS UNIQUE"
            )
