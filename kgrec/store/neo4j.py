"""A graph in a Neo4j server, over Bolt.

The schema's node `(:_Kgrec {id: 'schema'})` holds the schema and the count of writes, and during a long write its marker
(`neo4j_lease`). A label's key has a unique constraint, `kgrec_<Label>`, which is also its index.

Of the current recommendations a reader asks through the pointer:

    MATCH (now:Published) MATCH (u:User)-[r:RECOMMENDED]->(i) WHERE r.release = now.release RETURN …
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pandas as pd
import pyarrow as pa

from kgrec.errors import StoreError, StoreLocked
from kgrec.schema import Schema
from kgrec.snapshot import FloatArray
from kgrec.store import neo4j_published as published
from kgrec.store.base import ROW_LIMIT, TIME_LIMIT, GraphStore
from kgrec.store.merge import merge
from kgrec.store.neo4j_connect import Connection
from kgrec.store.neo4j_ddl import check_names, declare, drop, require_keys, stored_schema
from kgrec.store.neo4j_lease import State, count_write
from kgrec.store.neo4j_load import load, runner
from kgrec.store.neo4j_query import run_query
from kgrec.store.neo4j_rows import read_edges, read_nodes
from kgrec.tables import GraphTables, check

if TYPE_CHECKING:
    from neo4j import ManagedTransaction

T = TypeVar("T")
_READS: Final = 10
"""How often a read is done again because a write came in between."""


class Neo4jStore(GraphStore):
    """A graph in a database of a Neo4j server; 5.26 or later, any edition.

    Threads may read from one store at the same time; one of them writes.
    """

    def __init__(self, uri: str, read_only: bool = False) -> None:
        """Connect to a graph.

        Args:
            uri: `neo4j://host:7687/database`; also `bolt`, and `+s` or `+ssc` for TLS. Without a database
                NEO4J_DATABASE, else the server's default. User and password: NEO4J_USER and NEO4J_PASSWORD, else the
                credentials file (KGREC_CREDENTIALS).
            read_only: never write.

        Raises:
            StoreError: no such server or database, it is not Neo4j, or the credentials are missing or wrong.
            MissingExtra: the driver is not installed.
        """
        self.uri = str(uri)
        self.read_only = read_only
        self._connection = Connection(self.uri)
        self._writing = threading.Lock()
        self._closed = False
        try:
            self._state()
        except BaseException:
            self._connection.close()
            raise

    @property
    def connection(self) -> Connection:
        """The connection, for what is not in the port: adopting, inferring, benchmarks."""
        if self._closed:
            raise StoreError(f"{self.uri} is closed; open it again")
        return self._connection

    def close(self) -> None:
        """Close the connections; the store cannot be used afterwards."""
        self._closed = True
        self._connection.close()

    def schema(self) -> Schema | None:
        """Return the schema of the graph, or None while nothing was loaded."""
        return stored_schema(self._state())

    def apply(self, schema: Schema) -> None:
        """Declare a schema: create what is missing, keep what is there; doing it twice changes nothing.

        Raises:
            StoreError: a label, type or property is there with another meaning; or nodes that are there share a key.
        """

        def work(tx: ManagedTransaction) -> None:
            declare(tx, count_write(tx, self.uri), schema)

        with self._declared_keys(schema):
            self.connection.transact(work)

    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables: new rows are added, rows of a known key replaced.

        Many rows need several transactions: meanwhile `read` and other writers get `StoreLocked`.

        Raises:
            StoreLocked: somebody else is writing.
            StoreError: the server failed; nothing was written, or, if it went away, the graph is marked as not whole
                until the same tables are written again.
        """
        with self._declared_keys(tables.schema):
            load(self.connection, tables)

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, declare their schema and write them; nothing is written if anything is wrong.

        Raises:
            DataError: with every problem in the tables.
            StoreError: as `upsert`, or the schema contradicts the graph's.
        """
        checked = check(tables)
        self.upsert(checked)
        return checked

    def read(self) -> GraphTables:
        """Return everything that was loaded: nodes and relationships of the schema, not what kgrec derived.

        Raises:
            StoreError: nothing was loaded yet, or a load was cut off.
            StoreLocked: a load is under way.
        """
        return self._consistent(self._tables)

    def ids(self, label: str) -> pa.Array:
        """Return the keys of a label's nodes, in no particular order.

        Raises:
            StoreError: the schema has no such label.
        """
        schema = self._label(label)
        bare = schema.model_copy(
            update={"nodes": {**schema.nodes, label: schema.nodes[label].model_copy(update={"properties": {}})}}
        )

        def work(tx: ManagedTransaction, state: State) -> pa.Array:
            table = read_nodes(runner(tx), bare, label, foreign=state.adopted)
            return table.column(0).combine_chunks()

        return self._consistent(work)

    def cypher(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        write: bool = False,
        time_limit: float = TIME_LIMIT,
        row_limit: int = ROW_LIMIT,
    ) -> pd.DataFrame:
        """Run a Cypher query; read-only unless `write`, which the server enforces.

        Raises:
            StoreError: the query is wrong, names what neither graph nor schema has, takes too long, returns too much, or
                writes without `write`; the reason and the query are shown.
        """
        if write:
            self._check_writable()
        return run_query(
            self.connection,
            query,
            parameters or {},
            schema=self.schema(),
            write=write,
            time_limit=time_limit,
            row_limit=row_limit,
        )

    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Set the vectors of nodes, on nodes `(:<Label>Vector {id, embedding})`; replaces the label's earlier ones.

        Args:
            label: a label of the schema.
            ids: keys [n].
            vectors: float32 [n, d]; a row of zeros is a node without a vector, and is left out.
        """
        self._label(label)
        self._check_writable()
        with self._writing:
            published.write_vectors(self.connection, label, ids, vectors)

    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if it has none.

        Raises:
            StoreError: the label has no vectors.
        """
        self._vector_length(label)
        return published.vector(self.connection, label, id_)

    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label nearest to a vector [d] by cosine: columns `id`, `name`, `score`.

        Raises:
            StoreError: the label has no vectors, or of another length.
        """
        schema, length = self._label(label), self._vector_length(label)
        if len(vector) != length:
            raise StoreError(f"vectors of {label} in {self.uri} have {length} dimensions; this one has {len(vector)}")
        return published.nearest(self.connection, schema, label, vector, k, self._state().adopted)

    def publish(self, recommendations: pa.Table, run: str) -> None:
        """Replace what is recommended by these: a reader who asks through the pointer sees the old set or the new one.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run they come from, written on each relationship.

        Raises:
            StoreError: nothing was loaded yet, or a user or an item is not in the graph; nothing was changed.
        """
        schema = self._loaded(self._state())
        self._check_writable()
        with self._writing:
            published.publish(self.connection, schema, recommendations, run)

    def published(self) -> str | None:
        """Return the name of the published run, or None if none is."""
        query = "MATCH (p:Published {id: 'now'}) RETURN p.run"
        found = self.connection.read(lambda tx: tx.run(query).value())
        return str(found[0]) if found else None

    def unpublish(self) -> None:
        """Remove everything that was published; from a database that kgrec did not load, also its schema."""
        self._check_writable()
        with self._writing:
            published.unpublish(self.connection, self._state())

    def _state(self) -> State:
        return self.connection.read(State.read)

    def _loaded(self, state: State) -> Schema:
        schema = stored_schema(state)
        if schema is None:
            raise StoreError(f"{self.uri} is empty; load data first: kgrec load LOADER SOURCE --into {self.uri}")
        return schema

    def _label(self, label: str) -> Schema:
        """Return the schema, which has the label."""
        schema = self._loaded(self._state())
        if label not in schema.nodes:
            raise StoreError(f"unknown label {label!r} in {self.uri}; expected one of {', '.join(schema.nodes)}")
        return schema

    def _vector_length(self, label: str) -> int:
        self._label(label)
        length = published.vector_length(self.connection, label)
        if length is None:
            steps = f"kgrec train {self.uri}, then kgrec publish {self.uri}"
            raise StoreError(f"no vectors of {label} in {self.uri}; run {steps}")
        return length

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreError(f"{self.uri} is open read-only; open it without read_only to write")

    @contextmanager
    def _declared_keys(self, schema: Schema) -> Iterator[None]:
        """Make keys unique for the block; constraints that are new go again if it fails."""
        self._check_writable()
        state = self._state()
        if state.adopted:
            raise StoreError(
                f"{self.uri} was adopted: kgrec reads its data and changes none of it; "
                "write to it with the tools that made it, or load into another database"
            )
        check_names(merge(stored_schema(state), schema))
        state.check_writable(self.uri)
        with self._writing:
            made = require_keys(self.connection, schema)
            try:
                yield
            except BaseException:
                self._drop(made)
                raise

    def _drop(self, constraints: list[str]) -> None:
        """Remove constraints of a write that failed, unless its rows could not be undone or the server is away."""
        try:
            if self._state().writer is None:
                drop(self.connection, constraints)
        except StoreError:
            return  # the error of the write itself says more

    def _tables(self, tx: ManagedTransaction, state: State) -> GraphTables:
        schema, run = self._loaded(state), runner(tx)
        nodes = {label: read_nodes(run, schema, label, foreign=state.adopted) for label in schema.nodes}
        edges = {t: read_edges(run, schema, t, foreign=state.adopted) for t in schema.all_edge_types()}
        return GraphTables(
            schema,
            {label: table for label, table in nodes.items() if table.num_rows},
            {edge_type: table for edge_type, table in edges.items() if table.num_rows},
        )

    def _consistent(self, work: Callable[[ManagedTransaction, State], T]) -> T:
        """Read what no write came in between of: the server alone shows each statement what was committed before it."""

        def attempt(tx: ManagedTransaction) -> tuple[T, bool]:
            before = State.read(tx)
            before.check_readable(self.uri)
            found = work(tx, before)
            return found, State.read(tx).version == before.version

        for _ in range(_READS):
            found, whole = self.connection.read(attempt)
            if whole:
                return found
        raise StoreLocked(f"{self.uri} is written to all the time; try again later")
