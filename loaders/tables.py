"""One's own tables: CSV, TSV, Parquet and JSON-lines files or data frames, mapped to a schema.

Example of a mapping file, beside the data:

    nodes:
      Product: {source: products.csv, key: sku, properties: {title: product_name}, list_separator: "|"}
    relationships:
      PURCHASED: {source: orders.parquet, from: customer, to: sku, properties: {timestamp: ordered_at}}

A column that bears a property's name needs no entry. A label without a source gets its nodes from the relationships.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.columns import BoolArray, as_keys, as_type, expected_id, expected_value
from kgrec.data.arrow import as_python
from kgrec.errors import DataError, Problem, UsageError, near_matches
from kgrec.schema import EdgeType, Schema
from kgrec.tables import GraphTables, Origin, TableKey, locate, shown
from loaders.mapping import NodeSource, RelationshipSource, TableMapping, read_mapping
from loaders.sources import Source, read_source

_Columns = dict[str, pa.ChunkedArray]


class TablesLoader:
    """Loads files or data frames through a mapping."""

    def load(self, source: Mapping[str, Any] | str | Path, schema: Schema | None = None) -> GraphTables:
        """Read every source of a mapping.

        Args:
            source: the mapping as a dictionary, or its YAML file; paths are relative to that file.
            schema: the vocabulary; needed.

        Raises:
            UsageError: no schema, or no mapping file.
            DataError: with every problem of the mapping and of the sources.
        """
        if schema is None:
            raise UsageError("the tables loader needs a schema; give a schema file or a shipped one, such as commerce")
        mapping, name, folder = read_mapping(source)
        return _Reader(schema, mapping, name, folder).run()


class _Reader:
    def __init__(self, schema: Schema, mapping: TableMapping, name: str, folder: Path) -> None:
        self.schema, self.mapping, self.name, self.folder = schema, mapping, name, folder
        self.problems: list[Problem] = []
        self.read: dict[str, Source | None] = {}
        self.origins: dict[TableKey, tuple[Origin, ...]] = {}

    def run(self) -> GraphTables:
        nodes = {label: self._nodes(label, source) for label, source in self.mapping.nodes.items()}
        edges: dict[EdgeType, pa.Table] = {}
        for type_, sources in self.mapping.relationships.items():
            for number, source in enumerate(sources):
                place = f"relationships.{type_}" + (f".{number}" if len(sources) > 1 else "")
                self._add_edges(edges, type_, source, place)
        if self.problems:
            raise DataError(self.problems)
        return GraphTables(self.schema, {**self._nodes_of_ends(nodes, edges), **nodes}, edges, self.origins)

    def _nodes(self, label: str, source: NodeSource) -> pa.Table | None:
        place = f"nodes.{label}"
        if not self._known(place, "label", label, self.schema.nodes):
            return None
        node, found = self.schema.nodes[label], self._source(source.source, place)
        if found is None:
            return None
        columns = self._ids(place, found, {"key": (node.key, source.key or node.key)})
        columns |= self._properties(place, found, source, node.properties, ())
        self.origins[label] = _named(found, {node.key: source.key or node.key, **source.properties})
        return pa.table(columns)

    def _add_edges(self, edges: dict[EdgeType, pa.Table], type_: str, source: RelationshipSource, place: str) -> None:
        if not self._known(place, "relationship type", type_, self.schema.relationships):
            return
        edge_type, found = self._edge_type(place, type_, source), self._source(source.source, place)
        if edge_type is None or found is None:
            return
        keys = [self.schema.nodes[label].key for label in (edge_type[0], edge_type[2])]
        ends = {"from": ("src", source.from_ or keys[0]), "to": ("dst", source.to or keys[1])}
        columns = self._ids(place, found, ends)
        behaviour = self.schema.roles.behaviours.get(type_)
        needed = (behaviour.weight, behaviour.time) if behaviour else ()
        properties = self.schema.relationships[type_].properties
        columns |= self._properties(place, found, source, properties, [name for name in needed if name])
        part = pa.table(columns)
        origins = _named(found, {**dict(ends.values()), **source.properties})
        if edge_type in edges:
            there = edges[edge_type]
            for name in _of_other_types(there, part):
                there = self._typed(there, name, properties[name], self.origins[edge_type])
                part = self._typed(part, name, properties[name], origins)
            part = pa.concat_tables([there, part], promote_options="default")
        edges[edge_type] = part
        self.origins[edge_type] = self.origins.get(edge_type, ()) + origins

    def _typed(self, table: pa.Table, name: str, kind: str, origins: tuple[Origin, ...]) -> pa.Table:
        """Return a table with a column in the type of a property."""
        column, wrong = as_type(table.column(name), kind)
        self._report_values(origins, table.column(name), name, wrong, partial(expected_value, kind))
        return table.set_column(table.column_names.index(name), name, column)

    def _edge_type(self, place: str, type_: str, source: RelationshipSource) -> EdgeType | None:
        relationship = self.schema.relationships[type_]
        src = self._end(f"{place}.from_label", source.from_label, relationship.from_)
        dst = self._end(f"{place}.to_label", source.to_label, relationship.to)
        return (src, type_, dst) if src and dst else None

    def _end(self, place: str, given: str | None, allowed: tuple[str, ...]) -> str | None:
        if given is None and len(allowed) == 1:
            return allowed[0]
        if given is None:
            self._report(place, "nothing", f"one of {', '.join(allowed)}")
            return None
        return given if self._known(place, "label", given, allowed) else None

    def _source(self, source: Any, place: str) -> Source | None:
        """Read a source once, however often the mapping names it."""
        key = str(source) if isinstance(source, str | Path) else place
        if key not in self.read:
            try:
                self.read[key] = read_source(source, f"the table of {place}", self.folder)
            except DataError as error:
                self.problems += error.problems
                self.read[key] = None
        return self.read[key]

    def _ids(self, place: str, found: Source, wanted: Mapping[str, tuple[str, str]]) -> _Columns:
        """Return the id columns; `wanted` is key of the mapping → (name in the result, column of the source)."""
        columns = {}
        for part, (name, column) in wanted.items():
            if self._has(f"{place}.{part}", found, column) and self._is_flat(f"{place}.{part}", found, column):
                columns[name], wrong = as_keys(found[0].column(column))
                self._report_values(found[1], found[0].column(column), column, wrong, expected_id)
        return columns

    def _properties(
        self,
        place: str,
        found: Source,
        source: NodeSource | RelationshipSource,
        properties: Mapping[str, str],
        needed: Iterable[str],
    ) -> _Columns:
        own = {name: name for name in properties if name in found[0].column_names}
        columns = {}
        for name, column in {**own, **source.properties}.items():
            known = self._known(f"{place}.properties", "property", name, properties)
            if self._has(f"{place}.properties.{name}", found, column) and known:
                columns[name] = self._values(place, found[0].column(column), properties[name], source.list_separator)
        for name in sorted(set(needed) - {*own, *source.properties}):
            self._report(f"{place}.properties", f"no column for {name!r}", "one; the schema's roles need it")
        return columns

    def _values(self, place: str, column: pa.ChunkedArray, kind: str, list_separator: str | None) -> pa.ChunkedArray:
        if kind not in ("strings", "vector") or not pa.types.is_string(column.type):
            return column
        in_json = kind == "vector" and pc.any(_is_json_list(column)).as_py()
        separator = list_separator or ("," if in_json else None)
        if separator is None:
            self._report(place, "a list written as text", "list_separator, which says what separates its values")
            return column
        return pc.split_pattern(_separated(column, separator) if in_json else column, separator)

    def _nodes_of_ends(self, nodes: Mapping[str, Any], edges: Mapping[EdgeType, pa.Table]) -> dict[str, pa.Table]:
        ends: dict[str, list[pa.Array]] = {}
        for (src, _, dst), table in edges.items():
            for label, end in ((src, "src"), (dst, "dst")):
                ends.setdefault(label, []).extend(table.column(end).chunks)
        ids = {label: pc.unique(pa.chunked_array(chunks, pa.string())) for label, chunks in ends.items()}
        given = {label: array.filter(pc.not_equal(array, "")) for label, array in ids.items()}
        return {label: pa.table({self.schema.nodes[label].key: given[label]}) for label in given if label not in nodes}

    def _has(self, place: str, found: Source, column: str) -> bool:
        table, origins = found
        if column in table.column_names:
            return True
        where = origins[0].where if origins else place
        near = near_matches(column, table.column_names)
        self._report(place, f"column {column!r}, which {where} lacks", f"one of {', '.join(table.column_names)}{near}")
        return False

    def _is_flat(self, place: str, found: Source, column: str) -> bool:
        nested = pa.types.is_nested(found[0].column(column).type)
        if nested:
            self._report(place, f"column {column!r}, which holds lists or objects", "a column of ids")
        return not nested

    def _known(self, place: str, what: str, name: str, known: Iterable[str]) -> bool:
        names = list(known)
        if name in names:
            return True
        self._report(place, f"unknown {what} {name!r}", f"one of {', '.join(names)}{near_matches(name, names)}")
        return False

    def _report_values(
        self,
        origins: tuple[Origin, ...],
        values: pa.ChunkedArray,
        column: str,
        wrong: BoolArray,
        expected: Callable[[object], str],
    ) -> None:
        for row in np.flatnonzero(wrong).tolist():
            place, value = locate(origins, row), as_python(values, row)
            assert place is not None
            name = place.columns.get(column, column)
            self.problems.append(Problem(place.where, shown(value), expected(value), place.row, name))

    def _report(self, place: str, found: str, expected: str) -> None:
        self.problems.append(Problem(self.name, found, expected, field=place))


def _named(found: Source, columns: Mapping[str, str]) -> tuple[Origin, ...]:
    """Return where a source's rows came from, and what it calls the columns of a table made from it."""
    return tuple(replace(origin, columns=columns) for origin in found[1])


def _is_json_list(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring_regex(text, r"^\[.*\]$")


def _separated(text: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """Write JSON lists of numbers as others are: one that is no list makes text of all the lists of a JSON column."""
    inner = pc.replace_substring(pc.utf8_trim(text, "[]"), ",", separator)
    return pc.if_else(_is_json_list(text), inner, text)


def _of_other_types(one: pa.Table, other: pa.Table) -> list[str]:
    """Return the columns whose type differs between tables, such as whole numbers here and text there."""
    both = [name for name in one.column_names if name in other.column_names]
    return [name for name in both if one.column(name).type != other.column(name).type]
