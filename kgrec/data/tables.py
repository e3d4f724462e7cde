"""GraphTables: a graph as Arrow tables, and their validation.

A loader fills GraphTables with the content of its source. `check` returns tables with exactly the schema's columns and
types, or raises one `DataError` with every problem, its file, row and field. Values that a source does not give are
marked as gaps. A gap is not a missing value: writing a gap leaves the existing value in the graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util import html
from kgrec._util.notices import notice
from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.data import times
from kgrec.data.arrow import as_python, plain
from kgrec.data.columns import (
    ARROW_TYPES,
    as_keys,
    as_type,
    comparable,
    expected_id,
    expected_value,
    is_datetime,
    list_lengths,
    to_mask,
)
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import Behavior, EdgeType
from kgrec.errors import DataError, Problem, UsageError, listed

MAX_SHOWN_CHARACTERS = 200
"""Maximum number of characters of a wrong value in an error message."""

WHOLE_NUMBER = "^(0|-?[1-9][0-9]*)$"
"""Pattern of an integer in canonical form."""

NO_KEYS = pa.chunked_array([], pa.string())
TableKey = str | EdgeType
Gaps = Mapping[str, BoolArray]
"""Column → mask [n] of the rows for which no source gives a value."""


@dataclass(frozen=True)
class Origin:
    """Source of a range of table rows.

    Attributes:
        where: file or source name.
        first_row: line or row number of the first row in the source, counted from 1.
        n_rows: number of rows.
        columns: column of the table → column name in the source, if it differs.
        rows: row numbers in the source [n_rows], if they are not consecutive.
    """

    where: str
    first_row: int
    n_rows: int
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: IntArray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Ends:
    """Rules for relationships with an end that is not the id of a known node; without rules each is a problem.

    Attributes:
        make: label without a source → whether unknown ends always create nodes. If False, they create nodes only if the
            graph has no node of the label yet or the label has no properties, because they would lack properties.
        skip: edge type → mask of the rows that are left out if an end is unknown.
    """

    make: Mapping[str, bool]
    skip: Mapping[EdgeType, BoolArray]


@dataclass(frozen=True)
class GraphTables:
    """A graph as Arrow tables.

    Attributes:
        schema: schema of the graph.
        nodes: label → table with the key column and any of the label's properties.
        edges: (source label, type, target label) → table with `src`, `dst` (keys of the ends) and properties.
        origins: table → sources of its rows, in row order; used in error messages only.
        ends: rules for unknown ends; None makes each a problem.
        gaps: table → cells that its sources do not give; a column that the table lacks is a gap too. Writing keeps the
            graph's existing value in a gap; a new row gets the table's value, usually null.

    Raises:
        UsageError: a gap mask has another length than its table, for example after filtering only the table.
    """

    schema: Schema
    nodes: Mapping[str, pa.Table]
    edges: Mapping[EdgeType, pa.Table]
    origins: Mapping[TableKey, tuple[Origin, ...]] = field(default_factory=dict, compare=False)
    ends: Ends | None = field(default=None, compare=False)
    gaps: Mapping[TableKey, Gaps] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for key, columns in self.gaps.items():
            table = self.nodes.get(key) if isinstance(key, str) else self.edges.get(key)
            for name, gap in columns.items():
                if table is not None and len(gap) != table.num_rows:
                    found = f"a gap mask of {len(gap)} rows for {_name(key)}.{name}, a table of {table.num_rows} rows"
                    raise UsageError(f"found {found}; expected equal lengths: filter both, or give no gaps")

    def counts(self) -> dict[str, int]:
        """Return the number of nodes of each label and of relationships of each type."""
        counts = {label: table.num_rows for label, table in self.nodes.items()}
        for (_, type_, _), table in self.edges.items():
            counts[type_] = counts.get(type_, 0) + table.num_rows
        return counts

    def __repr__(self) -> str:
        return f"GraphTables({', '.join(f'{name} {count:,}' for name, count in self.counts().items())})"

    def _repr_html_(self) -> str:
        return html.title(f"Tables of schema {self.schema.name}") + html.facts(self.counts())

    def locate(self, key: TableKey, index: int) -> Place:
        """Return the source of row `index` (from 0) of a table; the table itself if the row has no origin."""
        return locate(self.origins.get(key, ()), index) or Place(_name(key), index + 1, {})


class Place(NamedTuple):
    """A row of a source, and the source's column names."""

    where: str
    row: int
    columns: Mapping[str, str]


