"""Graph store on a Neo4j server.

A write of up to `BATCH_ROWS` rows is one transaction. A larger write takes several transactions under a marker
(`lease`): reads through kgrec are refused until it has finished, and it is undone if it fails. Recommendations and
vectors are written under a new release number, which one small transaction then makes current.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

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
from kgrec.store.neo4j.statements import Result, check_rows, fetch, limited, native, run_writing
from kgrec.store.neo4j.write import MARKER, remove, upsert
from kgrec.store.query_errors import forbidden, refused
from kgrec.store.results import from_rows
from kgrec.store.statement import Statement

if TYPE_CHECKING:
    import neo4j
    import pandas as pd

_EXPLAIN: Final = "EXPLAIN "


class Neo4jStore(GraphStore):
    """A graph on a Neo4j server, 5.26 or later."""

    def __init__(self, uri: str, read_only: bool = False) -> None:
        """Connect to a server.

        Args:
            uri: `neo4j://HOST:PORT/DATABASE`, `bolt://…`, `neo4j+s://…`. User and password come from the environment
                (NEO4J_USER, NEO4J_PASSWORD) or the credentials file.
            read_only: refuse all writes.

        Raises:
            StoreError: no server answers, it is not Neo4j 5.26 or later, or it refuses the user, password or database.
            MissingExtra: the driver is not installed.
        """
        self.uri, self.read_only = uri, read_only
        self._database = Database(uri)

    def close(self) -> None:
        """Close the connections to the server; the store cannot be used afterwards."""
        self._database.close()

    @property
    def schema(self) -> Schema | None:
        """The schema of the graph, or None if no data was loaded yet."""
        rows = self._database.rows("MATCH (k:`_Kgrec` {id: 'schema'}) WHERE k.yaml IS NOT NULL RETURN k.yaml AS yaml")
        return Schema.parse(rows[0]["yaml"], where="graph") if rows else None

    def apply(self, schema: Schema) -> None:
        """Add a schema to the graph's; see `GraphStore.apply`.

        Raises:
            StoreError: a label, type or property exists with another meaning, or two nodes of a label have the same
                key.
        """
        self._check_ours()
        there = self.schema
        merged = merge(there, schema)
        if merged == there:
            return
        self._database.constrain({label: node.key for label, node in merged.nodes.items()})
        self.keep_schema(merged)

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, apply their schema and write them; return the checked tables.

        Raises:
            DataError: the tables have problems; the error lists all of them, and nothing was written.
            StoreError: the schema contradicts the graph's, or the server failed; see `upsert` for the effect.
        """
        self._check_ours()
        checked, before = self.check(tables), self.schema
        try:
            self.apply(checked.schema)
            self.upsert(checked)
        except BaseException:
            with suppress(StoreError):  # report the first error
                self._restore(before, checked.schema)
            raise
        return checked

    def keep_schema(self, schema: Schema, adopted: bool = False) -> None:
        """Store a schema in the database; `adopted` marks a database that kgrec did not load."""
        self._check_writable()
        self._database.constrain({"_Kgrec": "id"})
        query = "MERGE (k:`_Kgrec` {id: 'schema'}) SET k.yaml = $yaml, k.adopted = $adopted"
        self._database.write(query, yaml=schema.to_yaml(), adopted=adopted or None)

    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables: rows with a new key are added, rows with a known key updated.

        Up to 20,000 new or changed rows are one transaction. More rows take several, which are undone on failure. If
        undoing fails too because the connection is lost, the graph cannot be read until a load completes.

        Raises:
            StoreLocked: another process is writing.
            StoreError: the server failed.
        """
        self._check_writable()
        upsert(self._database, tables)

    def read(self) -> GraphTables:
        """Return the loaded data: nodes and relationships of the schema, without recommendations and vectors.

        Raises:
            StoreLocked: another process is writing.
            StoreError: no data was loaded yet, or a write was interrupted and must be repeated.
            DataError: kgrec did not load the data, and they cannot be trained on.
        """
        if self.is_adopted():
            return self.read_foreign(self.require_schema())
        return self._tables(self.require_schema(), foreign=False)

    def read_foreign(self, schema: Schema) -> GraphTables:
        """Return the nodes and relationships of a schema in a database that kgrec did not load, without duplicates.

        Raises:
            DataError: the data cannot be trained on, for instance because a weight is missing or two labels share ids;
                the error lists all problems.
            StoreError: a property has another type than in the schema.
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
        """Return the keys of a label's nodes, in arbitrary order.

        Raises:
            StoreError: the schema does not have the label.
        """
        key = f"n.{quote(self.node_label(label).key)}"
        query = f"MATCH (n:{quote(label)}) WHERE {key} IS NOT NULL RETURN toString({key}) AS id"
        return pa.array([row["id"] for row in self._database.rows(query)], pa.string())

    def _answer(self, statement: Statement) -> pa.Table:
        """Return the result of a user's statement; without `write` the server refuses changes.

        The server stops the statement at the time limit. Its memory limit is a setting of the server.

        Raises:
            StoreError: the statement is invalid, not allowed, or exceeds a limit.
        """
        import neo4j

        query = statement.text
        if statement.write:
            self._check_writable()

        checked = query if statement.unsafe else check_cypher(query, "neo4j", statement.write)

        def read(work: neo4j.ManagedTransaction) -> Result:
            return fetch(work.run(checked, dict(statement.parameters)), statement.row_limit)

        if not (statement.write or statement.unsafe):
            self._check_plan(statement, explained(checked))
        with self._database.session(statement.write) as session, answering(self.uri, query, statement.time_limit):
            if statement.write:
                result = run_writing(session, statement, checked)
            else:  # retried if the server reports a conflict with other writers
                result = session.execute_read(neo4j.unit_of_work(timeout=statement.time_limit)(read))
        names, rows, summary = result
        lost = unknown_name(summary, self.schema)
        if lost:
            raise refused(query, lost[0], "neo4j", lost[1])
        check_rows(result, statement)
        return from_rows([[native(value) for value in row] for row in rows], names)

    def _check_plan(self, statement: Statement, query: str) -> None:
        """Check by the server's plan that a statement only reads, and only from the graph.

        Raises:
            StoreError: the plan writes or reads a file, or the statement is invalid.
        """
        with self._database.session() as session, answering(self.uri, statement.text, statement.time_limit, _EXPLAIN):
            explain = limited(f"{_EXPLAIN}{query}", statement.time_limit)
            summary = session.run(explain, dict(statement.parameters)).consume()
        if summary.query_type not in ("r", None) or "LoadCSV" in str(summary.plan):
            raise forbidden(statement.text, "by the server's plan, the query does more than read the graph", None)

    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Replace the vectors of a label atomically, in indexed nodes `<label>Vector` (id, embedding).

        Args:
            label: a label of the schema.
            ids: keys of nodes [n].
            vectors: float32 [n, d]; a row of zeros means no vector and is not stored.
        """
        self._check_writable()
        self.node_label(label)
        published.write_vectors(self._database, label, ids, vectors)

    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if the node has no vector.

        Raises:
            StoreError: the label has no vectors.
        """
        self._vector_length(label)
        return neo4j_vectors.vector(self._database, label, id_)

    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label with the highest cosine similarity to a vector [d], by the vector index.

        The columns are `id`, `name` and `score`.

        Raises:
            StoreError: the label has no vectors, or its vectors have another length.
        """
        node, length = self.node_label(label), self._vector_length(label)
        if len(vector) != length:
            raise StoreError(f"vectors of {label} in {self.uri} have {length} dimensions; this one has {len(vector)}")
        return neo4j_vectors.nearest(self._database, label, node, vector, k, self.is_adopted())

    def publish(self, recommendations: pa.Table, run: str, vectors: NodeVectors | None = None) -> None:
        """Replace the published recommendations atomically: a reader sees either the old release or the new one.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run that made the recommendations; stored on each relationship.
            vectors: vectors of the run, which become current in the same step; None keeps the stored vectors.

        Raises:
            StoreLocked: another process is publishing.
            StoreError: no data was loaded yet, a user or an item is not in the graph, or the server failed.
        """
        self._check_writable()
        published.publish(self._database, self.require_schema(), recommendations, run, vectors)

    def published(self) -> str | None:
        """Return the name of the published run, or None if no run is published."""
        rows = self._database.rows("MATCH (now:Published {id: 'now'}) RETURN now.run AS run")
        return str(rows[0]["run"]) if rows else None

    def unpublish(self) -> None:
        """Remove the published recommendations and vectors; the loaded data stays.

        In a database that kgrec did not load, the schema is removed too, so that nothing of kgrec is left.
        """
        self._check_writable()
        published.unpublish(self._database, self.require_schema().nodes)
        if self.is_adopted():
            self._database.write("MATCH (k:`_Kgrec`) DELETE k")
            self._database.write("DROP CONSTRAINT `kgrec__Kgrec` IF EXISTS")

    def remove(self, label: str, id_: str) -> dict[str, int]:
        """Remove a node with its relationships, recommendations and vector in one transaction.

        The server may keep traces of deleted rows in its files and logs.

        Raises:
            StoreLocked: another process is writing.
            StoreError: the label or the node does not exist, or kgrec did not load the data.
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
        marker = neo4j_vectors.marker(self._database, label)
        if marker is None:
            raise self._no_vectors_error(label)
        return marker.length

    def _restore(self, before: Schema | None, declared: Schema) -> None:
        """Undo the schema change of a failed write, unless a part of that write is still in the graph."""
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
            StoreLocked: another process is writing.
            WriteCutOff: a write was interrupted.
        """
        marker = state(session, MARKER)
        if marker.is_over:
            raise WriteCutOff(f"a write to {self.uri} was interrupted and may be incomplete; run that load again")
        if marker.writer:
            raise StoreLocked(f"{self.uri} is being written; try again when that has finished")
        return marker.version

    def is_adopted(self) -> bool:
        """Return True if kgrec did not load the data of the database."""
        return bool(self._database.rows("MATCH (k:`_Kgrec` {id: 'schema', adopted: true}) RETURN 1 AS found"))

    def _check_ours(self) -> None:
        """Check that data may be loaded into the database.

        Raises:
            StoreError: the store is read-only, or the database holds data that kgrec did not load.
        """
        self._check_writable()
        if self.is_adopted():
            raise StoreError(
                f"{self.uri} holds data that kgrec did not load and must not change; load into another database"
            )

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreError(f"{self.uri} is open read-only; open it without read_only to write")
