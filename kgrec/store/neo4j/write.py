"""Writing new and changed rows to Neo4j in one transaction, or in several that are undone if one fails.

A write is planned from the stored rows; it is planned again if the graph has changed when the write starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from kgrec._util.progress import track
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreLocked
from kgrec.store.merge import changes
from kgrec.store.neo4j import rows
from kgrec.store.neo4j.database import Database
from kgrec.store.neo4j.lease import Lease, hold, state
from kgrec.store.neo4j.rows import BATCH_ROWS, Change, quote

if TYPE_CHECKING:
    import neo4j

MARKER: Final = "schema"
"""Id of the node `_Kgrec` that counts writes."""

COUNT: Final = "MATCH (k:`_Kgrec` {id: 'schema'}) SET k.version = coalesce(toIntegerOrNull(k.version), 0) + 2"
"""Counts a write that is a single transaction: its start and its end."""


def upsert(database: Database, tables: GraphTables) -> None:
    """Write checked tables; see `Neo4jStore.upsert`."""
    with database.session(write=True) as session:
        while True:
            marker = state(session, MARKER)
            if marker.writer and not marker.is_over:
                raise StoreLocked(f"{database.uri} is being written; try again when that has finished")
            planned = _plan(session, tables)
            if marker.writer or sum(int(change.sizes.sum()) for change in planned) > BATCH_ROWS:
                break
            with suppress(_GraphChanged):
                return _write_at_once(session, planned, marker.version, database.uri)
        with hold(session, MARKER, database.uri) as lease:
            if state(session, MARKER).version != marker.version + 1:  # another writer changed the graph after planning
                planned = _plan(session, tables)
            _write_in_batches(lease, planned, marker.is_over)


def remove(database: Database, label: str, key: str, id_: str) -> dict[str, int]:
    """Remove a node and its vector; see `Neo4jStore.remove`."""
    node = f"(n:{quote(label)} {{{quote(key)}: $id}})"

    def work(run: neo4j.ManagedTransaction) -> dict[str, int]:
        # Counting first locks the marker, so that other writers wait until the transaction ends.
        if run.run(f"{COUNT} RETURN k.writer AS writer").single(strict=True)["writer"]:
            raise StoreLocked(f"{database.uri} is being written; try again when that has finished")
        counted = run.run(f"MATCH {node} RETURN count{{ (n)-[r:RECOMMENDED]-() }} AS n", id=id_).single(strict=True)
        run.run(f"MATCH {node} DETACH DELETE n", id=id_).consume()
        vectors = run.run(f"MATCH (v:{quote(label + 'Vector')} {{id: $id}}) DELETE v", id=id_).consume()
        return {"recommendations": int(counted["n"]), "vectors": vectors.counters.nodes_deleted}

    with database.session(write=True) as session:
        return session.execute_write(work)


def _plan(session: neo4j.Session, tables: GraphTables) -> list[Change]:
    return [change for change in _changes(session, tables) if change.rows]


def _changes(session: neo4j.Session, tables: GraphTables) -> Iterator[Change]:
    schema = tables.schema
    for label, table in tables.nodes.items():
        there = rows.read_nodes(session, schema, label, foreign=False).select(table.column_names)
        keys = [schema.nodes[label].key]
        new, changed = changes(there, table, keys, tables.gaps.get(label))
        yield rows.new_nodes(schema, label, new)
        yield rows.changed_nodes(schema, label, *_in_step(changed, there, keys))
    for edge_type, table in tables.edges.items():
        there = rows.read_edges(session, schema, edge_type, foreign=False).select(table.column_names)
        keys = ["src", "dst", *schema.edge_key(edge_type[1])]
        new, changed = changes(there, table, keys, tables.gaps.get(edge_type))
        yield rows.new_edges(schema, edge_type, new)
        yield rows.changed_edges(schema, edge_type, *_in_step(changed, there, keys))


def _in_step(changed: pa.Table, there: pa.Table, keys: list[str]) -> tuple[pa.Table, pa.Table]:
    """Return the changed rows and their stored values, both sorted by their keys."""
    before = changes(changed, there, keys)[1] if changed.num_rows else changed
    order = [(key, "ascending") for key in keys]
    return changed.sort_by(order), before.sort_by(order)


class _GraphChanged(Exception):
    """The graph changed after a write was planned."""


def _write_at_once(session: neo4j.Session, planned: list[Change], version: int, uri: str) -> None:
    """Write changes in one transaction if the graph still has the version at which they were planned.

    Raises:
        _GraphChanged: the graph has another version, possibly from this same write if the server's answer was lost.
        StoreLocked: another writer started in the meantime.
    """

    def write(work: neo4j.ManagedTransaction) -> None:
        # Counting first locks the marker, so that other writers wait until the transaction ends.
        record = work.run(f"{COUNT} RETURN k.version - 2 AS version, k.writer AS writer").single(strict=True)
        if record["writer"]:
            raise StoreLocked(f"{uri} is being written; try again when that has finished")
        if record["version"] != version:
            raise _GraphChanged
        for change in planned:
            work.run(change.query, rows=change.rows).consume()

    session.execute_write(write)


def _write_in_batches(lease: Lease, planned: list[Change], repeat: bool) -> None:
    """Write changes in batches; on failure undo them, unless they `repeat` (complete) an interrupted write."""
    begun: list[Change] = []
    try:
        for change in planned:
            begun.append(change)
            for part in track(list(change.batches()), "writing"):
                write_batch(lease, change.query, part)
    except BaseException:
        if not repeat:
            with suppress(Exception):  # report the first error; the marker stays if undoing fails
                for change in reversed(begun):
                    for part in rows.pieces(change.before, change.sizes):
                        write_batch(lease, change.undo, part)
                lease.release()
        raise


def write_batch(lease: Lease, query: str, part: list[list[Any]], **values: Any) -> None:
    """Run a statement over `$rows` in a transaction that renews the lease; retries do not repeat its effect."""
    step = next(lease.steps)

    def write(work: neo4j.ManagedTransaction) -> None:
        if lease.renew(work, step):
            work.run(query, rows=part, **values).consume()

    lease.session.execute_write(write)
