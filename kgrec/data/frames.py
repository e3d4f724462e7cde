"""Conversion of data frames to Arrow tables: pandas, Arrow, and any frame with an Arrow stream, such as polars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from kgrec.data.arrow import FOREIGN, as_python, from_cells, plain
from kgrec.errors import Problem, UsageError, listed, near_matches


def is_frame(data: object) -> bool:
    """Return whether an object is a data frame that `as_table` can read."""
    return isinstance(data, pd.DataFrame | pa.Table) or hasattr(data, "__arrow_c_stream__")


def as_table(frame: object, where: str) -> tuple[pa.Table, list[Problem]]:
    """Return a frame as an Arrow table, and a problem for each column with values of several types.

    Args:
        frame: a pandas, polars or Arrow frame, or anything with `__arrow_c_stream__`.
        where: name of the frame in messages.

    Raises:
        UsageError: `frame` is not a frame, or Arrow cannot read it.
    """
    if isinstance(frame, pd.DataFrame):
        return _from_pandas(frame, where)
    if not is_frame(frame):
        raise UsageError(f"{where} is a {type(frame).__name__}; expected a pandas, polars or Arrow frame")
    try:
        table = pa.table(frame)
    except FOREIGN as error:
        raise UsageError(
            f"{where} is a {type(frame).__name__} that is not a table: {error}. Expected a frame with named columns "
            "(pandas, polars or Arrow)"
        ) from error
    columns = [plain(column) for column in table.columns]
    return pa.table(columns, names=table.column_names), list(_objects(where, table.schema))


def _objects(where: str, schema: pa.Schema) -> Iterator[Problem]:
    """Yield a problem for each polars column of Python objects, which polars exports as memory addresses."""
    for field in schema:
        if field.type == pa.binary(8):
            yield Problem(where, "a column of Python objects", "a column of a type that Arrow has", field=field.name)


def lacking(table: pa.Table, where: str, wanted: Mapping[str, str], hint: str = "") -> list[Problem]:
    """Return a problem for each column that a table lacks.

    Args:
        table: the frame.
        where: name of the frame in messages.
        wanted: argument → name of the required column.
        hint: how to name a differently named column; `{0}` is replaced by the argument.
    """
    there = table.column_names
    return [
        Problem(
            where,
            f"columns {listed(there) or 'none'}",
            f"a column {column!r}{near_matches(column, there)}{hint.format(argument)}",
            field=column,
        )
        for argument, column in wanted.items()
        if column not in there
    ]


def _from_pandas(frame: pd.DataFrame, where: str) -> tuple[pa.Table, list[Problem]]:
    columns: dict[str, pa.Array] = {}
    problems: list[Problem] = []
    for position, name in enumerate(map(str, frame.columns)):
        if name in columns:
            problems.append(Problem(where, f"two columns {name!r}", "columns of different names", field=name))
            continue
        cells = frame.iloc[:, position]
        columns[name], others = from_cells(cells, mixed=False)
        problems += [_mixed(where, name, cells, row) for row in others[:1]]
    return pa.table(columns), problems


def _mixed(where: str, name: str, cells: pd.Series[Any], row: int) -> Problem:
    first = cells.dropna().iloc[0]
    found = f"{cells.iloc[row]!r} beside {first!r}"
    return Problem(where, found, "values of one type; convert the column", row + 1, name)


def shown_cell(column: pa.ChunkedArray, row: int) -> str:
    """Return a cell as text for an error message."""
    return repr(as_python(column, row))
