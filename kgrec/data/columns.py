"""Conversion of Arrow columns to the property types of a schema."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.data import times
from kgrec.data.arrow import cast, is_bytes, plain

_Convert = Callable[[pa.ChunkedArray], tuple[pa.ChunkedArray, BoolArray]]

ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "datetime": times.TIME,
    "strings": pa.list_(pa.string()),
    "vector": pa.list_(pa.float32()),
}
Group = Literal["graph", "cf", "content"]
SHARE_COLUMNS: Final[tuple[Group, ...]] = ("graph", "cf", "content")
"""Signal groups, which are also the columns of a recommendation with each group's share of the score."""

_LOST_DIGITS: Final = "; a float so large has lost digits: read the column as whole numbers (Int64) or as text"
_BOOLS: Final[dict[str, bool]] = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def to_mask(column: pa.ChunkedArray | pa.Array) -> BoolArray:
    """Return an Arrow boolean column as a NumPy one, null as False."""
    return np.asarray(pc.fill_null(column, False), dtype=bool)


def is_datetime(column: pa.ChunkedArray) -> bool:
    """Return whether a column holds timestamps."""
    return bool(pa.types.is_timestamp(column.type))


def as_keys(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return a column [n] of ids as text, and a mask [n] of the invalid values.

    A float with an integer value is written as an integer: pandas turns 1 into `1.0` if a value of the column is
    missing, and `1.0` becomes `1`. Other floats, and floats too large to be exact, are invalid.
    """
    column = plain(column)
    return _float_text(column, integers_only=True) if pa.types.is_floating(column.type) else _as_text(column)


def expected_id(value: object) -> str:
    """Return the "expected …" part of the error message for an invalid id."""
    if isinstance(value, float):
        return f"an integer id{_LOST_DIGITS}" if value.is_integer() else "an integer id, or text"
    return "an id: text or a whole number"


def trim(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text without surrounding whitespace; text of whitespace only becomes null."""
    text = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(text, ""), None, text)


def as_ids(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return ids [n] as trimmed text, null where missing, and a mask [n] of the invalid values."""
    keys, wrong = as_keys(column)
    return trim(keys), wrong


def trim_parts(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists of text with every part trimmed and blank parts removed; a null part stays null."""
    text_lists = lists.cast(ARROW_TYPES["strings"]).combine_chunks()
    parts = pc.utf8_trim_whitespace(pc.list_flatten(text_lists))
    kept = np.asarray(pc.fill_null(pc.not_equal(parts, ""), True))
    rows = np.repeat(np.arange(len(text_lists)), list_lengths(pa.chunked_array([text_lists])))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=len(text_lists)))])
    trimmed = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), parts.filter(pa.array(kept)), mask=pc.is_null(text_lists)
    )
    return pa.chunked_array([trimmed])


