"""Loading: what a graph needs to hold checked tables, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from kgrec.errors import StoreLocked
from kgrec.schema import Schema
from kgrec.store import neo4j_rows as rows
from kgrec.store.merge import changes
from kgrec.store.neo4j_connect import Connection, is_gone
from kgrec.store.neo4j_ddl import declare
from kgrec.store.neo4j_lease import LOAD, Lease, State, count_write
from kgrec.store.neo4j_rows import BATCH, Run, Statement
from kgrec.tables import GraphTables

if TYPE_CHECKING:
    from neo4j import ManagedTransaction

    from kgrec.store.neo4j_lease import Transact


@dataclass(frozen=True)
class Step:
    """Rows of one table that are new, or that changed.

    Attributes:
        do: writes them.
        undo: puts back what was there; may be run when `do` was run in part, or not at all.
    """

    do: Statement
    undo: Statement


def load(connection: Connection, tables: GraphTables) -> None:
    """Write checked tables and declare their schema.

    Up to `BATCH` rows go in one transaction. More go in many, while a marker keeps readers and other writers away; if one
    fails, those before it are undone.

    Raises:
        StoreLocked: somebody else is writing.
        StoreError: the server failed; the graph is as it was, or, if the server went away, marked as not whole.
    """
    if sum(tables.counts().values()) <= BATCH:
        connection.transact(lambda tx: _load_at_once(tx, connection.uri, tables))
    else:
        _load_in_batches(connection, tables)


def runner(tx: ManagedTransaction) -> Run:
    """Return what runs reading statements in a transaction."""

    def run(query: str, parameters: Mapping[str, Any]) -> list[list[Any]]:
        return cast("list[list[Any]]", tx.run(cast("Any", query), parameters).values())

    return run


@contextmanager
def leased(transact: Transact, uri: str, task: str) -> Iterator[Lease]:
    """Hold the right to write during the block, and give it up after; a load that fails leaves its marker."""
    lease = Lease(transact, uri, task)
    lease.take()
    try:
        yield lease
    except BaseException as error:
        lease.drop()
        if task != LOAD and not is_gone(error) and not isinstance(error, StoreLocked):
            lease.clear()
        raise


def _load_at_once(tx: ManagedTransaction, uri: str, tables: GraphTables) -> None:
    state = count_write(tx, uri)
    declare(tx, state, tables.schema)
    for step in _steps(runner(tx), tables):
        for parameters in step.do.batches():
            step.do.run(tx, parameters)
    if state.writer:  # left by a load that was cut off, which this one completes
        tx.run("MATCH (s:_Kgrec {id: 'schema'}) REMOVE s.writer, s.task, s.beat, s.step").consume()


def _load_in_batches(connection: Connection, tables: GraphTables) -> None:
    def read(query: str, parameters: Mapping[str, Any]) -> list[list[Any]]:
        return connection.read(lambda tx: runner(tx)(query, parameters))

    done: list[Step] = []
    with leased(connection.transact, connection.uri, LOAD) as lease:
        try:
            for step in _steps(read, tables):
                done.append(step)
                _run(lease, step.do)
            lease.clear(lambda tx: declare(tx, State.read(tx), tables.schema))
        except BaseException as error:
            if not is_gone(error) and not isinstance(error, StoreLocked):
                _undo(lease, done)
            raise


def _undo(lease: Lease, steps: list[Step]) -> None:
    for step in reversed(steps):
        _run(lease, step.undo)
    lease.clear()


def _run(lease: Lease, statement: Statement) -> None:
    for parameters in statement.batches():
        lease.run(lambda tx, parameters=parameters: statement.run(tx, parameters))  # type: ignore[misc]


def _steps(read: Run, tables: GraphTables) -> Iterator[Step]:
    """Yield what is to be written, nodes first; a table of the graph is read when its turn comes."""
    schema = tables.schema
    for label, table in tables.nodes.items():
        yield from _node_steps(read, schema, label, table)
    for edge_type, table in tables.edges.items():
        there = rows.read_edges(read, schema, edge_type, table.column("src").unique())
        keys = ["src", "dst", *schema.edge_key(edge_type[1])]
        new, changed = changes(there, table, keys)
        old = _old(there, changed, keys)
        if new.num_rows:
            yield Step(rows.create_edges(schema, edge_type, new), rows.delete_edges(schema, edge_type, new))
        if changed.num_rows:
            yield Step(rows.set_edges(schema, edge_type, changed), rows.set_edges(schema, edge_type, old))


def _node_steps(read: Run, schema: Schema, label: str, table: pa.Table) -> Iterator[Step]:
    key = schema.nodes[label].key
    there = rows.read_nodes(read, schema, label, table.column(key))
    new, changed = changes(there, table, [key])
    old = _old(there, changed, [key])
    if new.num_rows:
        yield Step(rows.create_nodes(schema, label, new), rows.delete_nodes(schema, label, new))
    if changed.num_rows:
        yield Step(rows.set_nodes(schema, label, changed), rows.set_nodes(schema, label, old))


def _old(there: pa.Table, changed: pa.Table, keys: list[str]) -> pa.Table:
    """Return the rows that are there for the keys of changed ones."""
    return changes(changed, there, keys)[1] if changed.num_rows else changed
