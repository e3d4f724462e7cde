"""The graph store on a Neo4j server.

A write of up to `BATCH` rows is one transaction. A larger one is several, under a marker (`neo4j_lease`): until it is
done, readers through kgrec are told to wait, and if it fails it is taken back. Recommendations are written under a new
release number, and one small transaction makes that the one that counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.columns import to_mask
from kgrec.errors import StoreError, StoreLocked
from kgrec.progress import track
from kgrec.schema import Schema
from kgrec.snapshot import FloatArray
from kgrec.store import neo4j_rows as rows
from kgrec.store.base import ROW_LIMIT, TIME_LIMIT, GraphStore, check_known
from kgrec.store.cypher_errors import refused, too_many
from kgrec.store.merge import changes, merge
from kgrec.store.neo4j_connect import answering, connect
from kgrec.store.neo4j_lease import Lease, held, state
from kgrec.store.neo4j_notes import unknown_name
from kgrec.store.neo4j_rows import BATCH, Change, quote
from kgrec.tables import GraphTables

if TYPE_CHECKING:
    import neo4j

_SCHEMA: Final = "schema"
_RELEASE: Final = "release"
_RECOMMENDED: Final = "MATCH ()-[x:RECOMMENDED]->() WHERE x.release IS NOT NULL AND x.run IS NOT NULL"
"""What kgrec recommends; others may use the type for theirs."""

_COUNT: Final = "MATCH (k:`_Kgrec` {id: 'schema'}) SET k.version = coalesce(k.version, 0) + 2"
_ALONE: Final = ("can only be executed in an implicit transaction", "ForbiddenDueToTransactionType")
"""Signs of a statement that needs a transaction of its own."""

_VECTORS: Final = 1000
"""Vectors a transaction."""


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
        self.uri, self.read_only, self._closed = uri, read_only, False
        self._driver, self._database = connect(uri)

    def close(self) -> None:
        """Close the connections; the store cannot be used afterwards."""
        self._closed = True
        self._driver.close()

    def schema(self) -> Schema | None:
        """Return the schema of the graph, or None while nothing was loaded."""
        found = self._rows("MATCH (k:`_Kgrec` {id: 'schema'}) WHERE k.yaml IS NOT NULL RETURN k.yaml AS yaml")
        return Schema.parse(found[0]["yaml"], where="graph") if found else None

    def apply(self, schema: Schema) -> None:
        """Declare a schema: create what is missing, keep what is there; doing it twice changes nothing.

        Raises:
            StoreError: a label, type or property is there with another meaning, or two nodes of a label have one key.
        """
        self._check_ours()
        there = self.schema()
        merged = merge(there, schema)
        if merged == there:
            return
        self._constrain({label: node.key for label, node in merged.nodes.items()})
        self.keep_schema(merged)

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, declare their schema and write them; see `upsert` for what a failure leaves.

        Raises:
            DataError: with every problem in the tables; nothing was written.
            StoreError: the schema contradicts the graph's, or the server failed.
        """
        self._check_ours()
        checked, before = self.check(tables), self.schema()
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
        self._constrain({"_Kgrec": "id"})
        query = "MERGE (k:`_Kgrec` {id: 'schema'}) SET k.yaml = $yaml, k.adopted = $adopted"
        self._write(query, yaml=schema.to_yaml(), adopted=adopted or None)

    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables: new rows are added, rows of a known key replaced.

        Up to 20,000 new or changed rows are one transaction. More are several: a failure takes them back, and if even
        that fails because the server is gone, the graph cannot be read until a load completes.

        Raises:
            StoreLocked: another writer is at work.
            StoreError: the server failed.
        """
        self._check_writable()
        with self._session(write=True) as session:
            while True:
                found = state(session, _SCHEMA)
                if found.writer and not found.is_over:
                    raise StoreLocked(f"{self.uri} is being written; try again when that is done")
                planned = [change for change in self._changes(session, tables) if change.rows]
                if found.writer or sum(int(change.sizes.sum()) for change in planned) > BATCH:
                    break
                with suppress(_Moved):
                    return _write_at_once(session, planned, found.version, self.uri)
            with held(session, _SCHEMA, self.uri) as lease:
                if state(session, _SCHEMA).version != found.version + 1:  # somebody wrote since this was planned
                    planned = [change for change in self._changes(session, tables) if change.rows]
                _write_in_batches(lease, planned, found.is_over)

    def read(self) -> GraphTables:
        """Return everything that was loaded: nodes and relationships of the schema, not what kgrec derived.

        Raises:
            StoreLocked: it is being written; try again.
            StoreError: nothing was loaded yet, or a write was cut off; load again.
        """
        schema, foreign = self.declared(), self.is_adopted()
        with self._session() as session:
            while True:
                before = self._settled(session)
                nodes = {label: rows.read_nodes(session, schema, label, foreign) for label in schema.nodes}
                edges = {t: rows.read_edges(session, schema, t, foreign) for t in schema.all_edge_types()}
                if state(session, _SCHEMA).version == before:
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
        return pa.array([row["id"] for row in self._rows(query)], pa.string())

    def cypher(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        write: bool = False,
        time_limit: float = TIME_LIMIT,
        row_limit: int = ROW_LIMIT,
    ) -> pd.DataFrame:
        """Run one Cypher statement; see `GraphStore.cypher`. Without `write` the server refuses to change anything."""
        if write:
            self._check_writable()
        import neo4j

        with self._session(write) as session, answering(self.uri, query, time_limit):
            try:
                with session.begin_transaction(timeout=time_limit) as work:
                    names, found, summary = _fetched(work.run(query, dict(parameters or {})), row_limit)
                    if len(found) > row_limit:
                        work.rollback()  # a block that ends well commits
                    elif write:
                        work.run(_COUNT).consume()
            except neo4j.exceptions.Neo4jError as error:
                if not write or not any(sign in f"{error.code} {error.message}" for sign in _ALONE):
                    raise
                statement = neo4j.Query(query, timeout=time_limit)
                names, found, summary = _fetched(session.run(statement, dict(parameters or {})), row_limit)
                session.run(_COUNT).consume()
        lost = unknown_name(summary, self.schema())
        if lost:
            raise refused(query, lost[0], "neo4j", lost[1])
        if len(found) > row_limit:
            raise too_many(query, row_limit)
        return _frame(found, names)

    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Set the vectors of nodes, in indexed nodes `<label>Vector` (id, embedding); replaces earlier ones.

        Args:
            label: a label of the schema.
            ids: keys [n].
            vectors: float32 [n, d]; a row of zeros is a node without a vector, and is left out.
        """
        self._check_writable()
        self.node_label(label)
        name, index = f"{label}Vector", _index(label)
        given = np.any(vectors != 0, axis=1)
        pairs = [
            list(row) for row in zip(ids.filter(pa.array(given)).to_pylist(), vectors[given].tolist(), strict=True)
        ]
        self._constrain({name: "id"})
        if self._dimensions(label) not in (None, vectors.shape[1]):
            self._write(f"DROP INDEX {quote(index)} IF EXISTS")
        stamp = int(self._rows("RETURN timestamp() AS now")[0]["now"])
        query = (
            f"UNWIND $rows AS row MERGE (v:{quote(name)} {{id: row[0]}}) SET v.stamp = $stamp "
            "WITH v, row CALL db.create.setNodeVectorProperty(v, 'embedding', row[1])"
        )
        for part in rows.pieces(pairs, np.ones(len(pairs), np.int64), _VECTORS):
            self._write(query, rows=part, stamp=stamp)
        self._delete(f"MATCH (x:{quote(name)}) WHERE x.stamp <> $stamp", stamp=stamp)
        options = f"{{`vector.dimensions`: {vectors.shape[1]}, `vector.similarity_function`: 'cosine'}}"
        self._write(
            f"CREATE VECTOR INDEX {quote(index)} IF NOT EXISTS FOR (v:{quote(name)}) ON (v.embedding) "
            f"OPTIONS {{indexConfig: {options}}}"
        )
        self._rows("CALL db.awaitIndex($index, 300)", index=index)

    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if it has none.

        Raises:
            StoreError: the label has no vectors.
        """
        self._length(label)
        found = self._rows(f"MATCH (v:{quote(label + 'Vector')} {{id: $id}}) RETURN v.embedding AS vector", id=id_)
        return np.asarray(found[0]["vector"], dtype=np.float32) if found else None

    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label nearest to a vector [d] by cosine, through the vector index.

        Columns are `id`, `name`, `score`.

        Raises:
            StoreError: the label has no vectors, or of another length.
        """
        node, length = self.node_label(label), self._length(label)
        if len(vector) != length:
            raise StoreError(f"vectors of {label} in {self.uri} have {length} dimensions; this one has {len(vector)}")
        key = f"n.{quote(node.key)}"
        own = f"toString({key})" if self.is_adopted() else key
        query = (
            "CALL db.index.vector.queryNodes($index, $enough, $vector) YIELD node AS v "
            "WITH v, 2 * vector.similarity.cosine(v.embedding, $vector) - 1 AS score "
            f"MATCH (n:{quote(label)}) WHERE {own} = v.id "
            f"RETURN v.id AS id, coalesce(toString(n.{quote(node.name or node.key)}), v.id) AS name, score "
            "ORDER BY score DESC, id LIMIT $k"
        )
        # The index is approximate: the nearest of more than k are the nearest k more surely.
        values = {"k": k, "enough": 2 * k + 10, "vector": np.asarray(vector, dtype=float).tolist()}
        found = self._rows(query, index=_index(label), **values)
        return pd.DataFrame([row.values() for row in found], columns=["id", "name", "score"])

    def publish(self, recommendations: pa.Table, run: str) -> None:
        """Replace what is recommended by these: a reader sees the old release or the new one, never half of one.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run they come from, written on each relationship.

        Raises:
            StoreLocked: another is publishing.
            StoreError: nothing was loaded yet, a user or an item is not in the graph, or the server failed.
        """
        self._check_writable()
        schema = self.declared()
        user_ids, item_ids = (recommendations.column(name).cast(pa.string()) for name in ("user_id", "item_id"))
        users = self._node_ids(schema.roles.users, user_ids, "user")
        items = self._node_ids(schema.roles.items, item_ids, "item")
        columns = [("rank", "int"), *((name, "float") for name in ("score", "graph", "cf", "content"))]
        table = pa.table({"src": users, "dst": items, **{name: recommendations.column(name) for name, _ in columns}})
        lists, sizes = rows.grouped(table, columns)
        shares = ", ".join(f"{name}: row[{2 + i}][i]" for i, (name, _) in enumerate(columns))
        query = (
            "UNWIND $rows AS row MATCH (u) WHERE elementId(u) = row[0] UNWIND range(0, size(row[1]) - 1) AS i "
            "MATCH (x) WHERE elementId(x) = row[1][i] "
            f"CREATE (u)-[:RECOMMENDED {{{shares}, run: $run, release: $release}}]->(x)"
        )
        self._constrain({"_Kgrec": "id", "Published": "id"})
        with self._session(write=True) as session, held(session, _RELEASE, self.uri) as lease:
            current = self._release()
            earlier = f"{_RECOMMENDED} AND x.release <> $keep"
            self._delete(earlier, keep=current)
            values = {"run": run, "release": current + 1}
            for part in track(list(rows.pieces(lists, sizes)), "publishing"):
                _write_batch(lease, query, part, **values)
            point = "MERGE (now:Published {id: 'now'}) SET now.run = $run, now.release = $release"
            _write_batch(lease, point, [], **values)
            self._delete(earlier, keep=values["release"])

    def published(self) -> str | None:
        """Return the name of the published run, or None if none is."""
        found = self._rows("MATCH (now:Published {id: 'now'}) RETURN now.run AS run")
        return str(found[0]["run"]) if found else None

    def unpublish(self) -> None:
        """Remove everything that was published: recommendations and vectors. What was loaded stays.

        From a database that kgrec did not load, the schema goes too: nothing of kgrec is left.
        """
        self._check_writable()
        labels = list(self.declared().nodes)
        self._write("MATCH (now:Published {id: 'now'}) DELETE now")
        self._delete(_RECOMMENDED)
        self._write("DROP CONSTRAINT `kgrec_Published` IF EXISTS")
        for label in labels:
            self._write(f"DROP INDEX {quote(_index(label))} IF EXISTS")
            self._write(f"DROP CONSTRAINT {quote(f'kgrec_{label}Vector')} IF EXISTS")
            self._delete(f"MATCH (x:{quote(label + 'Vector')})")
        if self.is_adopted():
            self._write("MATCH (k:`_Kgrec`) DELETE k")
            self._write("DROP CONSTRAINT `kgrec__Kgrec` IF EXISTS")

    def _restore(self, before: Schema | None, declared: Schema) -> None:
        """Take back a schema that was declared for a write that failed, unless half of that write is there."""
        keep = {} if before is None else before.nodes
        with self._session() as session:
            if state(session, _SCHEMA).writer:
                return
        for label in declared.nodes.keys() - keep.keys():
            self._write(f"DROP CONSTRAINT {quote(f'kgrec_{label}')} IF EXISTS")
        if before is not None:
            self.keep_schema(before)
        else:
            self._write("MATCH (k:`_Kgrec` {id: 'schema'}) REMOVE k.yaml")

    def _changes(self, session: neo4j.Session, tables: GraphTables) -> Iterator[Change]:
        schema = tables.schema
        for label, table in tables.nodes.items():
            there = rows.read_nodes(session, schema, label, foreign=False).select(table.column_names)
            keys = [schema.nodes[label].key]
            new, changed = changes(there, table, keys)
            yield rows.new_nodes(schema, label, new)
            yield rows.changed_nodes(schema, label, *_in_step(changed, there, keys))
        for edge_type, table in tables.edges.items():
            there = rows.read_edges(session, schema, edge_type, foreign=False).select(table.column_names)
            keys = ["src", "dst", *schema.edge_key(edge_type[1])]
            new, changed = changes(there, table, keys)
            yield rows.new_edges(schema, edge_type, new)
            yield rows.changed_edges(schema, edge_type, *_in_step(changed, there, keys))

    def _settled(self, session: neo4j.Session) -> int:
        """Return the version of the graph.

        Raises:
            StoreLocked: it is being written.
            StoreError: a write was cut off.
        """
        found = state(session, _SCHEMA)
        if found.is_over:
            raise StoreError(f"a write to {self.uri} was cut off, so half of it may be there; run that load again")
        if found.writer:
            raise StoreLocked(f"{self.uri} is being written; try again when that is done")
        return found.version

    def is_adopted(self) -> bool:
        """Say whether it holds data that kgrec did not load."""
        return bool(self._rows("MATCH (k:`_Kgrec` {id: 'schema', adopted: true}) RETURN 1 AS found"))

    def _release(self) -> int:
        found = self._rows("MATCH (now:Published {id: 'now'}) RETURN now.release AS release")
        return int(found[0]["release"]) if found else 0

    def _dimensions(self, label: str) -> int | None:
        query = "SHOW VECTOR INDEXES YIELD name, options WHERE name = $index RETURN options"
        found = self._rows(query, index=_index(label))
        return int(found[0]["options"]["indexConfig"]["vector.dimensions"]) if found else None

    def _length(self, label: str) -> int:
        self.node_label(label)
        length = self._dimensions(label)
        if length is None:
            raise self.has_no_vectors(label)
        return length

    def _node_ids(self, labels: tuple[str, ...], ids: pa.ChunkedArray, role: str) -> pa.ChunkedArray:
        """Return the server's ids of users or items [n], whatever label each has."""
        keys, found = [], []
        for label in labels:
            key = f"n.{quote(self.node_label(label).key)}"
            for row in self._rows(f"MATCH (n:{quote(label)}) RETURN toString({key}) AS key, elementId(n) AS id"):
                keys.append(row["key"])
                found.append(row["id"])
        at = pc.index_in(ids, value_set=pa.array(keys, pa.string()))
        check_known(ids, to_mask(pc.is_valid(at)), role)
        return pa.chunked_array([pa.array(found, pa.string())]).take(at)

    def _constrain(self, keys: Mapping[str, str]) -> None:
        """Make the keys of labels unique, which makes them fast to find too.

        Raises:
            StoreError: two nodes that are there have one key.
        """
        for label, key in keys.items():
            self._write(
                f"CREATE CONSTRAINT {quote(f'kgrec_{label}')} IF NOT EXISTS "
                f"FOR (n:{quote(label)}) REQUIRE n.{quote(key)} IS UNIQUE"
            )

    def _delete(self, match: str, **values: Any) -> None:
        """Delete every `x` that is matched, in transactions of their own."""
        with self._session(write=True) as session, answering(self.uri):
            session.run(f"{match} CALL (x) {{ DELETE x }} IN TRANSACTIONS OF 10000 ROWS", **values).consume()

    def _write(self, query: str, **values: Any) -> None:
        with self._session(write=True) as session:
            session.execute_write(lambda work: work.run(query, **values).consume())

    def _rows(self, query: str, **values: Any) -> list[neo4j.Record]:
        with self._session() as session:
            found: list[neo4j.Record] = session.execute_read(lambda work: list(work.run(query, **values)))
        return found

    @contextmanager
    def _session(self, write: bool = False) -> Iterator[neo4j.Session]:
        import neo4j

        if self._closed:
            raise StoreError(f"{self.uri} is closed; open it again")
        mode = neo4j.WRITE_ACCESS if write else neo4j.READ_ACCESS
        with (
            answering(self.uri),
            self._driver.session(database=self._database, default_access_mode=mode, fetch_size=10_000) as session,
        ):
            yield session

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