def split(text: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """Return the trimmed parts of each text; a text without parts becomes an empty list, null stays null."""
    blank = separator == " "
    return trim_parts(pc.utf8_split_whitespace(text) if blank else pc.split_pattern(text, separator))


def as_type(column: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    """Convert a column to a property type without loss of digits.

    Args:
        column: any Arrow column of n rows; text is parsed, and an empty string is a missing value except for strings.
        kind: a property type of the schema language.

    Returns:
        The column in the Arrow type of the property type, and a mask [n] of the values that could not be converted.
    """
    column = plain(column)
    if pa.types.is_null(column.type):
        return column.cast(ARROW_TYPES[kind]), _none(column)
    if kind == "string":
        return _float_text(column, integers_only=False) if pa.types.is_floating(column.type) else _as_text(column)
    if kind in _LISTS:
        return _LISTS[kind](column)
    if pa.types.is_decimal(column.type):
        column = _decimal_text(column)
    return _parsed(column, kind) if pa.types.is_string(column.type) else _CONVERT[kind](column)


def expected_value(kind: str, value: object) -> str:
    """Return the "expected …" part of the error message for a value that is not of a property type."""
    if kind == "datetime":
        return f"a value of type datetime: {times.wanted(value)}"
    if kind == "int":
        lost = isinstance(value, float) and value.is_integer()
        return f"a value of type int (64 bits){_LOST_DIGITS if lost else ''}"
    if kind == "string" and isinstance(value, float):
        return f"a value of type string{_LOST_DIGITS}"
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return "a value of type float, which is exact for whole numbers up to 2**53; or declare the property an int"
    if kind == "strings":
        return "a value of type strings: a list of texts, none missing, none a list or an object"
    return f"a value of type {kind}"


def _none(column: pa.ChunkedArray) -> BoolArray:
    return np.zeros(len(column), dtype=bool)


def _failed(column: pa.ChunkedArray, target: pa.DataType) -> tuple[pa.ChunkedArray, BoolArray]:
    return pa.chunked_array([pa.nulls(len(column), target)]), to_mask(column.is_valid())


def _as_text(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    type_ = column.type
    if pa.types.is_string(type_):
        return column, _none(column)
    if is_bytes(type_) or pa.types.is_integer(type_) or pa.types.is_boolean(type_) or pa.types.is_null(type_):
        return cast(column, pa.string())
    if pa.types.is_decimal(type_):
        return _decimal_text(column), _none(column)
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_) or pa.types.is_time(type_):
        text, wrong = cast(column, pa.string())
        return text, wrong | to_mask(pc.starts_with(text, "<value out of range"))
    return _failed(column, pa.string())


def _float_text(column: pa.ChunkedArray, integers_only: bool) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return floats as text, integers without a decimal point, and a mask of the floats that are not exact integers."""
    numbers, exact = _exact_whole(column)
    integers = pa.array(np.where(exact, numbers, 0).astype(np.int64)).cast(pa.string())
    column = pc.if_else(pa.array(np.isnan(numbers)), None, column)
    text = pc.if_else(pa.array(exact), integers, column.cast(pa.string()))
    lost = ~exact & np.isfinite(numbers) & (np.floor(numbers) == numbers)
    return text, to_mask(text.is_valid()) & (~exact if integers_only else lost)


def _exact_whole(column: pa.ChunkedArray) -> tuple[DoubleArray, BoolArray]:
    """Return floats as float64 [n], null as NaN, and a mask [n] of those that represent exactly one integer."""
    digits = {16: 11, 32: 24, 64: 53}[column.type.bit_width]
    numbers = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    return numbers, (np.abs(numbers) < 2.0**digits) & (np.floor(numbers) == numbers)


def _decimal_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type.scale < 0:
        column = column.cast(pa.decimal256(76, 0))
    return pc.replace_substring_regex(column.cast(pa.string()), r"(\.[0-9]*[1-9])0+$|\.0+$", r"\1")


def _as_lists(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    if not isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return _failed(column, ARROW_TYPES["strings"])
    parts, wrong = as_type(pc.list_flatten(column), "string")
    lists = _rebuilt(column, parts)
    rows = _rows_of(column, wrong)
    return lists, rows | _lacks_part(lists)


def _rebuilt(column: pa.ChunkedArray, parts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a list column with its parts replaced and its list boundaries kept."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(list_lengths(column))]), pa.int32())
    mask = pc.is_null(column).combine_chunks()
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, parts.combine_chunks(), mask=mask)])


def _rows_of(column: pa.ChunkedArray, wrong: BoolArray) -> BoolArray:
    """Return a mask [n] of the lists with a part that `wrong` marks."""
    rows = np.repeat(np.arange(len(column)), list_lengths(column))
    return np.bincount(rows[wrong], minlength=len(column)) > 0


def _lacks_part(lists: pa.ChunkedArray) -> BoolArray:
    # `binary_join` returns null for a list that contains null.
    return to_mask(pc.and_(pc.is_valid(lists), pc.is_null(pc.binary_join(lists, ""))))


def _as_vectors(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Convert lists of numbers, or of numbers as text, to vectors; a missing part becomes NaN."""
    if not isinstance(column.type, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return _failed(column, ARROW_TYPES["vector"])
    parts = plain(pc.list_flatten(column))
    if pa.types.is_string(parts.type) or pa.types.is_decimal(parts.type):
        parts, wrong = as_type(parts, "float")
    elif pa.types.is_integer(parts.type) or pa.types.is_floating(parts.type) or pa.types.is_null(parts.type):
        wrong = _none(parts)
    else:
        return _failed(column, ARROW_TYPES["vector"])
    with np.errstate(over="ignore"):
        numbers = parts.cast(pa.float64(), safe=False).to_numpy().astype(np.float32)
    return _rebuilt(column, pa.chunked_array([pa.array(numbers)])), _rows_of(column, wrong)


def list_lengths(column: pa.ChunkedArray) -> IntArray:
    """Return the number of parts of each list of a column [n], 0 for a missing list."""
    return np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64)


def comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column that Arrow can compare: string lists as joined text, vectors as bytes."""
    if column.type.equals(ARROW_TYPES["vector"]):
        numbers = np.ascontiguousarray(pc.list_flatten(column).to_numpy(), dtype=np.float32)
        offsets = np.concatenate([[0], np.cumsum(list_lengths(column))]) * numbers.itemsize
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(numbers)]
        rows = pa.Array.from_buffers(pa.large_binary(), len(column), buffers)
        return pa.chunked_array([pc.if_else(column.is_valid().combine_chunks(), rows, None)])
    return pc.binary_join(column, "\x1f") if pa.types.is_list(column.type) else column


def _parsed(column: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    text = trim(column)
    if kind == "datetime":
        return times.from_text(text)
    if kind == "int":
        return _parsed_int(text)
    if kind == "bool":
        values = pc.index_in(pc.utf8_lower(text), value_set=pa.array(list(_BOOLS)))
        bools = pa.array(list(_BOOLS.values())).take(values.combine_chunks())
        return pa.chunked_array([bools]), to_mask(pc.and_(text.is_valid(), values.is_null()))
    numbers = _parsed_float(text)
    given = to_mask(text.is_valid())
    lower = pc.utf8_lower(text)
    nan = to_mask(pc.is_in(lower, value_set=pa.array(["nan", "+nan", "-nan"])))
    beyond = np.isinf(numbers)
    if beyond.any():  # a number too large for a float, not the word "inf"
        beyond &= ~to_mask(pc.match_substring(lower, "inf"))
    wrong = given & ((np.isnan(numbers) & ~nan) | beyond)
    return pa.chunked_array([pa.array(numbers, mask=~given, from_pandas=False)]), wrong


def _parsed_float(text: pa.ChunkedArray) -> DoubleArray:
    """Return text as numbers, NaN where it is not a number."""
    try:
        numbers = text.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(text.to_pandas(), errors="coerce").astype("float64").to_numpy()
    return np.asarray(numbers, dtype=np.float64)


def _parsed_int(text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return text as integers without loss; other notations, such as 1e3, are parsed as a float first."""
    is_plain = to_mask(pc.match_substring_regex(text, r"^-?[0-9]+$"))
    given = to_mask(text.is_valid())
    if (is_plain == given).all():
        return cast(text, pa.int64())
    tidy = pc.replace_substring_regex(text, r"^\+([0-9])|\.0*$", r"\1")
    is_whole = pc.match_substring_regex(tidy, r"^-?[0-9]+$")
    integers, too_long = cast(pc.if_else(is_whole, tidy, None), pa.int64())
    others = _parsed_float(pc.if_else(is_whole, None, text))
    parsed, wrong = _as_int(pa.chunked_array([pa.array(others, from_pandas=True)]))
    unread = given & ~to_mask(is_whole) & np.isnan(others)
    return pc.coalesce(integers, parsed), too_long | wrong | unread


def _as_int(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    if pa.types.is_floating(column.type):
        numbers, exact = _exact_whole(column)
        integers = np.where(exact, numbers, 0).astype(np.int64)
        return pa.chunked_array([pa.array(integers, mask=~exact)]), ~exact & ~np.isnan(numbers)
    return _cast_numbers(column, pa.int64())


def _cast_numbers(column: pa.ChunkedArray, target: pa.DataType) -> tuple[pa.ChunkedArray, BoolArray]:
    type_ = column.type
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_)
    return cast(column, target) if is_number else _failed(column, target)


def _as_bool(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = np.asarray(pc.fill_null(column, 0).to_numpy())
        missing = to_mask(column.is_null()) | np.isnan(numbers)
        return pa.chunked_array([pa.array(numbers == 1, mask=missing)]), ~missing & ~np.isin(numbers, (0, 1))
    return _cast_numbers(column, pa.bool_())


def _as_datetime(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return times.from_numbers(column)
    if pa.types.is_date(column.type):
        days, wrong = cast(column, times.TIME)
        moments, beyond = times.from_times(days)
        return moments, wrong | beyond
    return times.from_times(column) if pa.types.is_timestamp(column.type) else _failed(column, times.TIME)


_CONVERT: Final[dict[str, _Convert]] = {
    "int": _as_int,
    "float": partial(_cast_numbers, target=pa.float64()),
    "bool": _as_bool,
    "datetime": _as_datetime,
}
_LISTS: Final[dict[str, _Convert]] = {"strings": _as_lists, "vector": _as_vectors}


def column_numbers(column: pa.ChunkedArray) -> DoubleArray:
    """Return numbers as float64 [n], timestamps of any unit as epoch seconds, null as NaN."""
    if is_datetime(column):
        micros = column.cast(times.TIME).cast(pa.int64()).cast(pa.float64(), safe=False)
        return np.asarray(micros.to_numpy(), dtype=np.float64) / 1e6
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one contiguous array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def objects(column: pa.Array) -> npt.NDArray[np.object_]:
    """Return a column as Python objects, object [n]."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)
