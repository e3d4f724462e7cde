"""Reading and writing the rows of a Neo4j graph as Arrow tables, in batches.

Relationships are grouped by their start node, so that each batch row needs one look-up of that node; the row holds
lists of end nodes and properties.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import IntArray
from kgrec.data.columns import ARROW_TYPES
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.errors import StoreError

if TYPE_CHECKING:
    import neo4j

BATCH_ROWS: Final = 20_000
"""Rows per transaction; a write of up to this many rows is a single transaction."""

MAX_GROUP_ROWS: Final = 5_000
"""Maximum number of relationships of one node in a batch row."""

MICROSECONDS: Final = 1_000_000
Column = tuple[str, str]
"""Property name and property type."""


@dataclass(frozen=True)
class Change:
    """Rows to write with one statement, and the statement that undoes the write.

    Attributes:
        query: statement over `$rows`.
        rows: rows of `query`, lists of values.
        sizes: number of nodes or relationships in each row, int64 [rows].
        undo: statement over `$rows` that undoes `query`.
        before: rows of `undo`.
    """

    query: str
    rows: list[list[Any]]
    sizes: IntArray
    undo: str
    before: list[list[Any]]

    def batches(self) -> Iterator[list[list[Any]]]:
        """Yield the rows in batches of about `BATCH_ROWS` nodes or relationships."""
        yield from pieces(self.rows, self.sizes)


def pieces(rows: list[list[Any]], sizes: IntArray, most: int = BATCH_ROWS) -> Iterator[list[list[Any]]]:
    """Yield rows in batches of about `most` nodes or relationships, counted by `sizes`."""
    if not rows:
        return
    number = (np.cumsum(sizes) - 1) // most
    cuts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(rows)]
    for start, end in itertools.pairwise(cuts):
        yield rows[start:end]


def new_nodes(schema: Schema, label: str, table: pa.Table) -> Change:
    """Return the change that adds nodes."""
    columns = node_columns(schema, label, table)
    key = quote(schema.nodes[label].key)
    return Change(
        f"UNWIND $rows AS row CREATE (n:{quote(label)} {{{_map(columns, 'row[{}]')}}})",
        _rows(table, columns),
        np.ones(table.num_rows, np.int64),
        f"UNWIND $rows AS row MATCH (n:{quote(label)} {{{key}: row[0]}}) DETACH DELETE n",
        [[id_] for id_ in table.column(schema.nodes[label].key).to_pylist()],
    )


def changed_nodes(schema: Schema, label: str, table: pa.Table, before: pa.Table) -> Change:
    """Return the change that sets properties of existing nodes; `before` holds their stored values."""
    columns = node_columns(schema, label, table)
    node = f"(n:{quote(label)} {{{quote(columns[0][0])}: row[0]}})"
    query = f"UNWIND $rows AS row MATCH {node} SET {_set('n', columns[1:], 1)}"
    return Change(query, _rows(table, columns), np.ones(table.num_rows, np.int64), query, _rows(before, columns))


def new_edges(schema: Schema, edge_type: EdgeType, table: pa.Table) -> Change:
    """Return the change that adds relationships."""
    columns = edge_columns(schema, edge_type, table)
    start, end = _ends(schema, edge_type)
    rows, sizes = grouped(table, columns)
    each = (
        f"UNWIND $rows AS row MATCH (a:{start}: row[0]}}) UNWIND range(0, size(row[1]) - 1) AS i "
        f"MATCH (b:{end}: row[1][i]}}) "
    )
    at = _at(schema, edge_type[1], columns, "[i]")
    type_ = quote(edge_type[1])
    return Change(
        f"{each}CREATE (a)-[:{type_} {{{_map(columns, 'row[{}][i]', 2)}}}]->(b)",
        rows,
        sizes,
        f"{each}MATCH (a)-[r:{type_}]->(b){at} DELETE r",
        rows,
    )


def changed_edges(schema: Schema, edge_type: EdgeType, table: pa.Table, before: pa.Table) -> Change:
    """Return the change that sets properties of existing relationships; `before` holds their stored values."""
    columns = edge_columns(schema, edge_type, table)
    start, end = _ends(schema, edge_type)
    at = _at(schema, edge_type[1], columns)
    query = (
        f"UNWIND $rows AS row MATCH (a:{start}: row[0]}})-[r:{quote(edge_type[1])}]->(b:{end}: row[1]}}){at} "
        f"SET {_set('r', columns, 2)}"
    )
    ends: list[Column] = [("src", "string"), ("dst", "string")]
    sizes = np.ones(table.num_rows, np.int64)
    return Change(query, _rows(table, [*ends, *columns]), sizes, query, _rows(before, [*ends, *columns]))


def node_columns(schema: Schema, label: str, table: pa.Table) -> list[Column]:
    """Return the key and those properties of a label that are columns of a table."""
    node = schema.nodes[label]
    return [(node.key, "string"), *((n, k) for n, k in node.properties.items() if n in table.column_names)]


def edge_columns(schema: Schema, edge_type: EdgeType, table: pa.Table) -> list[Column]:
    """Return the properties of a relationship type that are columns of a table."""
    properties = schema.relationships[edge_type[1]].properties
    return [(name, kind) for name, kind in properties.items() if name in table.column_names]


def grouped(table: pa.Table, columns: Sequence[Column], most: int = MAX_GROUP_ROWS) -> tuple[list[list[Any]], IntArray]:
    """Return relationships as rows [source, targets, values of each column …], and the size of each row."""
    if not table.num_rows:
        return [], np.empty(0, np.int64)
    table = table.take(pc.sort_indices(table, [("src", "ascending")]))
    codes = pc.dictionary_encode(table.column("src").combine_chunks()).indices.to_numpy()
    starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    first = np.repeat(starts, np.diff(np.append(starts, len(codes))))
    within = (np.arange(len(codes)) - first) // most
    starts = np.flatnonzero(np.append(True, (codes[1:] != codes[:-1]) | (within[1:] != within[:-1])))
    offsets = pa.array(np.append(starts, len(codes)), pa.int32())
    parts = [table.column("src").take(pa.array(starts)).to_pylist()]
    for column in [table.column("dst"), *(_sent(table.column(name), kind) for name, kind in columns)]:
        parts.append(pa.ListArray.from_arrays(offsets, column.combine_chunks()).to_pylist())
    return list(map(list, zip(*parts, strict=True))), np.diff(np.append(starts, len(codes)))


def read_nodes(session: neo4j.Session, schema: Schema, label: str, foreign: bool) -> pa.Table:
    """Return the nodes of a label: columns are the key and the properties, in the schema's order."""
    node = schema.nodes[label]
    columns: list[Column] = [(node.key, "string"), *node.properties.items()]
    values = [_read(f"n.{quote(name)}", kind, foreign) for name, kind in columns]
    key = f"n.{quote(node.key)}"
    query = (
        f"MATCH (n:{quote(label)}) WHERE {key} IS NOT NULL RETURN {_key(key, foreign)}, {', '.join(values[1:]) or '1'}"
    )
    records = session.run(query)
    lists = [list(column) for column in zip(*records, strict=True)] or [[] for _ in columns]
    return pa.table({c[0]: _arrow(lists[i], c, label) for i, c in enumerate(columns)})


