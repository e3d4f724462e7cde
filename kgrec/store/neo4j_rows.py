"""Rows of a graph in Neo4j, in and out as Arrow tables.

Relationships travel grouped by their source, so the server looks each source up once; every column is one flat parameter:
packing a list is far faster than packing a row. They come out collected per source for the same reason.
Points in time travel as microseconds since 1970: a number is packed faster than a temporal value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.columns import ARROW_TYPES
from kgrec.errors import StoreError
from kgrec.schema import EdgeType, Schema
from kgrec.store.neo4j_connect import quote

if TYPE_CHECKING:
    from neo4j import ManagedTransaction

Run = Callable[[str, Mapping[str, Any]], list[list[Any]]]
"""Runs a statement that reads; returns its rows."""

BATCH: Final = 20_000
"""Rows of one transaction."""

FILTERED: Final = 20_000
"""Up to so many keys are looked up one by one; for more, all rows are read."""


def read_nodes(run: Run, schema: Schema, label: str, only: pa.Array | None = None, foreign: bool = False) -> pa.Table:
    """Return the nodes of a label: key and properties, in the schema's order.

    Args:
        run: runs a reading statement.
        schema: the vocabulary.
        label: one of its labels.
        only: keys; other nodes are left out.
        foreign: the data is not kgrec's, so keys may be numbers and points in time of other types.
    """
    node = schema.nodes[label]
    wanted, parameters = _wanted(node.key, only)
    values = [f"[a IN part | {_key('a', node.key, foreign)}]"]
    values += [f"[a IN part | {_out('a', name, kind, foreign)}]" for name, kind in node.properties.items()]
    query = (
        f"MATCH (a:{quote(label)}) WHERE {wanted} WITH collect(a) AS all UNWIND range(0, size(all) - 1, 1000) AS start "
        f"WITH all[start..start + 1000] AS part RETURN {', '.join(values)}"
    )
    columns = _flattened(run(query, parameters), 1 + len(node.properties))
    kinds = {node.key: "string", **node.properties}
    return _table(dict(zip(kinds, columns, strict=True)), kinds, label)


def read_edges(
    run: Run, schema: Schema, edge_type: EdgeType, only: pa.Array | None = None, foreign: bool = False
) -> pa.Table:
    """Return the relationships of an edge type: `src`, `dst` and properties, in the schema's order.

    Args:
        run: runs a reading statement.
        schema: the vocabulary.
        edge_type: one of its edge types.
        only: keys of sources; relationships of others are left out.
        foreign: as in `read_nodes`.
    """
    source, type_, target = edge_type
    properties = schema.relationships[type_].properties
    key, end = schema.nodes[source].key, schema.nodes[target].key
    wanted, parameters = _wanted(key, only)
    lists = [f"[x IN all | {_out('x', name, kind, foreign)}]" for name, kind in properties.items()]
    collected = f"collect({_key('b', end, foreign)}) AS ends" + (", collect(r) AS all" if lists else "")
    query = (
        f"MATCH (a:{quote(source)}) WHERE {wanted} CALL (a) {{ "
        f"MATCH (a)-[r:{quote(type_)}]->(b:{quote(target)}) WHERE b.{quote(end)} IS NOT NULL RETURN {collected} }} "
        f"WITH * WHERE size(ends) > 0 RETURN {', '.join([_key('a', key, foreign), 'ends', *lists])}"
    )
    rows = run(query, parameters)
    columns = _flattened([row[1:] for row in rows], 1 + len(properties))
    counts = np.fromiter((len(row[1]) for row in rows), np.int64, len(rows))
    sources = pa.array([row[0] for row in rows], pa.string()).take(pa.array(np.repeat(np.arange(len(rows)), counts)))
    kinds = {"src": "string", "dst": "string", **properties}
    return _table(dict(zip(kinds, [sources, *columns], strict=True)), kinds, "-".join(edge_type))


class Statement:
    """A statement and the rows it is for, cut into batches.

    Attributes:
        query: Cypher; its parameters are the lists `c0`, `c1`, … (columns), and for relationships `src` and `at`, the
            different sources and where their rows start.
    """

    def __init__(self, query: str, rows: pa.Table, kinds: Sequence[str], grouped: bool) -> None:
        self.query, self.kinds, self.grouped = query, kinds, grouped
        self.rows = rows.sort_by(rows.column_names[0]) if grouped and rows.num_rows else rows

    def batches(self, size: int = BATCH) -> Iterator[dict[str, Any]]:
        """Yield the parameters of one batch after the other."""
        for start in range(0, self.rows.num_rows, size):
            part = self.rows.slice(start, size)
            first = 1 if self.grouped else 0
            columns = [_packed(column, kind) for column, kind in zip(part.columns, self.kinds, strict=True)][first:]
            yield {f"c{i}": column for i, column in enumerate(columns)} | (_groups(part.column(0)) if first else {})

    def run(self, tx: ManagedTransaction, parameters: Mapping[str, Any]) -> None:
        """Run it for one batch."""
        tx.run(self.query, parameters).consume()


def create_nodes(schema: Schema, label: str, rows: pa.Table) -> Statement:
    """Return the statement that adds nodes."""
    kinds = _node_kinds(schema, label)
    values = ", ".join(f"{quote(name)}: {_in(f'$c{i}[n]', kind)}" for i, (name, kind) in enumerate(kinds.items()))
    query = f"UNWIND range(0, size($c0) - 1) AS n CREATE (:{quote(label)} {{{values}}})"
    return Statement(query, rows, list(kinds.values()), grouped=False)


def set_nodes(schema: Schema, label: str, rows: pa.Table) -> Statement:
    """Return the statement that sets every property of nodes that are there."""
    kinds = _node_kinds(schema, label)
    sets = [f"a.{quote(name)} = {_in(f'$c{i}[n]', kind)}" for i, (name, kind) in enumerate(kinds.items())][1:]
    query = f"UNWIND range(0, size($c0) - 1) AS n {_match('a', label, schema, '$c0[n]')} SET {', '.join(sets)}"
    return Statement(query, rows, list(kinds.values()), grouped=False)


def delete_nodes(schema: Schema, label: str, rows: pa.Table) -> Statement:
    """Return the statement that removes nodes by their keys."""
    query = f"UNWIND $c0 AS key {_match('a', label, schema, 'key')} DETACH DELETE a"
    return Statement(query, rows.select([schema.nodes[label].key]), ["string"], grouped=False)


def create_edges(schema: Schema, edge_type: EdgeType, rows: pa.Table) -> Statement:
    """Return the statement that adds relationships."""
    properties = schema.relationships[edge_type[1]].properties
    values = ", ".join(f"{quote(p)}: {_in(f'$c{i}[i]', kind)}" for i, (p, kind) in enumerate(properties.items(), 1))
    query = f"{_ends(schema, edge_type)} CREATE (a)-[:{quote(edge_type[1])} {{{values}}}]->(b)"
    return Statement(query, rows, ["string", "string", *properties.values()], grouped=True)


def set_edges(schema: Schema, edge_type: EdgeType, rows: pa.Table) -> Statement:
    """Return the statement that sets every property of relationships that are there."""
    properties = schema.relationships[edge_type[1]].properties
    time = schema.edge_key(edge_type[1])
    sets = [
        f"r.{quote(p)} = {_in(f'$c{i}[i]', kind)}" for i, (p, kind) in enumerate(properties.items(), 1) if p not in time
    ]
    query = f"{_match_edges(schema, edge_type, list(properties))} SET {', '.join(sets)}"
    return Statement(query, rows, ["string", "string", *properties.values()], grouped=True)


def delete_edges(schema: Schema, edge_type: EdgeType, rows: pa.Table) -> Statement:
    """Return the statement that removes relationships by ends and time."""
    time = schema.edge_key(edge_type[1])
    kinds = [schema.relationships[edge_type[1]].properties[name] for name in time]
    query = f"{_match_edges(schema, edge_type, time)} DELETE r"
    return Statement(query, rows.select(["src", "dst", *time]), ["string", "string", *kinds], grouped=True)


def each_source(match: str) -> str:
    """Return the start of a statement for grouped rows: `match` finds a source `a` by `$src[n]`; `i` is the row."""
    return f"UNWIND range(0, size($src) - 1) AS n {match} UNWIND range($at[n], $at[n + 1] - 1) AS i"


def _ends(schema: Schema, edge_type: EdgeType) -> str:
    source, _, target = edge_type
    return f"{each_source(_match('a', source, schema, '$src[n]'))} {_match('b', target, schema, '$c0[i]')}"


def _match_edges(schema: Schema, edge_type: EdgeType, columns: list[str]) -> str:
    """Match `r` by its ends and time; `columns` are those that follow the ends in the rows."""
    type_ = edge_type[1]
    kinds = schema.relationships[type_].properties
    tests = [f"r.{quote(t)} = {_in(f'$c{columns.index(t) + 1}[i]', kinds[t])}" for t in schema.edge_key(type_)]
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    return f"{_ends(schema, edge_type)} MATCH (a)-[r:{quote(type_)}]->(b){where}"


def _match(name: str, label: str, schema: Schema, value: str) -> str:
    return f"MATCH ({name}:{quote(label)} {{{quote(schema.nodes[label].key)}: {value}}})"


def _node_kinds(schema: Schema, label: str) -> dict[str, str]:
    node = schema.nodes[label]
    return {node.key: "string", **node.properties}


def _in(value: str, kind: str) -> str:
    """Return what stores a parameter."""
    if kind != "datetime":
        return value
    return f"CASE WHEN {value} IS NOT NULL THEN datetime({{epochSeconds: 0}}) + duration({{microseconds: {value}}}) END"


def _out(variable: str, name: str, kind: str, foreign: bool) -> str:
    """Return what reads a property."""
    value = f"{variable}.{quote(name)}"
    if kind != "datetime":
        return value
    if foreign:  # a DATE or a LOCAL DATETIME has no epoch; taken as UTC
        value = (
            f"CASE WHEN {value} IS :: DATE THEN datetime({{date: {value}}}) "
            f"WHEN {value} IS :: LOCAL DATETIME THEN datetime({{datetime: {value}}}) ELSE {value} END"
        )
        return f"head([t IN [{value}] | t.epochSeconds * 1000000 + t.microsecond])"
    return f"{value}.epochSeconds * 1000000 + {value}.microsecond"


def _key(variable: str, key: str, foreign: bool) -> str:
    return f"toString({variable}.{quote(key)})" if foreign else f"{variable}.{quote(key)}"


def _wanted(key: str, only: pa.Array | None) -> tuple[str, dict[str, Any]]:
    """Return the condition on `a`, and its parameters."""
    if only is None or len(only) > FILTERED:
        return f"a.{quote(key)} IS NOT NULL", {}
    return f"a.{quote(key)} IN $only", {"only": only.to_pylist()}


def _packed(column: pa.ChunkedArray, kind: str) -> list[Any]:
    """Return a column as the driver packs it fastest; `to_pylist` is several times slower than NumPy for numbers."""
    if kind == "datetime":
        column = column.cast(pa.int64())
    if column.null_count or kind == "strings":
        return list(column.to_pylist())
    return list(column.to_numpy().tolist())


def _groups(sources: pa.ChunkedArray) -> dict[str, Any]:
    """Return the different sources of sorted rows, and where their rows start and the last ones end."""
    names = sources.combine_chunks()
    encoded = names.dictionary_encode()
    codes = encoded.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return {"src": encoded.dictionary.to_pylist(), "at": [*starts.tolist(), len(codes)]}


def _flattened(rows: list[list[Any]], n_columns: int) -> list[list[Any]]:
    columns = list(zip(*rows, strict=True)) or [()] * n_columns
    return [list(itertools.chain.from_iterable(column)) for column in columns]


def _table(columns: Mapping[str, Any], kinds: Mapping[str, str], where: str) -> pa.Table:
    return pa.table({name: _column(values, kinds[name], f"{where}.{name}") for name, values in columns.items()})


def _column(values: Any, kind: str, where: str) -> pa.Array:
    type_ = ARROW_TYPES[kind]
    if isinstance(values, pa.Array):
        return values
    try:
        if kind == "datetime":
            return pa.array(values, pa.int64()).cast(type_)
        return pa.array(values, type_, from_pandas=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{where}: the graph holds a value that is not of type {kind} ({reason})") from error


def unknown(keys: pa.ChunkedArray, there: pa.Array) -> list[str]:
    """Return up to five of the keys that are not there."""
    lost = keys.filter(pc.invert(pc.is_in(keys, value_set=there)))
    return list(lost.unique().to_pylist()[:5])
