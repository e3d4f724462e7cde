"""Loader of user tables: CSV, TSV, Parquet and JSON-lines files or data frames, mapped to a schema.

Example of a mapping file, beside the data:

    nodes:
      Product: {source: products.csv, key: sku, properties: {title: product_name}, list_separator: "|"}
    relationships:
      PURCHASED: {source: orders.parquet, from: customer, to: sku, properties: {timestamp: ordered_at}}

A column with the name of a property needs no entry. Nodes of a label without a source are created from the ends of
relationships, if the graph has no node of the label yet or the label has no properties.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.notices import notice
from kgrec._util.types import BoolArray, IntArray
from kgrec.data.arrow import as_python
from kgrec.data.columns import as_ids, as_type, expected_id, expected_value, to_mask, trim
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.table_rows import shown
from kgrec.data.tables import Ends, Gaps, GraphTables, Origin, TableKey, locate, stacked
from kgrec.errors import DataError, Problem, UsageError, listed, near_matches
from loaders.lists import LIST, MIXED, WRITTEN_TEXTS, as_lists, as_text, is_list, only_parts, texts
from loaders.mapping import NodeSource, RelationshipSource, TableMapping, read_mapping
from loaders.names import alike
from loaders.rows import LABEL_COLUMN, TYPE_COLUMN, Selection, has_label, matches, repeated, some_values, spread
from loaders.sources import Source, read_source

LISTS_TOO: Final = "; with list_separator also of lists"
_Columns = dict[str, pa.ChunkedArray]


class TablesLoader:
    """Loads files or data frames through a mapping."""

    def load(self, source: Mapping[str, Any] | str | Path, schema: Schema | None = None) -> GraphTables:
        """Read every source of a mapping.

        Args:
            source: the mapping as a dictionary or YAML file; paths are relative to that file.
            schema: schema of the graph; required.

        Raises:
            UsageError: there is no schema, or no mapping file.
            DataError: lists every problem of the mapping; those of the sources are in the tables' `problems`.
        """
        if schema is None:
            raise UsageError("the tables loader needs a schema; give a schema file or a shipped one, such as commerce")
        mapping, name, folder = read_mapping(source)
        return _Reader(schema, mapping, name, folder).run()


class _Reader:
    def __init__(self, schema: Schema, mapping: TableMapping, name: str, folder: Path) -> None:
        self.schema, self.mapping, self.name, self.folder = schema, mapping, name, folder
        self.problems: list[Problem] = []
        self.notices: list[str] = []
        self.read: dict[str, Source | None] = {}
        self.origins: dict[TableKey, tuple[Origin, ...]] = {}
        self.gaps: dict[TableKey, Gaps] = {}
        self.skip: dict[EdgeType, BoolArray] = {}
        self.uses: dict[tuple[str, ...], list[tuple[str, IntArray]]] = {}

    def run(self) -> GraphTables:
        nodes = {label: self._nodes(label, source) for label, source in self.mapping.nodes.items()}
        edges: dict[EdgeType, pa.Table] = {}
        for type_, sources in self.mapping.relationships.items():
            for number, source in enumerate(sources):
                place = f"relationships.{type_}" + (f".{number}" if len(sources) > 1 else "")
                self._add_edges(edges, type_, source, place)
        self._check_from_ends(edges)
        for text in () if self.problems else (*self.notices, *self._repeats()):
            notice(text)
        given = {label: table for label, table in nodes.items() if table is not None}
        make: dict[str, bool] = {label: True for label, source in self.mapping.nodes.items() if source.from_ends}
        make |= {label: False for label in self.schema.nodes if label not in self.mapping.nodes}
        ends = Ends(make, self.skip)
        return GraphTables(self.schema, given, edges, self.origins, ends, self.gaps, self.problems)

    def _nodes(self, label: str, source: NodeSource) -> pa.Table | None:
        place = f"nodes.{label}"
        if not self._known(place, "label", label, self.schema.nodes):
            return None
        if source.source is None:
            for key in sorted(source.model_fields_set - {"source", "from_ends"}):
                self._report(f"{place}.{key}", "a setting without a source", "a source beside it, or only from_ends")
            return None
        node, selection = self.schema.nodes[label], self._rows(place, source, LABEL_COLUMN, label)
        if selection is None:
            return None
        key = source.key or node.key
        columns: _Columns = {}
        if self._has(f"{place}.key", selection, key) and self._may_be_ids(f"{place}.key", selection, key):
            columns[node.key] = self._ids(selection, key)
        trimmed = {self.schema.roles.domain} if label in self.schema.roles.items else set()
        columns |= self._properties(place, selection, source, node.properties, trimmed)
        lists = [name for name, kind in node.properties.items() if name in columns and kind in ("strings", "vector")]
        if source.list_separator and not lists:
            self._report(
                f"{place}.list_separator",
                f"{source.list_separator!r}, but no property of {label} that is read is a list",
                "a property of type strings or vector; else leave it out",
            )
        self.origins[label] = _named(selection.origins, {node.key: key, **source.properties})
        if node.key not in columns:
            self._check_types(columns, node.properties, self.origins[label])
            return None
        return pa.table(columns)

    def _add_edges(self, edges: dict[EdgeType, pa.Table], type_: str, source: RelationshipSource, place: str) -> None:
        if not self._known(place, "relationship type", type_, self.schema.relationships):
            return
        edge_type, selection = self._edge_type(place, type_, source), self._rows(place, source, TYPE_COLUMN, type_)
        if edge_type is None or selection is None:
            return
        keys = [self.schema.nodes[label].key for label in (edge_type[0], edge_type[2])]
        ends = {"src": source.from_ or keys[0], "dst": source.to or keys[1]}
        behavior = self.schema.roles.behaviours.get(type_)
        needed = {name for name in (behavior.weight, behavior.time) if name} if behavior else set()
        trimmed = {behavior.split} if behavior else set()
        properties = self.schema.relationships[type_].properties
        values = self._properties(place, selection, source, properties, trimmed)
        for name in sorted(needed - values.keys() - source.properties.keys()):
            self._report(f"{place}.properties", f"no column for {name!r}", "a column; the schema's roles require it")
        read = [
            self._end_ids(f"{place}.{part}", selection, column, source.list_separator, behavior is None)
            for part, column in (("from", ends["src"]), ("to", ends["dst"]))
        ]
        if any(column is None for column in read):
            self._check_types(values, properties, _named(selection.origins, source.properties))
            return
        if source.list_separator:
            self._notice_unused(selection, list(ends.values()), source.list_separator)
        table, selection = _one_id_each(read, values, selection)
        self.uses.setdefault((self._key(source.source), *ends.values()), []).append((type_, selection.rows))
        skip_empty = source.skip_empty if source.skip_empty is not None else behavior is None
        table, selection = self._without_empty(table, selection, type_, ends) if skip_empty else (table, selection)
        self._check_skip(place, source, edge_type)
        before = self.skip.get(edge_type, np.zeros(0, dtype=bool))
        self.skip[edge_type] = np.concatenate([before, np.full(table.num_rows, source.skip_unknown)])
        self._stack(edges, edge_type, table, _named(selection.origins, {**ends, **source.properties}))

    def _stack(
        self, edges: dict[EdgeType, pa.Table], edge_type: EdgeType, table: pa.Table, origins: tuple[Origin, ...]
    ) -> None:
        """Append relationships to those of the same type from other sources."""
        if edge_type in edges:
            there, properties = edges[edge_type], self.schema.relationships[edge_type[1]].properties
            for name in _of_other_types(there, table):
                there = self._typed(there, name, properties[name], self.origins[edge_type])
                table = self._typed(table, name, properties[name], origins)
            table, self.gaps[edge_type] = stacked([there, table], [self.gaps.get(edge_type, {}), {}])
        edges[edge_type] = table
        self.origins[edge_type] = self.origins.get(edge_type, ()) + origins

    def _typed(self, table: pa.Table, name: str, kind: str, origins: tuple[Origin, ...]) -> pa.Table:
        """Return the table with a column converted to a property type."""
        column, wrong = as_type(table.column(name), kind)
        self._report_values(origins, table.column(name), name, wrong, partial(expected_value, kind))
        return table.set_column(table.column_names.index(name), name, column)

    def _check_types(self, columns: _Columns, properties: Mapping[str, str], origins: tuple[Origin, ...]) -> None:
        """Report values of a wrong type, for a table without ids, which is checked no further."""
        for name in columns:
            self._typed(pa.table(columns), name, properties[name], origins)

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

    def _rows(self, place: str, source: NodeSource | RelationshipSource, own: str, name: str) -> Selection | None:
        """Return the rows that the mapping selects; `own` is Neo4j's column with the label or type, here `name`."""
        rows = self._source(source.source, place)
        if rows is None:
            return None
        every = Selection.of(rows)
        flat = [
            self._has(f"{place}.where", every, column)
            and self._is_flat(f"{place}.where", every, column, "a column of single values")
            for column in source.where
        ]
        if not all(flat):
            return None
        kept = np.ones(every.table.num_rows, dtype=bool)
        for column, values in source.where.items():
            kept &= self._having(every, column, values, column == own == LABEL_COLUMN)
        selection = every.keep(kept)
        if own in every.table.column_names and own not in source.where:
            selection = self._own_rows(place, selection, own, name)
        return selection

    def _having(self, selection: Selection, column: str, values: tuple[Any, ...], is_label: bool) -> BoolArray:
        """Return a mask of the rows with one of `values` in a column, and report the values that no row has."""
        cells = selection.table.column(column)
        masks = [has_label(cells, str(value)) if is_label else matches(cells, value) for value in values]
        idle = [repr(value) for value, mask in zip(values, masks, strict=True) if not mask.any()]
        if selection.table.num_rows and idle:
            self.notices.append(
                f"no row of {selection.where} has {' or '.join(idle)} in {column}; it has {some_values(cells)}"
            )
        return np.asarray(np.any(masks, axis=0), dtype=bool)

    def _own_rows(self, place: str, selection: Selection, own: str, name: str) -> Selection:
        """Return the rows whose type or label in Neo4j's own column is `name`, and report the others."""
        cells = selection.table.column(own)
        kept = has_label(cells, name) if own == LABEL_COLUMN else matches(cells, name)
        n = len(kept) - int(kept.sum())
        if n and n == len(kept):
            expected = f'rows of {name}; to take others: where: {{"{own}": …}}'
            self._report(place, f"only {some_values(cells)} in the column {own} of {selection.where}", expected)
        elif n:
            others = some_values(cells.filter(pa.array(~kept)))
            self.notices.append(f"{_rows(n)} of {selection.where} left out of {name}: the column {own} says {others}")
        return selection.keep(kept)

    def _source(self, source: Any, place: str) -> Source | None:
        """Return a source, which is read once even if the mapping uses it several times."""
        key = self._key(source) if isinstance(source, str | Path) else place
        if key not in self.read:
            try:
                self.read[key] = read_source(source, f"the table of {place}", self.folder, self.problems)
            except DataError as error:
                self.problems += error.problems
                self.read[key] = None
        return self.read[key]

    def _key(self, source: Any) -> str:
        """Return an identifier of a source: a file's path, a query's text, or a table's identity."""
        if isinstance(source, str | Path):
            return os.path.abspath(self.folder / source)
        return repr(source) if isinstance(source, Mapping) else f"table {id(source)}"

    def _end_ids(
        self, place: str, selection: Selection, column: str, separator: str | None, may_list: bool
    ) -> pa.ChunkedArray | None:
        """Return a column of ids, or of lists of ids if cells may have several."""
        if not self._has(place, selection, column):
            return None
        cells = selection.table.column(column)
        nested = is_list(cells) or cells.type == MIXED
        if nested and (separator or may_list):
            lists = as_lists(cells, separator)
        elif not self._may_be_ids(place, selection, column, LISTS_TOO if nested else ""):
            return None
        elif separator:
            lists = as_lists(self._ids(selection, column), separator)
        else:
            return self._ids(selection, column, LISTS_TOO if nested else "")
        self._report_values(selection.origins, as_text(cells), column, lists.wrong, LIST)
        return lists.parts

    def _may_be_ids(self, place: str, selection: Selection, column: str, hint: str = "") -> bool:
        """Return whether a column has single values in some rows at least; report one of lists or objects only."""
        is_mixed = selection.table.column(column).type == MIXED
        return is_mixed or self._is_flat(place, selection, column, f"a column of ids{hint}")

    def _ids(self, selection: Selection, column: str, hint: str = "") -> pa.ChunkedArray:
        cells = selection.table.column(column)
        if cells.type == MIXED:
            nested = to_mask(pc.struct_field(cells, "nested"))
            self._report_values(selection.origins, as_text(cells), column, nested, f"an id{hint}")
            cells = texts(cells)
        ids, wrong = as_ids(cells)
        self._report_values(selection.origins, cells, column, wrong, expected_id)
        return ids

    def _without_empty(
        self, table: pa.Table, selection: Selection, type_: str, ends: Mapping[str, str]
    ) -> tuple[pa.Table, Selection]:
        """Return the relationships without those that lack an id, and report their number."""
        empty = {column: to_mask(pc.is_null(table.column(name))) for name, column in ends.items()}
        for column, mask in empty.items():
            if mask.any():
                rows = _rows(int(mask.sum()))
                self.notices.append(f"{rows} of {selection.where} left out of {type_}: no {column}")
        kept = ~np.logical_or.reduce(list(empty.values()))
        return (table, selection) if kept.all() else (table.filter(pa.array(kept)), selection.keep(kept))

    def _check_skip(self, place: str, source: RelationshipSource, edge_type: EdgeType) -> None:
        nodes = self.mapping.nodes
        if source.skip_unknown and all(
            label in nodes and nodes[label].from_ends for label in (edge_type[0], edge_type[2])
        ):
            found = f"true, but unknown ends of {edge_type[0]} and {edge_type[2]} create nodes"
            self._report(f"{place}.skip_unknown", found, "skip_unknown or from_ends, not both")

    def _check_from_ends(self, edges: Iterable[EdgeType]) -> None:
        ends = {label for src, _, dst in edges for label in (src, dst)}
        for label, source in self.mapping.nodes.items():
            if source.from_ends and label in self.schema.nodes and label not in ends and not self.problems:
                found = f"true, but no relationship of the mapping ends at a {label}"
                self._report(f"nodes.{label}.from_ends", found, "such a relationship; else leave it out")

    def _properties(
        self,
        place: str,
        selection: Selection,
        source: NodeSource | RelationshipSource,
        properties: Mapping[str, str],
        trimmed: set[str | None],
    ) -> _Columns:
        there = set(selection.table.column_names)
        own = {name: name for name in properties if name in there}
        self._notice_alike(selection, source, properties.keys() - own.keys() - source.properties.keys())
        columns = {}
        for name, column in {**own, **source.properties}.items():
            known = self._known(f"{place}.properties", "property", name, properties)
            if self._has(f"{place}.properties.{name}", selection, column) and known:
                values = self._values(place, selection, column, properties[name], source.list_separator)
                if values is not None:
                    columns[name] = trim(values) if name in trimmed and pa.types.is_string(values.type) else values
        return columns

    def _notice_alike(
        self, selection: Selection, source: NodeSource | RelationshipSource, missing: Iterable[str]
    ) -> None:
        """Report columns that are not read but differ from a property's name only in spelling."""
        ends = (source.key,) if isinstance(source, NodeSource) else (source.from_, source.to)
        free = set(selection.table.column_names) - {*source.properties.values(), *ends}
        for name in sorted(missing):
            for column in sorted(alike(name, free)):
                self.notices.append(
                    f"the column {column!r} of {selection.where} is not read; "
                    f"to read it as {name}: properties: {{{name}: {column!r}}} in the mapping"
                )

    def _values(
        self, place: str, selection: Selection, column: str, kind: str, separator: str | None
    ) -> pa.ChunkedArray | None:
        """Return a column as values of a property type; None after a problem of the whole column."""
        cells = selection.table.column(column)
        if kind == "string" and (is_list(cells) or cells.type == MIXED):
            text, single, wrong = only_parts(cells)
            self._report_values(selection.origins, as_text(cells), column, wrong, "a text, or a list of one text")
            if single.any():
                rows = _rows(int(single.sum()))
                self.notices.append(f"{rows} of {selection.where}: {column} is a list of one text, read as that text")
            return text
        if kind == "string":
            self._notice_written(selection, column, cells)
        if kind == "vector":
            return self._vectors(place, as_text(cells), separator)
        if kind == "strings" and (is_list(cells) or cells.type == MIXED or pa.types.is_string(cells.type)):
            lists = as_lists(cells, separator)
            if lists.plain.any() and separator is None:
                self._report(place, "a list written as text", "list_separator, which says what separates its values")
                return None
            expected = partial(expected_value, "strings") if is_list(cells) else LIST
            self._report_values(selection.origins, as_text(cells), column, lists.wrong, expected)
            if separator and lists.plain.any():
                self._notice_unused(selection, [column], separator)
            return lists.parts
        return as_text(cells)

    def _vectors(self, place: str, cells: pa.ChunkedArray, list_separator: str | None) -> pa.ChunkedArray | None:
        if not pa.types.is_string(cells.type):
            return cells
        text = pc.utf8_trim_whitespace(cells)
        in_json = pc.any(_is_json_list(text)).as_py()
        separator = list_separator or ("," if in_json else None)
        if separator is None:
            self._report(place, "a list written as text", "list_separator, which says what separates its values")
            return None
        parts = trim(_separated(text, separator) if in_json else text)
        return pc.utf8_split_whitespace(parts) if separator == " " else pc.split_pattern(parts, separator)

    def _notice_written(self, selection: Selection, column: str, cells: pa.ChunkedArray) -> None:
        """Report texts that look like lists; they are not parsed."""
        if pa.types.is_string(cells.type):
            n = int(to_mask(pc.match_substring_regex(cells, WRITTEN_TEXTS)).sum())
            if n:
                kept = "it is kept as it is" if n == 1 else "they are kept as they are"
                self.notices.append(f"{_rows(n)} of {selection.where}: {column} is a list written as text; {kept}")

    def _notice_unused(self, selection: Selection, columns: list[str], separator: str) -> None:
        """Report a separator that occurs in no value; the file may use another one."""
        cells = [selection.table.column(column) for column in columns]
        nested = any(pa.types.is_nested(column.type) for column in cells)
        texts = [as_ids(column)[0] for column in cells if not pa.types.is_nested(column.type)]
        if (
            not nested
            and any(len(text.drop_null()) for text in texts)
            and not any(pc.any(pc.match_substring(text, separator)).as_py() for text in texts)
        ):
            names = " or ".join(columns)
            self.notices.append(f"list_separator {separator!r} occurs in no value of {names} in {selection.where}")

    def _repeats(self) -> Iterable[str]:
        for (_, *ends), names, n in repeated(self.uses):
            kinds = " and ".join(dict.fromkeys(names))
            how = f"loaded as {kinds}" if len(set(names)) > 1 else f"named twice for {kinds}"
            yield (
                f"{_rows(n)} with {' and '.join(ends)} of one source {'is' if n == 1 else 'are'} {how}; "
                "to select the rows of one type: where: {column: value} in the mapping"
            )

    def _has(self, place: str, selection: Selection, column: str) -> bool:
        names = selection.table.column_names
        if column in names:
            return True
        where = selection.origins[0].where if selection.origins else place
        self._report(
            place, f"column {column!r}, which is not in {where}", f"one of {listed(names)}{near_matches(column, names)}"
        )
        return False

    def _is_flat(self, place: str, selection: Selection, column: str, expected: str = "a column of ids") -> bool:
        nested = pa.types.is_nested(selection.table.column(column).type)
        if nested:
            self._report(place, f"column {column!r}, which holds lists or objects", expected)
        return not nested

    def _known(self, place: str, what: str, name: str, known: Iterable[str]) -> bool:
        names = list(known)
        if name in names:
            return True
        self._report(place, f"unknown {what} {name!r}", f"one of {listed(names)}{near_matches(name, names)}")
        return False

    def _report_values(
        self,
        origins: tuple[Origin, ...],
        values: pa.ChunkedArray,
        column: str,
        wrong: BoolArray,
        expected: str | Callable[[object], str],
    ) -> None:
        for row in np.flatnonzero(wrong).tolist():
            place, value = locate(origins, row), as_python(values, row)
            assert place is not None
            name = place.columns.get(column, column)
            wanted = expected if isinstance(expected, str) else expected(value)
            self.problems.append(Problem(place.where, shown(value), wanted, place.row, name))

    def _report(self, place: str, found: str, expected: str) -> None:
        self.problems.append(Problem(self.name, found, expected, field=place))


