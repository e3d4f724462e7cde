"""Validation of GraphTables.

`check` returns tables with exactly the schema's columns and types, or raises one `DataError` with every problem, its
file, row and field.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.notices import notice
from kgrec._util.types import BoolArray, IntArray
from kgrec.data import times
from kgrec.data.arrow import as_python, plain
from kgrec.data.columns import (
    ARROW_TYPES,
    as_keys,
    as_type,
    column_numbers,
    expected_id,
    expected_value,
    is_datetime,
    list_lengths,
    to_mask,
)
from kgrec.data.schema_parts import Behavior, EdgeType
from kgrec.data.table_rows import (
    described_row,
    equal_rows,
    fill_gaps,
    id_codes,
    not_finite,
    shown,
    time_numbers,
)
from kgrec.data.tables import Ends, Gaps, GraphTables, TableKey, stacked, taken
from kgrec.errors import DataError, Problem, listed

WHOLE_NUMBER = "^(0|-?[1-9][0-9]*)$"
"""Pattern of an integer in canonical form."""

NO_KEYS = pa.chunked_array([], pa.string())


def check(tables: GraphTables, there: Mapping[str, pa.Array] | None = None, latest: float | None = None) -> GraphTables:
    """Return the tables in the schema's columns and types; equal rows with the same key are merged.

    A column or cell that no source gives is null and is marked in `gaps`.

    Args:
        tables: unchecked tables of a loader.
        there: label → keys that the graph already has; None for a new graph, which needs at least one behavior.
        latest: maximum valid time of a behavior in epoch seconds; None allows times in the future.

    Raises:
        DataError: lists every problem, with those of `tables.problems`: unknown label or column, wrong type, missing
            key, duplicate key with different values, relationship to a node that neither the tables nor the graph have,
            one id with two labels of a role, NaN or infinite weight, time out of range or in the future, no behavior,
            vectors of one property that differ in length or are not finite.
    """
    return _Check(tables, there, latest).run()


class _Check:
    def __init__(self, tables: GraphTables, there: Mapping[str, pa.Array] | None, latest: float | None = None) -> None:
        self.tables = tables
        self.there = there
        self.latest = latest
        self.schema = tables.schema
        self.problems: list[Problem] = list(tables.problems)
        self.reported = {(problem.where, problem.row, problem.field) for problem in tables.problems}
        self.incomplete = self._incomplete_labels()
        self.unreadable: dict[tuple[TableKey, str], BoolArray] = {}
        self.vectors: dict[str, dict[str, pa.ChunkedArray]] = {}
        self.gaps: dict[TableKey, Gaps] = {}

    def run(self) -> GraphTables:
        self._check_names()
        if len(self.problems) > len(self.tables.problems):
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

    def _incomplete_labels(self) -> set[str]:
        """Return the labels of which a source could not be read in full: an unknown id may be in the missing rows."""
        broken = {where for where, _, _ in self.reported}
        known = {*self.tables.nodes, *(self.tables.ends.make if self.tables.ends else ())}
        origins = self.tables.origins
        return {
            label
            for label in self.schema.nodes
            if broken and (label not in known or any(origin.where in broken for origin in origins.get(label, ())))
        }

    def _settle_ends(self, ends: Ends) -> None:
        """Apply the rules for unknown ends: leave out the relationships to skip, and create nodes for the others."""
        keys = {label: self._known(label) for label in self.schema.nodes}
        free = {label for label, always in ends.make.items() if always or not len(keys[label])}
        bare = {label for label in ends.make if label not in free and not self.schema.nodes[label].properties}
        made = {label: self._made(label, keys[label], ends.skip) for label in bare}
        for label, ids in made.items():
            keys[label] = pa.chunked_array([*keys[label].chunks, *ids.chunks], pa.string())
        for edge_type, skip in ends.skip.items():
            needed = {label: ids for label, ids in keys.items() if label not in free | self.incomplete}
            self._leave_out(edge_type, skip, needed)
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
            keys: label → ids of its nodes; labels for which unknown ends create nodes, or of which not all ids are
                known, are absent.
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
        return self._collapse(label, pa.table(columns), [id_codes(columns[node.key])], [])

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
        at = [time_numbers(columns[name]) for name in self.schema.edge_key(type_)]
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
            self.unreadable[key, name] = wrong | (name not in there and bool(self.reported))
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
        seconds = column_numbers(columns[behavior.time])
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
                for row, position, value in not_finite(column):
                    if readable[row]:
                        self._report(label, f"{value} at position {position + 1}", "finite numbers", row, name)

    def _node_nums(self, key: EdgeType, ends: pa.ChunkedArray, end: str, keys: pa.ChunkedArray, label: str) -> IntArray:
        nums = pc.index_in(ends, value_set=keys)
        unknown = to_mask(pc.and_(pc.is_null(nums), pc.is_valid(ends))) & (label not in self.incomplete)
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
        table, gaps = fill_gaps(table, gaps, order, same)
        kept, again = order[:-1][same], order[1:][same]
        differs = ~equal_rows(table, kept, again)
        for one, two in sorted(zip(kept[differs].tolist(), again[differs].tolist(), strict=True)):
            first, second = self.tables.locate(key, one), self.tables.locate(key, two)
            described = described_row(table, one, first.columns)
            found = f"{described_row(table, two, second.columns)}, while {first.where}:{first.row} has {described}"
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
        behaviors = sum(table.num_rows for t, table in edges.items() if self.schema.is_behavior(t))
        if self.there is None and not self.reported and not behaviors:
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
        if row is None or (place.where, place.row, name) not in self.reported:
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