def read_edges(session: neo4j.Session, schema: Schema, edge_type: EdgeType, foreign: bool) -> pa.Table:
    """Return the relationships of an edge type: columns are `src`, `dst` and the properties, in the schema's order."""
    source, type_, target = edge_type
    columns = list(schema.relationships[type_].properties.items())
    start, end = (f"{n}.{quote(schema.nodes[label].key)}" for n, label in (("a", source), ("b", target)))
    values = [_key(end, foreign), *(f"coalesce({_read(f'r.{quote(n)}', k, foreign)}, {_none(k)})" for n, k in columns)]
    collected = ", ".join(f"collect({value}) AS c{i}" for i, value in enumerate(values))
    names = ", ".join(f"c{i}" for i in range(len(values)))
    query = (
        f"MATCH (a:{quote(source)}) WHERE {start} IS NOT NULL CALL (a) {{ "
        f"MATCH (a)-[r:{quote(type_)}]->(b:{quote(target)}) WHERE {end} IS NOT NULL RETURN {collected} }} "
        f"WITH a, {names} WHERE size(c0) > 0 RETURN {_key(start, foreign)}, {names}"
    )
    records = session.run(query)
    lists: list[Sequence[Any]] = list(zip(*records, strict=True)) or [() for _ in range(len(values) + 1)]
    counts = np.fromiter(map(len, lists[1]), np.int64, len(lists[1]))
    sources = pa.array(lists[0], pa.string()).take(pa.array(np.repeat(np.arange(len(counts)), counts)))
    table = {"src": sources, "dst": pa.array(list(itertools.chain.from_iterable(lists[1])), pa.string())}
    for i, column in enumerate(columns):
        flat = list(itertools.chain.from_iterable(lists[i + 2]))
        table[column[0]] = _arrow(flat, column, type_, 0 if column[1] == "string" else "")
    return pa.table(table)


