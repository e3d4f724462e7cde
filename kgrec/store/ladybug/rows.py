"""Reading and writing the rows of a ladybug graph as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from kgrec.data.columns import ARROW_TYPES
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.tables import GraphTables
from kgrec.store.ladybug.engine import as_arrow, execute, quote
from kgrec.store.merge import changes

if TYPE_CHECKING:
    import ladybug


def upsert(connection: ladybug.Connection, tables: GraphTables) -> None:
    """Add rows with new keys and update changed rows; values that are not given stay."""
    schema = tables.schema
    for label, table in tables.nodes.items():
        key = schema.nodes[label].key
        new, changed = changes(read_nodes(connection, schema, label), table, [key], tables.gaps.get(label))
        copy(connection, label, new)
        _set(connection, f"MATCH {_node('x', label, key, 'c0')}", changed, n_keys=1)
    for edge_type, table in tables.edges.items():
        time = schema.edge_key(edge_type[1])
        keys, there = ["src", "dst", *time], read_edges(connection, schema, edge_type)
        new, changed = changes(there, table, keys, tables.gaps.get(edge_type))
        copy(connection, edge_type[1], new, (edge_type[0], edge_type[2]))
        changed = changed.select([*keys, *_others(changed, keys)])
        _set(connection, _match_edge(schema, edge_type, time), changed, n_keys=2 + len(time))


def read_nodes(connection: ladybug.Connection, schema: Schema, label: str) -> pa.Table:
    """Return the nodes of a label: columns are the key and the properties, in the schema's order."""
    node = schema.nodes[label]
    columns = {f"x.{quote(node.key)}": (node.key, pa.string()), **_properties(node.properties)}
    return _table(connection, f"MATCH (x:{quote(label)})", columns)


def read_edges(connection: ladybug.Connection, schema: Schema, edge_type: EdgeType) -> pa.Table:
    """Return the relationships of an edge type: columns are `src`, `dst` and the properties, in the schema's order."""
    source, type_, target = edge_type
    columns = {
        f"a.{quote(schema.nodes[source].key)}": ("src", pa.string()),
        f"b.{quote(schema.nodes[target].key)}": ("dst", pa.string()),
        **_properties(schema.relationships[type_].properties),
    }
    return _table(connection, f"MATCH (a:{quote(source)})-[x:{quote(type_)}]->(b:{quote(target)})", columns)


def copy(connection: ladybug.Connection, table: str, rows: pa.Table, ends: tuple[str, str] | None = None) -> None:
    """Append rows to a node table, or to a relationship table between the labels `ends` (first two columns: keys)."""
    if not rows.num_rows:
        return
    names = rows.column_names[2:] if ends else rows.column_names
    columns = f"({', '.join(map(quote, names))})" if names else ""
    between = f" (from='{ends[0]}', to='{ends[1]}')" if ends else ""
    execute(connection, f"COPY {quote(table)}{columns} FROM $rows{between}", {"rows": _without_empty_chunks(rows)})


def _set(connection: ladybug.Connection, match: str, rows: pa.Table, n_keys: int) -> None:
    """Set the properties of `x`, which `match` selects by the `n_keys` first columns of the rows (c0, c1, …)."""
    if not rows.num_rows:
        return
    names = [f"c{i}" for i in range(rows.num_columns)]
    values = list(zip(rows.column_names, names, strict=True))[n_keys:]
    assignments = ", ".join(f"x.{quote(property_)} = {name}" for property_, name in values)
    execute(
        connection,
        f"LOAD FROM $rows {match} SET {assignments}",
        {"rows": _without_empty_chunks(rows.rename_columns(names))},
    )


def _without_empty_chunks(rows: pa.Table) -> pa.Table:
    """Return a table without empty chunks (from files without rows), at which the engine would stop reading."""
    return pa.Table.from_batches([batch for batch in rows.to_batches() if batch.num_rows], rows.schema)


def _match_edge(schema: Schema, edge_type: EdgeType, time: list[str]) -> str:
    source, type_, target = edge_type
    start = _node("a", source, schema.nodes[source].key, "c0")
    end = _node("b", target, schema.nodes[target].key, "c1")
    at = f" WHERE x.{quote(time[0])} = c2" if time else ""
    return f"MATCH {start}-[x:{quote(type_)}]->{end}{at}"


def _node(name: str, label: str, key: str, value: str) -> str:
    return f"({name}:{quote(label)} {{{quote(key)}: {value}}})"


def _others(table: pa.Table, names: list[str]) -> list[str]:
    return [name for name in table.column_names if name not in names]


def _properties(properties: Mapping[str, str]) -> dict[str, tuple[str, pa.DataType]]:
    return {f"x.{quote(name)}": (name, ARROW_TYPES[kind]) for name, kind in properties.items()}


def _table(connection: ladybug.Connection, match: str, columns: Mapping[str, tuple[str, pa.DataType]]) -> pa.Table:
    returned = ", ".join(f"{value} AS c{i}" for i, value in enumerate(columns))
    with execute(connection, f"{match} RETURN {returned}") as result:
        table = as_arrow(result)
    return table.rename_columns([name for name, _ in columns.values()]).cast(pa.schema(list(columns.values())))
