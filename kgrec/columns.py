"""Arrow columns in a schema's property types."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

BoolArray = npt.NDArray[np.bool_]

ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "datetime": pa.timestamp("us"),
    "strings": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32()),
}
_BOOLS: Final[dict[str, bool]] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def to_mask(column: pa.ChunkedArray | pa.Array) -> BoolArray:
    """Return an Arrow boolean column as a NumPy one, null as False."""
    return np.asarray(pc.fill_null(column, False), dtype=bool)


def is_datetime(column: pa.ChunkedArray) -> bool:
    """Say whether a column holds points in time."""
    return bool(pa.types.is_timestamp(column.type))


def as_keys(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of ids as strings; a whole number stays whole (`1.0`, as pandas makes of it, becomes `1`)."""
    if pa.types.is_floating(column.type):
        values = column.to_numpy()
        if np.all(~np.isfinite(values) | (values == np.floor(values))):
            column = pa.chunked_array([pa.array(values, from_pandas=True).cast(pa.int64())])
    return column.cast(pa.string())


def as_type(column: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    """Convert a column to a property type.

    Args:
        column: any Arrow column of n rows; text is parsed, an empty string is a missing value except for strings.
        kind: a property type of the schema language.

    Returns:
        The column in the type's Arrow type, and a mask [n] of the values that could not be converted.
    """
    target = ARROW_TYPES[kind]
    if kind not in ("strings", "vector") and column.type.equals(target):
        return column, np.zeros(len(column), dtype=bool)
    if kind == "string":
        return _failed(column, target) if pa.types.is_nested(column.type) else (as_keys(column), _none(column))
    if kind == "strings":
        return _as_lists(column)
    if kind == "vector":
        return _as_vectors(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _parsed(column.cast(pa.string()), kind)
    return _cast(column, kind)


def _none(column: pa.ChunkedArray) -> BoolArray:
    return np.zeros(len(column), dtype=bool)


def _failed(column: pa.ChunkedArray, target: pa.DataType) -> tuple[pa.ChunkedArray, BoolArray]:
    return pa.chunked_array([pa.nulls(len(column), target)]), to_mask(pc.is_valid(column))


def _as_lists(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        lists = column.cast(ARROW_TYPES["strings"])
        return lists, _lacks_part(lists)
    if pa.types.is_null(column.type):
        return column.cast(ARROW_TYPES["strings"]), _none(column)
    return _failed(column, ARROW_TYPES["strings"])


def _lacks_part(lists: pa.ChunkedArray) -> BoolArray:
    # Joining gives null for a list with a null in it.
    return to_mask(pc.and_(pc.is_valid(lists), pc.is_null(pc.binary_join(lists, ""))))


def _as_vectors(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Convert lists of numbers, or of their text; a part that is missing becomes NaN."""
    if pa.types.is_null(column.type):
        return column.cast(ARROW_TYPES["vector"]), _none(column)
    if not isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return _failed(column, ARROW_TYPES["vector"])
    parts, kind = pc.list_flatten(column), column.type.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        parts, wrong = _parsed(parts.cast(pa.string()), "float")
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        wrong = _none(parts)
    else:
        return _failed(column, ARROW_TYPES["vector"])
    lengths = list_lengths(column)
    with np.errstate(over="ignore"):
        numbers = parts.cast(pa.float64()).to_numpy().astype(np.float32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, pa.array(numbers), mask=column.is_null().combine_chunks())
    rows = np.repeat(np.arange(len(column)), lengths)
    return pa.chunked_array([lists]), np.bincount(rows[wrong], minlength=len(column)) > 0


def list_lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return the number of parts of each list of a column [n], 0 for a missing list."""
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64)


def comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column that Arrow can compare: of lists of strings, the strings joined; of vectors, their bytes."""
    if column.type.equals(ARROW_TYPES["vector"]):
        numbers = np.ascontiguousarray(pc.list_flatten(column).to_numpy(), dtype=np.float32)
        offsets = np.concatenate([[0], np.cumsum(list_lengths(column))]) * numbers.itemsize
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(numbers)]
        rows = pa.Array.from_buffers(pa.large_binary(), len(column), buffers)
        return pa.chunked_array([pc.if_else(column.is_valid().combine_chunks(), rows, None)])
    return pc.binary_join(column, "\x1f") if pa.types.is_list(column.type) else column


def _parsed(column: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    text = pc.utf8_trim_whitespace(column)
    given = to_mask(pc.and_(pc.is_valid(text), pc.not_equal(text, "")))
    series = text.to_pandas()
    if kind == "bool":
        values = series.str.lower().map(_BOOLS)
        return _from_pandas(values, "bool"), given & values.isna().to_numpy()
    if kind == "datetime":
        values = pd.to_datetime(series, errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
        return _from_pandas(values, kind), given & values.isna().to_numpy()
    numbers = pd.to_numeric(series, errors="coerce").astype("float64").to_numpy()
    spelt_nan = series.str.lower().isin(["nan", "+nan", "-nan"]).to_numpy()
    return _numbers(numbers, kind, given, given & spelt_nan)


def _numbers(
    numbers: npt.NDArray[np.float64], kind: str, given: BoolArray, nan: BoolArray
) -> tuple[pa.ChunkedArray, BoolArray]:
    """Turn parsed numbers into a column; `given` marks values that were there, `nan` those that say NaN."""
    if kind == "float":
        return pa.chunked_array([pa.array(numbers, mask=~given, from_pandas=False)]), given & np.isnan(numbers) & ~nan
    wrong = given & ~((np.abs(numbers) < 2**53) & (np.nan_to_num(numbers, posinf=0, neginf=0) % 1 == 0))
    missing = wrong | ~given
    whole = np.where(missing, 0, numbers).astype(np.int64)
    return pa.chunked_array([pa.array(whole, mask=missing)]), wrong


def _cast(column: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if kind == "datetime" and is_number:
        seconds = column.cast(pa.float64()).to_numpy()
        values = pd.Series(pd.to_datetime(seconds, unit="s", errors="coerce"))
        return _from_pandas(values, kind), ~np.isnan(seconds) & values.isna().to_numpy()
    if kind == "int" and pa.types.is_floating(column.type):
        numbers = column.cast(pa.float64()).to_numpy()
        return _numbers(numbers, kind, ~np.isnan(numbers), np.isnan(numbers))
    if kind == "datetime" and pa.types.is_timestamp(column.type):
        return column.cast(ARROW_TYPES[kind], safe=False), _none(column)
    try:
        return column.cast(ARROW_TYPES[kind]), _none(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _failed(column, ARROW_TYPES[kind])


def _from_pandas(values: pd.Series, kind: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.Array.from_pandas(values, type=ARROW_TYPES[kind])])
