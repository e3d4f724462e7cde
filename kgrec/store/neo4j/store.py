"""The graph store on a Neo4j server.

A write of up to `BATCH` rows is one transaction. A larger one is several, under a marker (`neo4j_lease`): until it is
done, readers through kgrec are told to wait, and if it fails it is taken back. Recommendations and vectors are written
under a new release number, and one small transaction makes that the one that counts.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pyarrow as pa

from kgrec._util.types import FloatArray
from kgrec.data.schema import Schema
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError, StoreLocked, WriteCutOff
from kgrec.store.base import GraphStore, NodeVectors
from kgrec.store.cypher_guard import check as check_cypher
from kgrec.store.cypher_guard import explained
from kgrec.store.merge import merge
from kgrec.store.neo4j import publish as published
from kgrec.store.neo4j import rows
from kgrec.store.neo4j import vectors as neo4j_vectors
from kgrec.store.neo4j.connect import answering
from kgrec.store.neo4j.database import Database
from kgrec.store.neo4j.lease import state
from kgrec.store.neo4j.notifications import unknown_name
from kgrec.store.neo4j.rows import quote
from kgrec.store.neo4j.write import COUNT, MARKER, remove, upsert
from kgrec.store.query_errors import forbidden, refused, too_many
from kgrec.store.results import from_rows
from kgrec.store.statement import Statement

if TYPE_CHECKING:
    import neo4j
    import pandas as pd

_NEEDS_IMPLICIT_TRANSACTION: Final = (
    "can only be executed in an implicit transaction",
    "ForbiddenDueToTransactionType",
)
"""Signs of a statement that needs a transaction of its own."""


_EXPLAIN: Final = "EXPLAIN "
_Found: TypeAlias = "tuple[list[str], list[list[Any]], neo4j.ResultSummary]"
"""Names of columns, rows, and what the server says of the query."""


class Neo4jStore(GraphStore):
    """A graph on a Neo4j server, 5.26 or later."""

    def __init__(self, uri: str, read_only: bool = False) -> None:
        """Connect to a server.

        Args:
            uri: `neo4j://HOST:PORT/DATABASE`, `bolt://…`, `neo4j+s://…`; user and password are the environment's
                NEO4J_USER and NEO4J_PASSWORD, or those of the credentials file.
            read_only: never write.

        Raises:
            StoreError: nothing answers, or something else than Neo4j, or it refuses user, password or database.
            MissingExtra: the driver is not installed.
        """
        self.uri, self.read_only = uri, read_only
        self._database = Database(uri)

    def close(self) -> None:
        """Close the connections; the store cannot be used afterwards."""
        self._database.close()

    @property
    def schema(self) -> Schema | None:
        """Return the schema of the graph, or None while nothing was loaded."""
        found = self._database.rows("MATCH (k:`_Kgrec` {id: 'schema'}) WHERE k.yaml IS NOT NULL RETURN k.yaml AS yaml")
        return Schema.parse(found[0]["yaml"], where="graph") if found else None

    def apply(self, schema: Schema) -> None:
        """Declare a schema: create what is missing, keep what is there; doing it twice changes nothing.

        Raises:
            StoreError: a label, type or property is there with another meaning, or two nodes of a label have one key.
        """
        self._check_ours()
        there = self.schema
        merged = merge(there, schema)
        if merged == there:
            return
        self._database.constrain({label: node.key for label, node in merged.nodes.items()})
        self.keep_schema(merged)

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, declare their schema and write them; see `upsert` for what a failure leaves.

        Raises:
            DataError: with every problem in the tables; nothing was written.
            StoreError: the schema contradicts the graph's, or the server failed.
        """
        self._check_ours()
        checked, before = self.check(tables), self.schema
        try:
            self.apply(checked.schema)
            self.upsert(checked)
        except BaseException:
            with suppress(StoreError):  # the error that counts is the first
                self._restore(before, checked.schema)
            raise
        return checked

    def keep_schema(self, schema: Schema, adopted: bool = False) -> None:
        """Keep a schema in the database, whatever it holds; `adopted` says that kgrec did not load it."""
        self._check_writable()
        self._database.constrain({"_Kgrec": "id"})
        query = "MERGE (k:`_Kgrec` {id: 'schema'}) SET k.yaml = $yaml, k.adopted = $adopted"
        self._database.write(query, yaml=schema.to_yaml(), adopted=adopted or None)

    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables: new rows are added, rows of a known key replaced.

        Up to 20,000 new or changed rows are one transaction. More are several: a failure takes them back, and if even
        that fails because the server is gone, the graph cannot be read until a load completes.

        Raises:
            StoreLocked: another writer is at work.
            StoreError: the server failed.
        """
        self._check_writable()
        upsert(self._database, tables)

    def read(self) -> GraphTables:
        """Return everything that was loaded: nodes and relationships of the schema, not what kgrec derived.

        Raises:
            StoreLocked: it is being written; try again.
            StoreError: nothing was loaded yet, or a write was cut off; load again.
            DataError: kgrec did not load it, and it holds what cannot be learned from.
        """
        if self.is_adopted():
            return self.read_foreign(self.require_schema())
        return self._tables(self.require_schema(), foreign=False)

    def read_foreign(self, schema: Schema) -> GraphTables:
        """Return what a schema names in a database that kgrec did not load; whole relationships that repeat, once.

        Raises:
            DataError: with everything that cannot be learned from: a weight that is missing, ids that two labels share.
            StoreError: a property is of another type.
        """
        return check(self._tables(schema, foreign=True))

    def _tables(self, schema: Schema, foreign: bool) -> GraphTables:
        with self._database.session() as session:
            while True:
                before = self._settled(session)
                nodes = {label: rows.read_nodes(session, schema, label, foreign) for label in schema.nodes}
                edges = {t: rows.read_edges(session, schema, t, foreign) for t in schema.all_edge_types()}
                if state(session, MARKER).version == before:
                    break
        return GraphTables(
            schema,
            {label: table for label, table in nodes.items() if table.num_rows},
            {edge_type: table for edge_type, table in edges.items() if table.num_rows},
        )

    def ids(self, label: str) -> pa.Array:
        """Return the keys of a label's nodes, in no particular order.

        Raises:
            StoreError: the schema has no such label.
        """
        key = f"n.{quote(self.node_label(label).key)}"
        query = f"MATCH (n:{quote(label)}) WHERE {key} IS NOT NULL RETURN toString({key}) AS id"
        return pa.array([row["id"] for row in self._database.rows(query)], pa.string())

    def _answer(self, statement: Statement) -> pa.Table:
        """Run a user's statement; without `write` the server refuses to change anything.

        The server ends it at the time limit; how much memory it may take is a setting of the server.

        Raises:
            StoreError: it is wrong, does what it may not, or goes over a limit.
        """
        import neo4j

        query, values, row_limit = statement.text, dict(statement.parameters), statement.row_limit
        if statement.write:
            self._check_writable()

        checked = query if statement.unsafe else check_cypher(query, "neo4j", statement.write)

        def read(work: neo4j.ManagedTransaction) -> _Found:
            return _fetched(work.run(checked, values), row_limit)

        if not (statement.write or statement.unsafe):
            self._check_plan(statement, explained(checked))
        with self._database.session(statement.write) as session, answering(self.uri, query, statement.time_limit):
            limit = statement.time_limit
            if statement.write:
                names, found, summary = _written(session, neo4j.Query(checked, timeout=limit), values, row_limit)
            else:  # again, where the server says that others wrote while it read
                names, found, summary = session.execute_read(neo4j.unit_of_work(timeout=limit)(read))
        lost = unknown_name(summary, self.schema)
        if lost:
            raise refused(query, lost[0], "neo4j", lost[1])
        if len(found) > row_limit:
            raise too_many(query, row_limit)
        return from_rows([[_native(value) for value in row] for row in found], names)

    def _check_plan(self, statement: Statement, query: str) -> None:
        """Check that the server too takes a statement for one that reads the graph, and no file.

        Raises:
            StoreError: it does not, or the statement is wrong.
        """
        with self._database.session() as session, answering(self.uri, statement.text, statement.time_limit, _EXPLAIN):
            limited = _limited(f"{_EXPLAIN}{query}", statement.time_limit)
            summary = session.run(limited, dict(statement.parameters)).consume()
        if summary.query_type not in ("r", None) or "LoadCSV" in str(summary.plan):
            raise forbidden(statement.text, "the server says that it does more than read the graph", None)

    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Set the vectors of nodes, in indexed nodes `<label>Vector` (id, embedding); replaces earlier ones at once.

        Args:
            label: a label of the schema.
            ids: keys [n].
            vectors: float32 [n, d]; a row of zeros is a node without a vector, and is left out.
        """
        self._check_writable()
        self.node_label(label)
        published.write_vectors(self._database, label, ids, vectors)

    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if it has none.

        Raises:
            StoreError: the label has no vectors.
        """
        self._vector_length(label)
        return neo4j_vectors.vector(self._database, label, id_)

    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label nearest to a vector [d] by cosine, through the vector index.

        Columns are `id`, `name`, `score`.

        Raises:
            StoreError: the label has no vectors, or of another length.
        """
        node, length = self.node_label(label), self._vector_length(label)
        if len(vector) != length:
            raise StoreError(f"vectors of {label} in {self.uri} have {length} dimensions; this one has {len(vector)}")
        return neo4j_vectors.nearest(self._database, label, node, vector, k, self.is_adopted())

    def publish(self, recommendations: pa.Table, run: str, vectors: NodeVectors | None = None) -> None:
        """Replace what is recommended by these: a reader sees the old release or the new one, never half of one.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run they come from, written on each relationship.
            vectors: of the run, which become current with the lists; without them those that are there stay.

        Raises:
            StoreLocked: another is publishing.
            StoreError: nothing was loaded yet, a user or an item is not in the graph, or the server failed.
        """
        self._check_writable()
        published.publish(self._database, self.require_schema(), recommendations, run, vectors)

    def published(self) -> str | None:
        """Return the name of the published run, or None if none is."""
        found = self._database.rows("MATCH (now:Published {id: 'now'}) RETURN now.run AS run")
        return str(found[0]["run"]) if found else None

    def unpublish(self) -> None:
        """Remove everything that was published: recommendations and vectors. What was loaded stays.

        From a database that kgrec did not load, the schema goes too: nothing of kgrec is left.
        """
        self._check_writable()
        published.unpublish(self._database, self.require_schema().nodes)
        if self.is_adopted():
            self._database.write("MATCH (k:`_Kgrec`) DELETE k")
            self._database.write("DROP CONSTRAINT `kgrec__Kgrec` IF EXISTS")

    def remove(self, label: str, id_: str) -> dict[str, int]:
        """Remove a node with its relationships, recommendations and vector, in one transaction.

        What the server keeps of deleted rows in its files and logs is its own affair.

        Raises:
            StoreLocked: another writer is at work.
            StoreError: there is no such label or node, or kgrec did not load it.
        """
        self._check_writable()
        self.check_there(label, id_)
        if self.is_adopted():
            raise StoreError(
                f"{self.uri} holds data that kgrec did not load; "
                f"delete {label} {id_!r} there, run this again, then publish"
            )
        return remove(self._database, label, self.node_label(label).key, id_)

    def _vector_length(self, label: str) -> int:
        self.node_label(label)
        found = neo4j_vectors.marker(self._database, label)
        if found is None:
            raise self._no_vectors_error(label)
        return found.length

    def _restore(self, before: Schema | None, declared: Schema) -> None:
        """Take back a schema that was declared for a write that failed, unless half of that write is there."""
        keep = {} if before is None else before.nodes
        with self._database.session() as session:
            if state(session, MARKER).writer:
                return
        for label in declared.nodes.keys() - keep.keys():
            self._database.write(f"DROP CONSTRAINT {quote(f'kgrec_{label}')} IF EXISTS")
        if before is not None:
            self.keep_schema(before)
        else:
            self._database.write("MATCH (k:`_Kgrec` {id: 'schema'}) REMOVE k.yaml")

    def _settled(self, session: neo4j.Session) -> int:
        """Return the version of the graph.

        Raises:
            StoreLocked: it is being written.
            StoreError: a write was cut off.
        """
        found = state(session, MARKER)
        if found.is_over:
            raise WriteCutOff(f"a write to {self.uri} was cut off, so half of it may be there; run that load again")
        if found.writer:
            raise StoreLocked(f"{self.uri} is being written; try again when that is done")
        return found.version

    def is_adopted(self) -> bool:
        """Say whether it holds data that kgrec did not load."""
        return bool(self._database.rows("MATCH (k:`_Kgrec` {id: 'schema', adopted: true}) RETURN 1 AS found"))

    def _check_ours(self) -> None:
        """Check that data may be loaded."""
        self._check_writable()
        if self.is_adopted():
            raise StoreError(
                f"{self.uri} holds data that kgrec did not load, and is used as it is; load into another database"
            )

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreError(f"{self.uri} is open read-only; open it without read_only to write")