def _rows(n: int) -> str:
    return f"{n:,} {'row' if n == 1 else 'rows'}"


def _one_id_each(ends: list[Any], values: _Columns, selection: Selection) -> tuple[pa.Table, Selection]:
    """Return relationships with one id per end: an end with a list becomes one relationship per part."""
    columns, rows = dict(zip(("src", "dst"), ends, strict=True)), np.arange(selection.table.num_rows)
    for name in columns:
        if is_list(columns[name]):
            columns[name], parents = spread(columns[name])
            other = "dst" if name == "src" else "src"
            columns[other] = columns[other].take(pa.array(parents))
            rows = rows[parents]
    if len(rows) == selection.table.num_rows:
        return pa.table({**columns, **values}), selection
    numbers = pa.array(rows)
    kept = {name: column.take(numbers) for name, column in values.items()}
    return pa.table({**columns, **kept}), selection.take(rows)


def _named(origins: Iterable[Origin], columns: Mapping[str, str]) -> tuple[Origin, ...]:
    """Return the origins with the source's column names."""
    return tuple(replace(origin, columns=columns) for origin in origins)


def _is_json_list(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.match_substring_regex(text, r"^\[.*\]$")


def _separated(text: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """Return JSON number lists with the given separator: in a JSON column with other values, lists arrive as text."""
    inner = pc.replace_substring(pc.utf8_trim(text, "[]"), ",", separator)
    return pc.if_else(_is_json_list(text), inner, text)


def _of_other_types(one: pa.Table, other: pa.Table) -> list[str]:
    """Return the shared columns with different types, such as integers in one table and text in the other."""
    others = set(other.column_names)
    both = [name for name in one.column_names if name in others]
    return [name for name in both if one.column(name).type != other.column(name).type]