def _in_step(changed: pa.Table, there: pa.Table, keys: list[str]) -> tuple[pa.Table, pa.Table]:
    """Return changed rows, and the same rows as they are, both in the order of their keys."""
    before = changes(changed, there, keys)[1] if changed.num_rows else changed
    order = [(key, "ascending") for key in keys]
    return changed.sort_by(order), before.sort_by(order)


class _Moved(Exception):
    """The graph was written to since a write was planned."""


def _write_at_once(session: neo4j.Session, planned: list[Change], version: int, uri: str) -> None:
    """Write changes that were planned at a version of the graph.

    Raises:
        _Moved: it has another version; perhaps because this was written, and only the answer was lost.
        StoreLocked: another writer came in between.
    """

    def write(work: neo4j.ManagedTransaction) -> None:
        # Counting first makes writers wait for each other until the end of the transaction.
        record = work.run(f"{_COUNT} RETURN k.version - 2 AS version, k.writer AS writer").single(strict=True)
        if record["writer"]:
            raise StoreLocked(f"{uri} is being written; try again when that is done")
        if record["version"] != version:
            raise _Moved
        for change in planned:
            work.run(change.query, rows=change.rows).consume()

    session.execute_write(write)


def _write_in_batches(lease: Lease, planned: list[Change], repeat: bool) -> None:
    """Write changes; what was written is taken back if one fails, unless it completes a write that was cut off."""
    begun: list[Change] = []
    try:
        for change in planned:
            begun.append(change)
            for part in track(list(change.batches()), "writing"):
                _write_batch(lease, change.query, part)
    except BaseException:
        if not repeat:
            with suppress(Exception):  # the error that counts is the first; the marker stays if this fails
                for change in reversed(begun):
                    for part in rows.pieces(change.before, change.sizes):
                        _write_batch(lease, change.undo, part)
                lease.give_back()
        raise


def _write_batch(lease: Lease, query: str, part: list[list[Any]], **values: Any) -> None:
    step = next(lease.steps)

    def write(work: neo4j.ManagedTransaction) -> None:
        if lease.renew(work, step):
            work.run(query, rows=part, **values).consume()

    lease.session.execute_write(write)


def _index(label: str) -> str:
    return f"kgrec_{label}_embedding"


def _fetched(result: neo4j.Result, row_limit: int) -> tuple[list[str], list[list[Any]], neo4j.ResultSummary]:
    """Return the names, the rows up to one beyond the limit, and the summary."""
    names = list(result.keys())
    found = [record.values() for record in itertools.islice(result, row_limit + 1)]
    return names, found, result.consume()


def _frame(found: list[list[Any]], names: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(found, columns=names)
    for name in names:
        if frame[name].dtype == object:
            frame[name] = frame[name].map(_native)
    return frame


def _native(value: Any) -> Any:
    """Return what pandas knows: points in time as datetime, nodes and relationships as their properties."""
    if hasattr(value, "to_native"):
        return value.to_native()
    if hasattr(value, "element_id"):
        return dict(value)
    return value