def locate(origins: Iterable[Origin], index: int) -> Place | None:
    """Return the source of row `index` (from 0) of a table with several origins; None if it is beyond all of them."""
    for origin in origins:
        if index < origin.n_rows:
            row = origin.first_row + index if origin.rows is None else int(origin.rows[index])
            return Place(origin.where, row, origin.columns)
        index -= origin.n_rows
    return None


def taken(origins: Iterable[Origin], rows: IntArray) -> tuple[Origin, ...]:
    """Return the origins of selected rows.

    Args:
        origins: origins of the table.
        rows: selected row numbers from 0, in ascending order; a row may be repeated.
    """
    every = list(origins)
    starts = np.concatenate([[0], np.cumsum([origin.n_rows for origin in every], dtype=np.int64)])
    cuts = np.searchsorted(rows, starts)
    parts = [
        replace(origin, n_rows=len(part), rows=part + origin.first_row if origin.rows is None else origin.rows[part])
        for origin, start, one, two in zip(every, starts[:-1], cuts[:-1], cuts[1:], strict=True)
        if len(part := rows[one:two] - start)
    ]
    return tuple(parts)


def _name(key: TableKey) -> str:
    return key if isinstance(key, str) else "-".join(key)


def stacked(tables: Sequence[pa.Table], gaps: Sequence[Gaps] = ()) -> tuple[pa.Table, Gaps]:
    """Return the concatenation of tables of several sources, and its gaps: columns that a source does not have.

    Args:
        tables: at least one.
        gaps: gaps of each table; empty if there are none.
    """
    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    known = gaps or [{} for _ in tables]
    lacks = {
        name: np.concatenate(
            [
                own[name] if name in own else np.full(table.num_rows, name not in table.column_names)
                for table, own in zip(tables, known, strict=True)
            ]
        )
        for name in names
    }
    whole = pa.concat_tables(tables, promote_options="permissive")
    return whole, {name: gap for name, gap in lacks.items() if gap.any()}


def check(tables: GraphTables, there: Mapping[str, pa.Array] | None = None, latest: float | None = None) -> GraphTables:
    """Return the tables in the schema's columns and types; equal rows with the same key are merged.

    A column or cell that no source gives is null and is marked in `gaps`.

    Args:
        tables: unchecked tables of a loader.
        there: label → keys that the graph already has; None for a new graph, which needs at least one behavior.
        latest: maximum valid time of a behavior in epoch seconds; None allows times in the future.

    Raises:
        DataError: lists every problem: unknown label or column, wrong type, missing key, duplicate key with different
            values, relationship to a node that neither the tables nor the graph have, one id with two labels of a role,
            NaN or infinite weight, time out of range or in the future, no behavior, vectors of one property that differ
            in length or are not finite.
    """
    return _Check(tables, there, latest).run()


def check_times(tables: Iterable[tuple[TableKey, pa.Table]]) -> None:
    """Check that the times of a graph can be written by Python and RDF; the year 52313, for example, cannot.

    Raises:
        DataError: lists each property with invalid times, and their number.
    """
    problems = []
    for key, table in tables:
        for name in (name for name in table.column_names if is_datetime(table.column(name))):
            wrong = np.flatnonzero(times.from_times(pa.chunked_array([table.column(name).combine_chunks()]))[1])
            if len(wrong):
                value = shown(as_python(table.column(name), int(wrong[0])))
                what = "time" if len(wrong) == 1 else "times"
                found = f"{len(wrong):,} {what} outside the years 1 to 9999, such as {value}"
                expected = "times that can be written; correct them in the source and load them again"
                problems.append(Problem(_name(key), found, expected, field=name))
    if problems:
        raise DataError(problems)


