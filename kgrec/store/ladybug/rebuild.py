"""Copying a ladybug graph without one node: deleting rows would leave their bytes in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.store.ladybug.ddl import SCHEMA_TABLE, declare, stored_schema, table_names, vector_table
from kgrec.store.ladybug.engine import as_arrow, execute, fetch, quote
from kgrec.store.ladybug.rows import copy

if TYPE_CHECKING:
    import ladybug


def copy_without(source: ladybug.Connection, target: ladybug.Connection, label: str, id_: str) -> dict[str, int]:
    """Copy all tables, including those that kgrec did not create, without one node and its relationships.

    Args:
        source: connection to the graph.
        target: connection to an empty graph, in a transaction.
        label, id_: label and key of the node to leave out.

    Returns:
        Number of published rows left out: `recommendations` and `vectors`.
    """
    left_out = {"recommendations": 0, "vectors": 0}
    schema = stored_schema(source)
    if schema is not None:
        declare(target, schema)
    tables = [(name, kind) for _, name, kind, *_ in fetch(source, "CALL show_tables() RETURN *")]
    for name in (name for name, kind in tables if kind == "NODE"):
        gone = id_ if name in (label, vector_table(label)) else None
        n = _copy_nodes(source, target, name, gone)
        left_out["vectors"] += n if name != label else 0
    for name in (name for name, kind in tables if kind == "REL"):
        n = _copy_relationships(source, target, name, label, id_)
        left_out["recommendations"] += n if name == "RECOMMENDED" else 0
    return left_out


def _copy_nodes(source: ladybug.Connection, target: ladybug.Connection, name: str, gone: str | None) -> int:
    columns = fetch(source, f"CALL table_info('{name}') RETURN *")
    key = next(column for _, column, _, _, is_key in columns if is_key)
    if name not in table_names(target):
        declared = ", ".join(f"{quote(column)} {kind}" for _, column, kind, *_ in columns)
        execute(target, f"CREATE NODE TABLE {quote(name)}({declared}, PRIMARY KEY({quote(key)}))")
    if name == SCHEMA_TABLE:
        return 0
    names = [column for _, column, *_ in columns]
    rows = _rows(source, f"MATCH (x:{quote(name)})", [f"x.{quote(column)}" for column in names], names)
    kept = rows if gone is None else rows.filter(pc.not_equal(rows.column(key), gone))
    copy(target, name, kept)
    return int(rows.num_rows - kept.num_rows)


def _copy_relationships(source: ladybug.Connection, target: ladybug.Connection, name: str, label: str, id_: str) -> int:
    columns = [(column, kind) for _, column, kind, *_ in fetch(source, f"CALL table_info('{name}') RETURN *")]
    between = [tuple(row) for row in fetch(source, f"CALL show_connection('{name}') RETURN *")]
    if name not in table_names(target):
        declared = [f"FROM {quote(start)} TO {quote(end)}" for start, end, *_ in between]
        declared += [f"{quote(column)} {kind}" for column, kind in columns]
        execute(target, f"CREATE REL TABLE {quote(name)}({', '.join(declared)})")
    left_out = 0
    for start, end, start_key, end_key in between:
        values = [f"a.{quote(start_key)}", f"b.{quote(end_key)}", *(f"x.{quote(column)}" for column, _ in columns)]
        match = f"MATCH (a:{quote(start)})-[x:{quote(name)}]->(b:{quote(end)})"
        rows = _rows(source, match, values, ["src", "dst", *(column for column, _ in columns)])
        kept = rows
        for side, of in (("src", start), ("dst", end)):
            kept = kept.filter(pc.not_equal(kept.column(side), id_)) if of == label else kept
        copy(target, name, kept, (start, end))
        left_out += rows.num_rows - kept.num_rows
    return left_out


def _rows(source: ladybug.Connection, match: str, values: list[str], names: list[str]) -> pa.Table:
    returned = ", ".join(f"{value} AS c{i}" for i, value in enumerate(values))
    with execute(source, f"{match} RETURN {returned}") as result:
        return as_arrow(result).rename_columns(names)
