"""Query results as data frames and Arrow tables; integers stay integers even if values are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.types as kinds

from kgrec._util.values import is_packed, table, unpacked
from kgrec.data.arrow import from_cells

_NULLABLE: Final = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
"""Arrow integer type → nullable pandas type."""


def to_frame(answer: pa.Table) -> pd.DataFrame:
    """Return a table as a data frame.

    Integers are `int64`, `Int64` if a value is missing, or Python integers beyond 64 bits. Lists, nodes and
    relationships are Python lists and dicts.
    """
    columns = [_series(answer.column(i), answer.schema.field(i)) for i in range(answer.num_columns)]
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(answer.num_rows))
    frame.columns = pd.Index(answer.column_names, dtype=object if not columns else None)
    return frame


def from_rows(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> pa.Table:
    """Return rows of Python values as a table; columns of mixed types are packed, see `kgrec._util.values`."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return table(names, columns)


def of_one_type(answer: pa.Table) -> tuple[pa.Table, list[str]]:
    """Return the columns whose values have one type, converted for loaders, and the names of the other columns.

    Integers beyond 64 bits become texts of digits, so that no digit is lost.
    """
    columns, mixed = {}, []
    for i, field in enumerate(answer.schema):
        column = answer.column(i)
        if is_packed(field):
            values = unpacked(column)
            array, odd_rows = from_cells(values, mixed=False)
            if odd_rows:
                mixed.append(field.name)
                continue
            column = pa.chunked_array([array])
        if isinstance(column.type, pa.ExtensionType):  # a UUID
            column = pa.chunked_array(
                [pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())]
            )
        if kinds.is_fixed_size_list(column.type):
            column = column.cast(pa.list_(column.type.value_type))
        columns[field.name] = column
    return pa.table(columns), mixed


def _series(column: pa.ChunkedArray, field: pa.Field) -> pd.Series:
    if is_packed(field):
        return pd.Series(unpacked(column), dtype=object)
    if kinds.is_nested(column.type) or isinstance(column.type, pa.ExtensionType):
        return pd.Series(column.to_pylist(), dtype=object)
    if kinds.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    missing = column.null_count > 0
    series: pd.Series = column.to_pandas(types_mapper=_NULLABLE.get if missing else None)
    return series
