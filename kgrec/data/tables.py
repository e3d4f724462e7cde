"""GraphTables: a graph as Arrow tables.

A loader fills GraphTables with the content of its source. Values that a source does not give are marked as gaps. A gap
is not a missing value: writing a gap leaves the existing value in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from kgrec._util import html
from kgrec._util.types import BoolArray, IntArray
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.errors import Problem, UsageError

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
        problems: problems found while reading. The tables lack the rows and cells concerned; `check` reports these
            problems with those of the other rows.

    Raises:
        UsageError: a gap mask has another length than its table, for example after filtering only the table.
    """

    schema: Schema
    nodes: Mapping[str, pa.Table]
    edges: Mapping[EdgeType, pa.Table]
    origins: Mapping[TableKey, tuple[Origin, ...]] = field(default_factory=dict, compare=False)
    ends: Ends | None = field(default=None, compare=False)
    gaps: Mapping[TableKey, Gaps] = field(default_factory=dict, compare=False)
    problems: Sequence[Problem] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        for key, columns in self.gaps.items():
            table = self.nodes.get(key) if isinstance(key, str) else self.edges.get(key)
            for name, gap in columns.items():
                if table is not None and len(gap) != table.num_rows:
                    found = (
                        f"a gap mask of {len(gap)} rows for {table_name(key)}.{name}, a table of {table.num_rows} rows"
                    )
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
        return locate(self.origins.get(key, ()), index) or Place(table_name(key), index + 1, {})


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


def table_name(key: TableKey) -> str:
    """Return the label, or the joined edge type, for messages."""
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
    combined = pa.concat_tables(tables, promote_options="permissive")
    return combined, {name: gap for name, gap in lacks.items() if gap.any()}