def _limited(text: str, timeout: float) -> neo4j.Query:
    """Return a statement with the seconds that it may take."""
    import neo4j

    return neo4j.Query(text, timeout=timeout)


def _written(session: neo4j.Session, statement: neo4j.Query, values: dict[str, Any], row_limit: int) -> _Found:
    """Run a statement that may write, once; without effect where it returns more than the limit."""
    import neo4j

    try:
        with session.begin_transaction(timeout=statement.timeout) as work:
            result = _fetched(work.run(statement.text, values), row_limit)
            if len(result[1]) > row_limit:
                work.rollback()  # a block that ends well commits
            else:
                work.run(COUNT).consume()
    except neo4j.exceptions.Neo4jError as error:
        if not any(sign in f"{error.code} {error.message}" for sign in _NEEDS_IMPLICIT_TRANSACTION):
            raise
        result = _fetched(session.run(statement, values), row_limit)
        session.run(COUNT).consume()
    return result


def _fetched(result: neo4j.Result, row_limit: int) -> _Found:
    """Return the names, the rows up to one beyond the limit, and the summary."""
    names = list(result.keys())
    found = [record.values() for record in itertools.islice(result, row_limit + 1)]
    return names, found, result.consume()


def _native(value: Any) -> Any:
    """Return a value of the driver as one of Python: a node or a relationship as its properties, a path as both."""
    if isinstance(value, list):
        return [_native(item) for item in value]
    if isinstance(value, dict):
        return {key: _native(item) for key, item in value.items()}
    if hasattr(value, "to_native"):
        return value.to_native()
    if hasattr(value, "element_id"):
        return {key: _native(item) for key, item in value.items()}
    if hasattr(value, "relationships"):
        return {name: [_native(x) for x in getattr(value, name)] for name in ("nodes", "relationships")}
    return value.iso_format() if hasattr(value, "iso_format") else value
