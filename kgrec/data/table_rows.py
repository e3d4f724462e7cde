"""Rows of graph tables: times, comparison, gaps to fill, and text for error messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray, IntArray
from kgrec.data import times
from kgrec.data.arrow import as_python
from kgrec.data.columns import comparable, is_datetime, list_lengths, to_mask
from kgrec.data.tables import Gaps, TableKey, table_name
from kgrec.errors import DataError, Problem

MAX_SHOWN_CHARACTERS = 200
"""Maximum number of characters of a wrong value in an error message."""


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
                problems.append(Problem(table_name(key), found, expected, field=name))
    if problems:
        raise DataError(problems)


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


def described_row(table: pa.Table, row: int, columns: Mapping[str, str]) -> str:
    """Return a row as text for an error message, with the source's column names."""
    values = table.slice(row, 1).to_pylist()[0]
    return ", ".join(f"{columns.get(name, name)}={shown(value)}" for name, value in values.items())


def fill_gaps(table: pa.Table, gaps: Gaps, order: IntArray, same: BoolArray) -> tuple[pa.Table, Gaps]:
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


def not_finite(vectors: pa.ChunkedArray) -> Iterator[tuple[int, int, float]]:
    """Yield row, position and value of the first non-finite number of each vector that has one."""
    lengths, numbers = list_lengths(vectors), pc.list_flatten(vectors).to_numpy()
    bad = np.flatnonzero(~np.isfinite(numbers))
    rows, first = np.unique(np.repeat(np.arange(len(lengths)), lengths)[bad], return_index=True)
    positions = bad[first] - (np.cumsum(lengths) - lengths)[rows]
    yield from zip(rows.tolist(), positions.tolist(), numbers[bad[first]].tolist(), strict=True)


def id_codes(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return ids as integer codes, int64 [n]; -1 if missing."""
    codes = pa.chunked_array(pc.dictionary_encode(column.combine_chunks()).indices).fill_null(-1)
    return np.asarray(codes.to_numpy())


def time_numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return times as comparable numbers, -1 if missing."""
    column = column.cast(pa.int64()) if is_datetime(column) else column
    return np.asarray(column.fill_null(-1).to_numpy())


def shown(value: object) -> str:
    """Return a value as text for an error message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