class _Check:
    def __init__(self, tables: GraphTables, there: Mapping[str, pa.Array] | None, latest: float | None = None) -> None:
        self.tables = tables
        self.there = there
        self.latest = latest
        self.schema = tables.schema
        self.problems: list[Problem] = []
        self.unreadable: dict[tuple[TableKey, str], BoolArray] = {}
        self.vectors: dict[str, dict[str, pa.ChunkedArray]] = {}
        self.gaps: dict[TableKey, Gaps] = {}

    def run(self) -> GraphTables:
        self._check_names()
        if self.problems:
            raise DataError(self.problems)
        if self.tables.ends:
            self._settle_ends(self.tables.ends)
        nodes = {label: self._node_table(label, table) for label, table in self.tables.nodes.items()}
        keys: dict[str, pa.ChunkedArray] = {
            label: table.column(self.schema.nodes[label].key) for label, table in nodes.items()
        }
        for label, known in (self.there or {}).items():
            keys[label] = pa.chunked_array([*keys.get(label, NO_KEYS).chunks, known], pa.string())
        self._check_vectors()
        edges = {t: self._edge_table(t, table, keys) for t, table in self.tables.edges.items()}
        self._check_roles(edges)
        if self.problems:
            raise DataError(self.problems)
        return GraphTables(self.schema, nodes, edges, gaps={key: gaps for key, gaps in self.gaps.items() if gaps})

    def _settle_ends(self, ends: Ends) -> None:
        """Apply the rules for unknown ends: leave out the relationships to skip, and create nodes for the others."""
        keys = {label: self._known(label) for label in self.schema.nodes}
        free = {label for label, always in ends.make.items() if always or not len(keys[label])}
        bare = {label for label in ends.make if label not in free and not self.schema.nodes[label].properties}
        made = {label: self._made(label, keys[label], ends.skip) for label in bare}
        for label, ids in made.items():
            keys[label] = pa.chunked_array([*keys[label].chunks, *ids.chunks], pa.string())
        for edge_type, skip in ends.skip.items():
            self._leave_out(edge_type, skip, {label: ids for label, ids in keys.items() if label not in free})
        made |= {label: self._made(label, keys[label], {}) for label in free}
        self._add_nodes({label: made[label] for label in ends.make if label in made and len(made[label])})

    def _add_nodes(self, made: Mapping[str, pa.ChunkedArray]) -> None:
        """Add nodes that have only a key."""
        nodes: dict[str, pa.Table] = {}
        gaps = dict(self.tables.gaps)
        for label, ids in made.items():
            new, given = pa.table({self.schema.nodes[label].key: ids}), self.tables.nodes.get(label)
            nodes[label] = new
            if given is not None:
                nodes[label], gaps[label] = stacked([given, new], [self.tables.gaps.get(label, {}), {}])
        others = {label: table for label, table in self.tables.nodes.items() if label not in nodes}
        self.tables = replace(self.tables, nodes={**nodes, **others}, gaps=gaps)

    def _known(self, label: str) -> pa.ChunkedArray:
        """Return the ids of a label's nodes in the tables and in the graph."""
        key = self.schema.nodes[label].key
        chunks = as_keys(self.tables.nodes[label].column(key))[0].chunks if label in self.tables.nodes else []
        return pa.chunked_array(
            [*chunks, *([self.there[label]] if self.there and label in self.there else [])], pa.string()
        )

    def _made(self, label: str, known: pa.ChunkedArray, skip: Mapping[EdgeType, BoolArray]) -> pa.ChunkedArray:
        """Return the ids of ends that become nodes of a label: unknown ids in rows that `skip` does not mark."""
        chunks: list[pa.Array] = []
        for edge_type, table in self.tables.edges.items():
            for name, end in (("src", edge_type[0]), ("dst", edge_type[2])):
                if end == label:
                    column = as_keys(table.column(name))[0]
                    chunks += (column.filter(pa.array(~skip[edge_type])) if edge_type in skip else column).chunks
        ids = pa.chunked_array([pc.unique(pa.chunked_array(chunks, pa.string()))])
        return ids.filter(pc.and_(pc.invert(pc.is_in(ids, value_set=known)), pc.not_equal(ids, "")))

    def _leave_out(self, edge_type: EdgeType, skip: BoolArray, keys: Mapping[str, pa.ChunkedArray]) -> None:
        """Leave out the relationships that `skip` marks and that have an unknown end, and report their number.

        Args:
            edge_type: type of the relationships.
            skip: mask of the rows [n].
            keys: label → ids of its nodes; labels for which unknown ends create nodes are absent.
        """
        table = self.tables.edges[edge_type]
        unknown = np.zeros(table.num_rows, dtype=bool)
        for name, label in (("src", edge_type[0]), ("dst", edge_type[2])):
            if label not in keys:
                continue
            ids = as_keys(table.column(name))[0]
            strange = skip & ~to_mask(pc.is_in(ids, value_set=keys[label])) & to_mask(ids.is_valid())
            if strange.any():
                row = int(np.flatnonzero(strange)[0])
                place = self.tables.locate(edge_type, row)
                n = int(strange.sum())
                notice(
                    f"{n:,} {'row' if n == 1 else 'rows'} left out of {edge_type[1]}: no {label} has the "
                    f"{place.columns.get(name, name)}, such as {shown(ids[row].as_py())} ({place.where}:{place.row})"
                )
            unknown |= strange
        if unknown.any():
            origins = self.tables.origins
            kept = {**origins, edge_type: taken(origins.get(edge_type, ()), np.flatnonzero(~unknown))}
            edges = {**self.tables.edges, edge_type: table.filter(pa.array(~unknown))}
            gaps = {name: gap[~unknown] for name, gap in self.tables.gaps.get(edge_type, {}).items()}
            all_gaps = {**self.tables.gaps, edge_type: gaps}
            self.tables = replace(self.tables, edges=edges, origins=kept, gaps=all_gaps)

    def _check_names(self) -> None:
        for label, table in self.tables.nodes.items():
            if label not in self.schema.nodes:
                self._report(label, f"unknown label {label!r}", f"one of {', '.join(self.schema.nodes)}")
                continue
            node = self.schema.nodes[label]
            self._check_columns(label, table, [node.key], list(node.properties))
        known = set(self.schema.all_edge_types())
        for edge_type, table in self.tables.edges.items():
            if edge_type not in known:
                self._report(edge_type, "an undeclared relationship type", "one that the schema declares")
                continue
            properties = list(self.schema.relationships[edge_type[1]].properties)
            self._check_columns(edge_type, table, ["src", "dst"], properties)

    def _check_columns(self, key: TableKey, table: pa.Table, needed: list[str], allowed: list[str]) -> None:
        there, known = table.column_names, {*needed, *allowed}
        for name in needed:
            if name not in there:
                self._report(key, f"columns {listed(there)}", f"a column {name!r}", field=name)
        for name in there:
            if name not in known:
                self._report(key, f"unknown column {name!r}", f"one of {listed((*needed, *allowed))}", field=name)

    def _node_table(self, label: str, table: pa.Table) -> pa.Table:
        node = self.schema.nodes[label]
        columns = {node.key: self._key_column(label, table, node.key)}
        if node.id_type == "int":
            self._check_whole(label, columns[node.key])
        columns |= self._property_columns(label, table, node.properties)
        for name in (name for name, kind in node.properties.items() if kind == "vector"):
            self.vectors.setdefault(name, {})[label] = columns[name]
        return self._collapse(label, pa.table(columns), [_codes(columns[node.key])], [])

    def _check_whole(self, label: str, ids: pa.ChunkedArray) -> None:
        """Report ids that are not canonical 64-bit integers."""
        spelled = to_mask(pc.match_substring_regex(ids, WHOLE_NUMBER))
        strange = (as_type(ids, "int")[1] | ~spelled) & to_mask(pc.not_equal(ids, ""))
        self._report_values(label, strange, self.schema.nodes[label].key, ids, "a whole number: the id_type is int")

    def _edge_table(self, edge_type: EdgeType, table: pa.Table, keys: Mapping[str, pa.ChunkedArray]) -> pa.Table:
        source, type_, target = edge_type
        columns = {end: self._key_column(edge_type, table, end) for end in ("src", "dst")}
        columns |= self._property_columns(edge_type, table, self.schema.relationships[type_].properties)
        behavior = self.schema.roles.behaviours.get(type_)
        if behavior:
            self._check_numbers(edge_type, columns, behavior)
            self._check_future(edge_type, columns, behavior)
        nums: list[npt.NDArray[Any]] = [
            self._node_nums(edge_type, columns[end], end, keys.get(label, NO_KEYS), label)
            for end, label in (("src", source), ("dst", target))
        ]
        at = [_as_number(columns[name]) for name in self.schema.edge_key(type_)]
        return self._collapse(edge_type, pa.table(columns), nums, at)

    def _key_column(self, key: TableKey, table: pa.Table, name: str) -> pa.ChunkedArray:
        column, wrong = as_keys(table.column(name))
        self._report_values(key, wrong, name, table.column(name), expected_id)
        missing = ~to_mask(pc.not_equal(column, "")) & ~wrong
        optional = self.tables.ends and not isinstance(key, str)
        expected = "an id, or skip_empty: true in the mapping, which leaves such rows out" if optional else "an id"
        self._report_values(key, missing, name, column, expected)
        return column

    def _property_columns(
        self, key: TableKey, table: pa.Table, properties: Mapping[str, str]
    ) -> dict[str, pa.ChunkedArray]:
        columns = {}
        there = set(table.column_names)
        for name, kind in properties.items():
            missing = pa.chunked_array([pa.nulls(table.num_rows, ARROW_TYPES[kind])])
            raw = table.column(name) if name in there else missing
            columns[name], wrong = as_type(raw, kind)
            self.unreadable[key, name] = wrong
            self._report_values(key, wrong, name, raw, partial(expected_value, kind))
            if kind == "datetime":
                self._report_remarks(key, name, times.remarks(plain(raw)))
        return columns

    def _report_remarks(self, key: TableKey, name: str, remarks: list[str]) -> None:
        place = self.tables.locate(key, 0)
        for remark in remarks:
            notice(f"{place.where}: {place.columns.get(name, name)}: {remark}")

    def _check_numbers(self, key: EdgeType, columns: Mapping[str, pa.ChunkedArray], behavior: Behavior) -> None:
        for name in filter(None, (behavior.weight, behavior.time)):
            values = columns[name]
            if is_datetime(values):
                missing = to_mask(pc.is_null(values)) & ~self.unreadable[key, name]
                self._report_values(key, missing, name, values, "a time")
                late = times.too_late(values) if name == behavior.time else np.zeros(len(values), dtype=bool)
                self._report_values(key, late, name, values, "a time up to the year 2200")
                continue
            finite = to_mask(pc.is_finite(values))
            self._report_values(key, ~finite & ~self.unreadable[key, name], name, values, "a finite number")
            if name == behavior.time:
                beyond = to_mask(pc.or_(pc.less(values, 0), pc.greater(values, times.LATEST)))
                self._report_values(key, beyond & finite, name, values, times.expected_order)

    def _check_future(self, key: EdgeType, columns: Mapping[str, pa.ChunkedArray], behavior: Behavior) -> None:
        """Report behaviors in the future, which would always count as the latest of their user."""
        if self.latest is None or behavior.time is None:
            return
        seconds = seconds_of(columns[behavior.time])
        for row in np.flatnonzero((seconds > self.latest) & (seconds <= times.LATEST)).tolist():
            found = f"a time in the future, {datetime.fromtimestamp(seconds[row], UTC):%Y-%m-%d %H:%M}"
            self._report(key, found, "a time up to now; check the clock", row, behavior.time)

    def _check_vectors(self) -> None:
        """Report vectors that are not finite, or that differ from the most frequent length of their property name."""
        for name, columns in self.vectors.items():
            given = [list_lengths(column)[to_mask(column.is_valid())] for column in columns.values()]
            most = max(1, int(np.bincount(np.concatenate(given), minlength=1).argmax()))
            for label, column in columns.items():
                readable = to_mask(column.is_valid()) & ~self.unreadable[label, name]
                lengths = list_lengths(column)
                for row in np.flatnonzero(readable & (lengths != most)).tolist():
                    expected = f"length {most}, that of most vectors {name!r}"
                    self._report(label, f"length {lengths[row]}", expected, row, name)
                for row, position, value in _not_finite(column):
                    if readable[row]:
                        self._report(label, f"{value} at position {position + 1}", "finite numbers", row, name)

    def _node_nums(self, key: EdgeType, ends: pa.ChunkedArray, end: str, keys: pa.ChunkedArray, label: str) -> IntArray:
        nums = pc.index_in(ends, value_set=keys)
        unknown = to_mask(pc.and_(pc.is_null(nums), pc.is_valid(ends)))
        expected = f"the key of a {label}"
        if self.tables.ends:
            expected += f"; or say skip_unknown: true for {key[1]} in the mapping"
            expected += f", or from_ends: true for {label}" if label in self.tables.ends.make else ""
        self._report_values(key, unknown, end, ends, expected)
        return np.asarray(nums.fill_null(-1).to_numpy(), dtype=np.int64)

    def _collapse(
        self, key: TableKey, table: pa.Table, ids: list[npt.NDArray[Any]], times: list[npt.NDArray[Any]]
    ) -> pa.Table:
        """Drop repeated rows with the same key (ids and times) and equal values; report those with different values.

        An id of -1 is invalid and already reported; its rows are not compared.
        """
        order = np.lexsort([*ids, *times][::-1])
        in_order = [code[order] for code in (*ids, *times)]
        same = np.logical_and.reduce([code[1:] == code[:-1] for code in in_order])
        same &= np.logical_and.reduce([code[1:] >= 0 for code in in_order[: len(ids)]])
        gaps = self._gaps_of(key, table)
        self.gaps[key] = gaps
        if not same.any():
            return table
        table, gaps = _filled(table, gaps, order, same)
        kept, again = order[:-1][same], order[1:][same]
        differs = ~equal_rows(table, kept, again)
        for one, two in sorted(zip(kept[differs].tolist(), again[differs].tolist(), strict=True)):
            first, second = self.tables.locate(key, one), self.tables.locate(key, two)
            described = _describe(table, one, first.columns)
            found = f"{_describe(table, two, second.columns)}, while {first.where}:{first.row} has {described}"
            self._report(key, found, "one row per key, or equal rows", row=two)
        keep = np.ones(table.num_rows, dtype=bool)
        keep[again] = False
        self.gaps[key] = {name: gap[keep] for name, gap in gaps.items()}
        return table.filter(pa.array(keep))

    def _gaps_of(self, key: TableKey, table: pa.Table) -> Gaps:
        """Return the gaps of a table: cells that its sources do not give, and absent columns."""
        given = self.tables.nodes[key] if isinstance(key, str) else self.tables.edges[key]
        absent = [name for name in table.column_names if name not in given.column_names]
        return {**self.tables.gaps.get(key, {}), **dict.fromkeys(absent, np.ones(table.num_rows, dtype=bool))}

    def _check_roles(self, edges: Mapping[EdgeType, pa.Table]) -> None:
        if self.there is None and not any(edges[t].num_rows for t in edges if self.schema.is_behavior(t)):
            types = ", ".join(self.schema.roles.behaviours)
            self.problems.append(Problem(self.schema.name, "no behavior at all", f"at least one {types}"))
        for labels in (self.schema.roles.users, self.schema.roles.items):
            self._check_unique_ids([label for label in labels if label in self.tables.nodes])
            self._check_known_ids(labels)

    def _check_known_ids(self, labels: Sequence[str]) -> None:
        """Report ids that the graph has with another label of the same role: ids must be unique within a role."""
        for label in (name for name in labels if name in self.tables.nodes):
            ids = as_keys(self.tables.nodes[label].column(self.schema.nodes[label].key))[0]
            for other in (name for name in labels if name != label and name in (self.there or {})):
                shared = to_mask(pc.is_in(ids, value_set=(self.there or {})[other]))
                for row in np.flatnonzero(shared).tolist():
                    found = f"{ids[row].as_py()!r} as {label}, in the graph a {other}"
                    self._report(label, found, "the same label, or another id", row, self.schema.nodes[label].key)

    def _check_unique_ids(self, labels: list[str]) -> None:
        keys = {label: self.schema.nodes[label].key for label in labels}
        given = {label: as_keys(self.tables.nodes[label].column(key))[0] for label, key in keys.items()}
        for one, other in itertools.combinations(labels, 2):
            key, ids = keys[one], given[one]
            shared = to_mask(pc.is_in(ids, value_set=given[other].drop_null()))
            expected = f"ids that no {other} has, since both labels share a role; prefix them"
            self._report_values(one, shared, key, ids, expected)

    def _report(
        self, key: TableKey, found: str, expected: str, row: int | None = None, field: str | None = None
    ) -> None:
        place = self.tables.locate(key, row or 0)
        name = field and place.columns.get(field, field)
        self.problems.append(Problem(place.where, found, expected, None if row is None else place.row, name))

    def _report_values(
        self,
        key: TableKey,
        wrong: BoolArray,
        field: str,
        values: pa.ChunkedArray,
        expected: str | Callable[[object], str],
    ) -> None:
        for row in np.flatnonzero(wrong).tolist():
            value = as_python(values, row)
            self._report(key, shown(value), expected if isinstance(expected, str) else expected(value), row, field)


