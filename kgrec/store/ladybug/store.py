"""Embedded graph store on ladybug (a maintained fork of Kùzu): one file, no server.

Each write works on a copy of the file that then replaces the file in one step, so that a reader always has the graph
either before or after the write. The engine's own commit does not guarantee this: rows of COPY are durable only after
the checkpoint that follows the commit, and a reader during that checkpoint gets wrong rows without an error.

Vectors are in a separate table that is replaced completely, since setting a `FLOAT[n]` property per row takes minutes.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.files import remove_leftovers
from kgrec._util.types import BoolArray, FloatArray
from kgrec.data.columns import to_mask
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError
from kgrec.store.atomic_file import identity, lock, own_path, replacement
from kgrec.store.base import GraphStore, NodeVectors, check_known
from kgrec.store.checksum import MAX_CHECKED_ON_OPEN_BYTES
from kgrec.store.checksum import check as check_seal
from kgrec.store.ladybug.ddl import (
    OF_RELEASE,
    PUBLISHED,
    RECOMMENDATION,
    declare,
    recommended,
    stamped,
    stored_schema,
    table_columns,
    table_names,
    vector_table,
)
from kgrec.store.ladybug.engine import as_arrow, ask, execute, open_file, quote, transaction
from kgrec.store.ladybug.rebuild import copy_without
from kgrec.store.ladybug.rows import copy, read_edges, read_nodes, upsert
from kgrec.store.results import to_frame
from kgrec.store.statement import Statement

if TYPE_CHECKING:
    import ladybug

T = TypeVar("T")


class LadybugStore(GraphStore):
    """A graph in one local file.

    Several threads may read from a store at the same time; only one thread may write.
    """

    label_of: ClassVar[str] = "label({})"

    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        """Open a graph, or create it.

        Args:
            path: file of the graph; created with its folder if it does not exist.
            read_only: open an existing file for reading only; works while another process writes.

        Raises:
            StoreLocked: another store has the graph open for writing.
            StoreError: the file does not exist (`read_only`), is not a graph, or is not accessible.
        """
        self.path = own_path(str(path), Path(path), read_only)
        self.uri = str(path)
        self.read_only = read_only
        self._closed = False
        self._opening, self._writing = threading.Lock(), threading.Lock()
        self._database: ladybug.Database | None = None
        self._seen: tuple[int, ...] = ()
        if read_only:
            self._current()
            return
        self._unlock = weakref.finalize(self, os.close, lock(self.path))
        self._is_new = self._unused = not self.path.stat().st_size
        try:
            self._prepare()
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Close the store and unlock the file; a new graph without data is deleted."""
        if self._database:
            self._database.close()
        self._database, self._closed = None, True
        if not self.read_only and self._unlock.alive:
            self._release()

    def drop(self) -> bool:
        """Close the store and delete the file if this store created it; see `GraphStore.drop`."""
        if self.read_only or not self._is_new:
            return False
        self._unused = True
        self.close()
        return True

    @property
    def schema(self) -> Schema | None:
        """The schema of the graph, or None if no data was loaded yet."""
        return self._read(stored_schema)

    def apply(self, schema: Schema) -> None:
        """Add a schema to the graph's; see `GraphStore.apply`."""
        with self._transaction() as connection:
            declare(connection, schema)

    def upsert(self, tables: GraphTables) -> None:
        """Write checked tables in one transaction: rows with a new key are added, rows with a known key updated.

        Raises:
            StoreError: the engine failed, for instance because the disk is full; nothing was written.
        """
        with self._transaction() as connection:
            upsert(connection, tables)

    def write(self, tables: GraphTables) -> GraphTables:
        """Check tables, apply their schema and write them in one transaction; return the checked tables.

        Raises:
            DataError: the tables have problems; the error lists all of them.
            StoreError: the schema contradicts the graph's, or the engine failed; nothing was written.
        """
        checked = self.check(tables)
        with self._transaction() as connection:
            declare(connection, checked.schema)
            upsert(connection, checked)
        return checked

    def read(self) -> GraphTables:
        """Return the loaded data: nodes and relationships of the schema, without recommendations and vectors.

        Raises:
            StoreError: no data was loaded yet.
        """
        return self._read(self._tables)

    def ids(self, label: str) -> pa.Array:
        """Return the keys of a label's nodes, in arbitrary order.

        Raises:
            StoreError: the schema does not have the label.
        """
        key = self.node_label(label).key
        return self._read(lambda connection: _keys(connection, label, key))

    def _answer(self, statement: Statement) -> pa.Table:
        """Return the result of a user's statement, run in a separate process.

        A statement that writes runs on a copy, which then replaces the file.

        Raises:
            StoreError: the statement is invalid, not allowed, or exceeds a limit; the graph is unchanged.
        """
        if not statement.write:
            self._current()
            return ask(self.path, statement, identity(self.path))
        with self._replaced() as copy:
            return ask(copy, statement)

    def write_vectors(self, label: str, ids: pa.Array, vectors: FloatArray) -> None:
        """Replace the vectors of a label, in the table `<label>Vector` (id, embedding).

        Args:
            label: a label of the schema.
            ids: keys of nodes [n].
            vectors: float32 [n, d]; a row of zeros means no vector and is not stored.
        """
        self.node_label(label)
        with self._transaction() as connection:
            _write_vectors(connection, label, ids, vectors)

    def nearest(self, label: str, vector: FloatArray, k: int) -> pd.DataFrame:
        """Return the k nodes of a label with the highest cosine similarity to a vector [d]: `id`, `name`, `score`.

        Raises:
            StoreError: the label has no vectors, or its vectors have another length.
        """
        node, length = self.node_label(label), self._vector_length(label)
        if len(vector) != length:
            raise StoreError(f"vectors of {label} in {self.uri} have {length} dimensions; this one has {len(vector)}")
        name = f"coalesce(CAST(n.{quote(node.name or node.key)} AS STRING), v.id)"
        query = (
            f"MATCH (v:{quote(vector_table(label))}) "
            f"WITH v, array_cosine_similarity(v.embedding, CAST($vector, 'FLOAT[{len(vector)}]')) AS score "
            f"ORDER BY score DESC, v.id LIMIT {int(k)} MATCH (n:{quote(label)} {{{quote(node.key)}: v.id}}) "
            f"RETURN v.id AS id, {name} AS name, score ORDER BY score DESC, id"
        )
        return self._frame(query, {"vector": np.asarray(vector, dtype=float).tolist()})

    def vector(self, label: str, id_: str) -> FloatArray | None:
        """Return the vector [d] of a node; None if the node has no vector.

        Raises:
            StoreError: the label has no vectors.
        """
        self._vector_length(label)
        query = f"MATCH (v:{quote(vector_table(label))} {{id: $id}}) RETURN v.embedding AS embedding"
        vectors = self._frame(query, {"id": id_})["embedding"]
        return None if vectors.empty else np.asarray(vectors[0], dtype=np.float32)

    def publish(self, recommendations: pa.Table, run: str, vectors: NodeVectors | None = None) -> None:
        """Replace all RECOMMENDED relationships, and the vectors, in one transaction.

        Args:
            recommendations: columns user_id, item_id, score, rank, graph, cf, content.
            run: name of the run that made the recommendations; stored on each relationship.
            vectors: vectors of the run by label; None keeps the stored vectors.

        Raises:
            StoreError: no data was loaded yet, or a user or an item is not in the graph.
        """
        schema = self.require_schema()
        columns = {name: recommendations.column(name) for name in RECOMMENDATION if name not in OF_RELEASE}
        rows = pa.table({"src": recommendations.column("user_id"), "dst": recommendations.column("item_id"), **columns})
        release = self._release_number() + 1
        with self._transaction() as connection:
            users = _by_label(connection, schema, schema.roles.users, rows.column("src"), "user")
            items = _by_label(connection, schema, schema.roles.items, rows.column("dst"), "item")
            execute(connection, "DROP TABLE `RECOMMENDED`")
            execute(connection, recommended(schema, without=OF_RELEASE))
            for user, from_user in users.items():
                for item, to_item in items.items():
                    part = rows.filter(pa.array(from_user & to_item))
                    copy(connection, "RECOMMENDED", part, (user, item))
            for statement in stamped(run, release):
                execute(connection, statement)
            if vectors is not None:
                _drop_vectors(connection, schema)
            for label, (ids, rows_of) in (vectors or {}).items():
                _write_vectors(connection, label, ids, rows_of)
            query = f"MERGE (now:{PUBLISHED} {{id: 'now'}}) SET now.run = $run, now.release = $release"
            execute(connection, query, {"run": run, "release": release})

    def published(self) -> str | None:
        """Return the name of the published run, or None if no run is published."""
        pointer = self._pointer()
        return None if pointer.empty else str(pointer["run"][0])

    def unpublish(self) -> None:
        """Remove the published recommendations and vectors; the loaded data stays."""
        schema = self.require_schema()
        with self._transaction() as connection:
            execute(connection, "DROP TABLE `RECOMMENDED`")
            execute(connection, recommended(schema))
            execute(connection, f"MATCH (now:{PUBLISHED}) DELETE now")
            _drop_vectors(connection, schema)

    def remove(self, label: str, id_: str) -> dict[str, int]:
        """Remove a node with its relationships, recommendations and vector; see `GraphStore.remove`."""
        self._check_writable()
        self.check_there(label, id_)
        with self._transaction(empty=True) as target:
            return self._read(lambda source: copy_without(source, target, label, id_))

    def _pointer(self) -> pd.DataFrame:
        """Return the published run and its release number: one row, or none."""
        if PUBLISHED not in self._read(table_names):
            return pd.DataFrame(columns=["run", "release"])
        return self._frame(f"MATCH (now:{PUBLISHED}) RETURN now.run AS run, now.release AS release")

    def _release_number(self) -> int:
        pointer = self._pointer()
        return 0 if pointer.empty else int(pointer["release"][0])

    def _vector_length(self, label: str) -> int:
        self.node_label(label)
        kinds = self._read(lambda connection: table_columns(connection, vector_table(label)))
        if not kinds:
            raise self._no_vectors_error(label)
        return int(kinds["embedding"].removeprefix("FLOAT[").removesuffix("]"))

    def _tables(self, connection: ladybug.Connection) -> GraphTables:
        schema = stored_schema(connection)
        if schema is None:
            raise self._empty_error()
        nodes = {label: read_nodes(connection, schema, label) for label in schema.nodes}
        edges = {t: read_edges(connection, schema, t) for t in schema.all_edge_types()}
        return GraphTables(
            schema,
            {label: table for label, table in nodes.items() if table.num_rows},
            {edge_type: table for edge_type, table in edges.items() if table.num_rows},
        )

    def _prepare(self) -> None:
        """Create the graph if the file is new, and remove work folders that killed writers left beside it."""
        remove_leftovers(self.path.parent)
        if self._unused:
            with self._transaction():
                pass
            self._unused = True
        self._current()

    def _release(self) -> None:
        """Unlock the file; a new file without data is deleted before, while it is still locked."""
        if self._unused:
            self.path.unlink(missing_ok=True)
        self._unlock()

    @contextmanager
    def _transaction(self, empty: bool = False) -> Iterator[ladybug.Connection]:
        """Run the block in a transaction on a copy of the file, or on an `empty` file, that then replaces it."""
        with self._replaced(empty) as copy, transaction(copy) as connection:
            yield connection

    @contextmanager
    def _replaced(self, empty: bool = False) -> Iterator[Path]:
        """Run the block on a copy of the file, or on an `empty` file, that replaces it if the block succeeds."""
        self._check_writable()
        with self._writing:
            with replacement(self.path, empty) as (copy, locked):
                yield copy
            self._unlock()
            self._unlock = weakref.finalize(self, os.close, locked)
            self._unused = False

    def _frame(self, query: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the result of a statement of this module (not a user's) as a data frame."""

        def run(connection: ladybug.Connection) -> pa.Table:
            with execute(connection, query, parameters) as result:
                return as_arrow(result)

        return to_frame(self._read(run))

    def _read(self, work: Callable[[ladybug.Connection], T]) -> T:
        """Return the result of `work` on the current graph, opened read-only."""
        import ladybug

        with ladybug.Connection(self._current()) as connection:
            return work(connection)

    def _current(self) -> ladybug.Database:
        """Return the engine's database, reopened if the file was replaced."""
        self._check_open()
        with self._opening:
            seen = identity(self.path)
            if self._database is None or seen != self._seen:
                if self.path.is_file():
                    check_seal(self.path, MAX_CHECKED_ON_OPEN_BYTES)
                self._database, self._seen = open_file(self.path, read_only=True), seen
            return self._database

    def _check_writable(self) -> None:
        if self.read_only:
            raise StoreError(f"{self.uri} is open read-only; open it without read_only to write")
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self.uri} is closed; open it again")


def _write_vectors(connection: ladybug.Connection, label: str, ids: pa.Array, vectors: FloatArray) -> None:
    given = np.any(vectors != 0, axis=1)
    flat = pa.array(np.ascontiguousarray(vectors[given], dtype=np.float32).ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    rows = pa.table({"id": ids.filter(pa.array(given)), "embedding": lists})
    name = quote(vector_table(label))
    execute(connection, f"DROP TABLE IF EXISTS {name}")
    execute(connection, f"CREATE NODE TABLE {name}(`id` STRING PRIMARY KEY, `embedding` FLOAT[{vectors.shape[1]}])")
    copy(connection, vector_table(label), rows)


def _drop_vectors(connection: ladybug.Connection, schema: Schema) -> None:
    for label in schema.nodes:
        execute(connection, f"DROP TABLE IF EXISTS {quote(vector_table(label))}")


def _by_label(
    connection: ladybug.Connection, schema: Schema, labels: Iterable[str], ids: pa.ChunkedArray, role: str
) -> dict[str, BoolArray]:
    """Return label → mask of the ids [n] that are keys of its nodes, bool [n]."""
    masks = {}
    for label in labels:
        masks[label] = to_mask(pc.is_in(ids, value_set=_keys(connection, label, schema.nodes[label].key)))
    check_known(ids, np.logical_or.reduce(list(masks.values())), role)
    return masks


def _keys(connection: ladybug.Connection, label: str, key: str) -> pa.Array:
    with execute(connection, f"MATCH (x:{quote(label)}) RETURN x.{quote(key)}") as result:
        return as_arrow(result).column(0).combine_chunks()
