"""What loading more data means: the vocabulary a graph has after it, and the rows that are new or changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from kgrec.errors import SchemaError, StoreError
from kgrec.schema import NodeLabel, RdfNames, RelationshipType, Schema
from kgrec.tables import equal_rows


def merge(there: Schema | None, new: Schema) -> Schema:
    """Return the vocabulary of a graph after a schema is declared in it.

    Nothing that is there is lost; texts, names and roles that both declare are taken from the new schema.

    Raises:
        StoreError: a key, a property's type or a behaviour's time is there with another meaning; says which.
    """
    if there is None or there == new:
        return new
    problems = [*_key_conflicts(there, new), *_type_conflicts(there, new), *_term_conflicts(there, new)]
    if problems:
        raise StoreError("\n  ".join([f"the schema {new.name!r} contradicts the graph's:", *problems]))
    old, now = there.to_dict(), new.to_dict()
    data = {
        "name": new.name,
        "nodes": _merge_kinds(old["nodes"], now["nodes"]),
        "relationships": _merge_kinds(old["relationships"], now["relationships"]),
        "roles": _merge_kind(old["roles"], now["roles"]) | {"behaviours": _behaviours(old, now)},
        "rdf": _rdf_names(there, new),
    }
    try:
        return Schema.from_dict(data, where="graph")
    except SchemaError as error:
        raise StoreError(f"the schema {new.name!r} cannot be joined to the graph's: {error}") from error


def changes(there: pa.Table, incoming: pa.Table, keys: list[str]) -> tuple[pa.Table, pa.Table]:
    """Return the incoming rows whose key is not there yet, and those whose key is there with other values.

    Args:
        there: the rows of the store, in the columns of `incoming`.
        incoming: checked rows, one a key.
        keys: columns that identify a row.
    """
    if not there.num_rows:
        return incoming, incoming.slice(0, 0)
    known = _numbered(there, keys, "#there").join(_numbered(incoming, keys, "#row"), keys=keys, join_type="inner")
    old, rows = known.column("#there").to_numpy(), known.column("#row").to_numpy()
    is_new = np.ones(incoming.num_rows, dtype=bool)
    is_new[rows] = False
    both = pa.concat_tables([incoming, there])
    differs = ~equal_rows(both, rows, old + incoming.num_rows)
    return incoming.filter(pa.array(is_new)), incoming.take(pa.array(np.sort(rows[differs])))


def _numbered(table: pa.Table, keys: list[str], name: str) -> pa.Table:
    return table.select(keys).append_column(name, pa.array(np.arange(table.num_rows)))


def _key_conflicts(there: Schema, new: Schema) -> list[str]:
    keys = [
        f"{label}: the key is {there.nodes[label].key} there, {new.nodes[label].key} here"
        for label in new.nodes
        if label in there.nodes and there.nodes[label].key != new.nodes[label].key
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
    """Join the names in RDF; those of a schema without any are the graph's."""
    old, now = there.rdf, new.rdf if new.rdf != RdfNames() else there.rdf
    return {"base": now.base, "prefixes": old.prefixes | now.prefixes, "terms": old.terms | now.terms}


def _properties(schema: Schema) -> dict[str, str]:
    kinds: dict[str, NodeLabel | RelationshipType] = {**schema.nodes, **schema.relationships}
    return {f"{name}.{p}": kind for name, declared in kinds.items() for p, kind in declared.properties.items()}


def _merge_kinds(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _merge_kind(old.get(name, {}), new.get(name, {})) for name in {**old, **new}}


def _merge_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Join two declarations of one kind: labels and properties of both, everything else from the newer."""
    joined = {**old, **new}
    for part in ("from", "to", "users", "items"):
        if part in joined:
            joined[part] = list(dict.fromkeys([*old.get(part, ()), *new.get(part, ())]))
    if "properties" in joined:
        joined["properties"] = {**old.get("properties", {}), **new.get("properties", {})}
    return joined


def _behaviours(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {**old["roles"]["behaviours"], **new["roles"]["behaviours"]}