def seconds_of(column: pa.ChunkedArray) -> DoubleArray:
    """Return timestamps in epoch seconds, or numbers unchanged, as float64 [n]; NaN if missing."""
    if is_datetime(column):
        micros = column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64(), safe=False)
        return np.asarray(micros.to_numpy(), dtype=np.float64) / 1e6
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _not_finite(vectors: pa.ChunkedArray) -> Iterator[tuple[int, int, float]]:
    """Yield row, position and value of the first non-finite number of each vector that has one."""
    lengths, numbers = list_lengths(vectors), pc.list_flatten(vectors).to_numpy()
    bad = np.flatnonzero(~np.isfinite(numbers))
    rows, first = np.unique(np.repeat(np.arange(len(lengths)), lengths)[bad], return_index=True)
    positions = bad[first] - (np.cumsum(lengths) - lengths)[rows]
    yield from zip(rows.tolist(), positions.tolist(), numbers[bad[first]].tolist(), strict=True)


def _filled(table: pa.Table, gaps: Gaps, order: IntArray, same: BoolArray) -> tuple[pa.Table, Gaps]:
    """Return a table with each gap filled from the first row with the same key and no gap there, and the other gaps.

    Args:
        table: n rows.
        gaps: gaps of the table.
        order: row numbers [n], sorted by key.
        same: whether each row in that order has the same key as the row before it, [n - 1].
    """
    rest = {}
    for name, gap in gaps.items():
        group = np.empty(len(order), dtype=np.int64)
        group[order] = np.concatenate([[0], np.cumsum(~same)])
        first = np.full(len(order), -1)
        given = np.flatnonzero(~gap)[::-1]
        first[group[given]] = given
        rest[name] = gap & (first[group] < 0)
        source = np.where(gap & ~rest[name], first[group], np.arange(len(order)))
        column = table.column(name).take(pa.array(source))
        table = table.set_column(table.column_names.index(name), name, column)
    return table, rest