def quote(name: str) -> str:
    """Return a name in backticks, so that Cypher accepts any name."""
    return "`" + name.replace("`", "``") + "`"


def _key(value: str, foreign: bool) -> str:
    return f"toString({value})" if foreign else value


def _read(value: str, kind: str, foreign: bool) -> str:
    """Return the expression that reads a property; a time is read as microseconds since 1970."""
    if kind != "datetime":
        return f"toString({value})" if foreign and kind == "string" else value
    point = f"datetime(toString({value}))" if foreign else value
    return f"({point}.epochSeconds * {MICROSECONDS} + {point}.microsecond)"


def _none(kind: str) -> str:
    """Return the placeholder of a missing value, a value of another type, since `collect` skips nulls."""
    return "0" if kind == "string" else "''"


def _arrow(values: list[Any], column: Column, owner: str, none: Any = None) -> pa.Array:
    name, kind = column
    type_ = ARROW_TYPES[kind]
    cells = pd.Series(values, dtype=object).to_numpy()
    missing = np.asarray(cells == none, dtype=bool)
    try:
        if kind == "datetime":
            return pa.array(cells, pa.int64(), mask=missing).cast(type_)
        return pa.array(cells, type_, mask=missing)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StoreError(f"{owner}.{name} holds values of another type than {kind}: {error}") from error


def _sent(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    return column.cast(pa.int64()) if kind == "datetime" else column


def _rows(table: pa.Table, columns: Sequence[Column]) -> list[list[Any]]:
    parts = [_sent(table.column(name), kind).to_pylist() for name, kind in columns]
    return list(map(list, zip(*parts, strict=True)))


def _value(column: Column, index: int, at: str = "") -> str:
    """Return the expression that writes a value of a row; a time is given as microseconds since 1970."""
    value = f"row[{index}]{at}"
    if column[1] != "datetime":
        return value
    micro = f"({value} % {MICROSECONDS} + {MICROSECONDS}) % {MICROSECONDS}"
    seconds = f"({value} - {micro}) / {MICROSECONDS}"
    point = f"datetime({{epochSeconds: {seconds}, nanosecond: {micro} * 1000}})"
    return f"CASE WHEN {value} IS NULL THEN NULL ELSE {point} END"


def _map(columns: Sequence[Column], value: str, first: int = 0) -> str:
    at = value.removeprefix("row[{}]")
    return ", ".join(f"{quote(c[0])}: {_value(c, first + i, at)}" for i, c in enumerate(columns))


def _set(variable: str, columns: Sequence[Column], first: int) -> str:
    parts = [f"{variable}.{quote(c[0])} = {_value(c, first + i)}" for i, c in enumerate(columns)]
    return ", ".join(parts) or f"{variable} += {{}}"


def _at(schema: Schema, type_: str, columns: Sequence[Column], i: str = "") -> str:
    """Return the condition that selects one of several parallel relationships by its time."""
    names = [name for name, _ in columns]
    times = [(name, 2 + names.index(name)) for name in schema.edge_key(type_)]
    return "".join(f" WHERE r.{quote(name)} = {_value(columns[n - 2], n, i)}" for name, n in times)


def _ends(schema: Schema, edge_type: EdgeType) -> tuple[str, str]:
    """Return `label {key` of both ends."""
    start, end = (f"{quote(label)} {{{quote(schema.nodes[label].key)}" for label in (edge_type[0], edge_type[2]))
    return start, end
