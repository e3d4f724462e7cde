"""Merging new data into a graph: the merged schema, and the rows that are new or changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from kgrec._util.types import IntArray
from kgrec.data.columns import ARROW_TYPES
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType, NodeLabel, RdfNames, RelationshipType
from kgrec.data.table_rows import equal_rows
from kgrec.data.tables import Gaps, GraphTables
from kgrec.errors import SchemaError, StoreError


def merge(there: Schema | None, new: Schema) -> Schema:
    """Return the schema of a graph after a new schema is applied to it.

    The result holds everything that either schema declares. Texts, names and roles that both declare are those of the
    new schema.

    Raises:
        StoreError: the schemas contradict each other in a key, the type of a property, the time of an interaction type,
            or an RDF term; the message lists all contradictions.
    """
    if there is None or there == new:
        return new
    problems = [*_key_conflicts(there, new), *_type_conflicts(there, new), *_term_conflicts(there, new)]
    if problems:
        raise StoreError("\n  ".join([f"the schema {new.name!r} contradicts the graph's schema:", *problems]))
    old, now = there.to_dict(), new.to_dict()
    data = {
        "name": new.name,
        "nodes": _merge_kinds(old["nodes"], now["nodes"]),
        "relationships": _merge_kinds(old["relationships"], now["relationships"]),
        "roles": _merge_kind(old["roles"], now["roles"]) | {"behaviours": _behaviors(old, now)},
        "rdf": _rdf_names(there, new),
    }
    try:
        return Schema.from_dict(data, where="graph")
    except SchemaError as error:
        raise StoreError(f"the schema {new.name!r} cannot be merged with the graph's schema: {error}") from error


def changes(
    there: pa.Table, incoming: pa.Table, keys: list[str], gaps: Gaps | None = None
) -> tuple[pa.Table, pa.Table]:
    """Return the incoming rows with new keys, and those with known keys and changed values.

    Columns that `incoming` lacks are ignored; cells that `gaps` marks take the stored value.

    Args:
        there: stored rows; a column that they lack counts as missing values.
        incoming: checked rows with distinct keys.
        keys: columns that identify a row.
        gaps: column of `incoming` → mask of the cells that were not given, bool [n].
    """
    if not there.num_rows:
        return incoming, incoming.slice(0, 0)
    there = _in_columns(there, incoming.schema)
    known = _numbered(there, keys, "#there").join(_numbered(incoming, keys, "#row"), keys=keys, join_type="inner")
    old, rows = known.column("#there").to_numpy(), known.column("#row").to_numpy()
    incoming = _completed(incoming, there, rows, old, gaps or {})
    is_new = np.ones(incoming.num_rows, dtype=bool)
    is_new[rows] = False
    both = pa.concat_tables([incoming, there])
    differs = ~equal_rows(both, rows, old + incoming.num_rows)
    return incoming.filter(pa.array(is_new)), incoming.take(pa.array(np.sort(rows[differs])))


def joined(there: GraphTables, written: GraphTables) -> GraphTables:
    """Return the tables of a graph after rows are written to it.

    Args:
        there: tables of the graph.
        written: new and changed rows, without gaps.

    Raises:
        StoreError: the schemas contradict each other.
    """
    schema = merge(there.schema, written.schema)
    nodes = {
        label: _replaced(there.nodes.get(label), written.nodes.get(label), [node.key], _columns_of_nodes(schema, label))
        for label, node in schema.nodes.items()
        if label in there.nodes or label in written.nodes
    }
    edges = {
        t: _replaced(there.edges.get(t), written.edges.get(t), _edge_keys(schema, t), _columns_of_edges(schema, t))
        for t in schema.all_edge_types()
        if t in there.edges or t in written.edges
    }
    return GraphTables(schema, nodes, edges)


def _replaced(there: pa.Table | None, written: pa.Table | None, keys: list[str], schema: pa.Schema) -> pa.Table:
    """Return stored and written rows with the columns of `schema`; a written row replaces the one with its key."""
    old, new = (
        schema.empty_table() if table is None else _in_columns(table, schema).combine_chunks()
        for table in (there, written)
    )
    return pa.concat_tables([changes(new, old, keys)[0], new])


def _edge_keys(schema: Schema, edge_type: EdgeType) -> list[str]:
    return ["src", "dst", *schema.edge_key(edge_type[1])]


def _columns_of_nodes(schema: Schema, label: str) -> pa.Schema:
    return _arrow_schema([schema.nodes[label].key], schema.nodes[label].properties)


def _columns_of_edges(schema: Schema, edge_type: EdgeType) -> pa.Schema:
    return _arrow_schema(["src", "dst"], schema.relationships[edge_type[1]].properties)


def _arrow_schema(keys: list[str], properties: Mapping[str, str]) -> pa.Schema:
    kinds = {**dict.fromkeys(keys, "string"), **properties}
    return pa.schema([(name, ARROW_TYPES[kind]) for name, kind in kinds.items()])


def _in_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema; columns that the table lacks are null."""
    columns = [
        table.column(field.name) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _completed(incoming: pa.Table, there: pa.Table, rows: IntArray, old: IntArray, gaps: Gaps) -> pa.Table:
    """Return the incoming rows with their gaps filled; incoming row `rows[i]` has the key of stored row `old[i]`."""
    for name, gap in gaps.items():
        known = there.column(name)
        taken = gap[rows] & np.asarray(known.is_valid())[old]
        if not taken.any():
            continue
        source = np.arange(incoming.num_rows)
        source[rows[taken]] = incoming.num_rows + old[taken]
        both = pa.chunked_array([*incoming.column(name).chunks, *known.chunks])
        at = incoming.column_names.index(name)
        incoming = incoming.set_column(at, incoming.schema.field(name), both.take(pa.array(source)))
    return incoming


def _numbered(table: pa.Table, keys: list[str], name: str) -> pa.Table:
    return table.select(keys).append_column(name, pa.array(np.arange(table.num_rows)))


def _key_conflicts(there: Schema, new: Schema) -> list[str]:
    keys = [
        f"{label}: the key is {there.nodes[label].key} there, {new.nodes[label].key} here"
        for label in new.nodes
        if label in there.nodes and there.nodes[label].key != new.nodes[label].key
    ]
    keys += [
        f"{label}: ids are of type {there.nodes[label].id_type} there, {new.nodes[label].id_type} here"
        for label in new.nodes
        if label in there.nodes and there.nodes[label].id_type != new.nodes[label].id_type
    ]
    times = [
        f"{type_}: the time is {there.edge_key(type_)} there, {new.edge_key(type_)} here"
        for type_ in new.roles.behaviours
        if type_ in there.roles.behaviours and there.edge_key(type_) != new.edge_key(type_)
    ]
    return keys + times


def _type_conflicts(there: Schema, new: Schema) -> list[str]:
    old, now = _properties(there), _properties(new)
    return [f"{place}: {old[place]} there, {kind} here" for place, kind in now.items() if old.get(place, kind) != kind]


def _term_conflicts(there: Schema, new: Schema) -> list[str]:
    if new.rdf == RdfNames():
        return []
    old, now = there.rdf.terms, new.rdf.terms
    terms = [
        f"rdf.terms.{name}: {old[name]} there, {now[name]} here"
        for name in now
        if old.get(name, now[name]) != now[name]
    ]
    if there.rdf.base != new.rdf.base:
        terms.append(f"rdf.base: {there.rdf.base} there, {new.rdf.base} here")
    return terms


def _rdf_names(there: Schema, new: Schema) -> dict[str, Any]:
    """Return the merged RDF names; a schema without RDF names takes the graph's."""
    old, now = there.rdf, new.rdf if new.rdf != RdfNames() else there.rdf
    return {"base": now.base, "prefixes": old.prefixes | now.prefixes, "terms": old.terms | now.terms}


def _properties(schema: Schema) -> dict[str, str]:
    kinds: dict[str, NodeLabel | RelationshipType] = {**schema.nodes, **schema.relationships}
    return {f"{name}.{p}": kind for name, declared in kinds.items() for p, kind in declared.properties.items()}


def _merge_kinds(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _merge_kind(old.get(name, {}), new.get(name, {})) for name in {**old, **new}}


def _merge_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return two declarations of one label or type merged: labels and properties of both, the rest from the new one."""
    joined = {**old, **new}
    for part in ("from", "to", "users", "items"):
        if part in joined:
            joined[part] = list(dict.fromkeys([*old.get(part, ()), *new.get(part, ())]))
    if "properties" in joined:
        joined["properties"] = {**old.get("properties", {}), **new.get("properties", {})}
    return joined


def _behaviors(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {**old["roles"]["behaviours"], **new["roles"]["behaviours"]}