def _codes(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    codes = pa.chunked_array(pc.dictionary_encode(column.combine_chunks()).indices).fill_null(-1)
    return np.asarray(codes.to_numpy())


def equal_rows(table: pa.Table, one: IntArray, other: IntArray) -> BoolArray:
    """Return for each pair of row numbers [n] whether both rows have equal values; two missing values are equal."""
    equal = np.ones(len(one), dtype=bool)
    for name in table.column_names:
        column = comparable(table.column(name))
        a, b = column.take(pa.array(one)), column.take(pa.array(other))
        same = to_mask(pc.equal(a, b)) | to_mask(pc.and_(pc.is_null(a), pc.is_null(b)))
        if pa.types.is_floating(column.type):
            same |= to_mask(pc.and_(pc.is_nan(a), pc.is_nan(b)))
        equal &= same
    return equal


def _describe(table: pa.Table, row: int, columns: Mapping[str, str]) -> str:
    values = table.slice(row, 1).to_pylist()[0]
    return ", ".join(f"{columns.get(name, name)}={shown(value)}" for name, value in values.items())


def _as_number(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return times as comparable numbers, -1 if missing."""
    column = column.cast(pa.int64()) if is_datetime(column) else column
    return np.asarray(column.fill_null(-1).to_numpy())


def shown(value: object) -> str:
    """Return a value as text for an error message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
