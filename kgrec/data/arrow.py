"""Conversion of Arrow columns of any type to a few plain types.

The errors of Arrow, pandas and NumPy are handled here only. Values that cannot be converted are returned as a mask of
rows, so that the caller can name the file, the row and the column.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray

FOREIGN: Final = (pa.ArrowException, OverflowError, TypeError, ValueError)
"""Exceptions of Arrow, pandas and NumPy for a value that they cannot convert; `UnicodeError` is a `ValueError`."""

_MAX_TRIES: Final = 2000
"""Number of refused slices after which the rest of a column is marked as wrong without further search."""

_STORED_AS: Final = {"arrow.json": pa.string(), "arrow.bool8": pa.bool_()}
_TIMES: Final = (date, time, pd.Timestamp)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with dictionaries, views, UTF-8 bytes and UUIDs converted to ordinary text and numbers.

    A column that cannot be converted is returned unchanged, for example bytes that are not valid UTF-8.
    """
    type_ = column.type
    try:
        if pa.types.is_dictionary(type_):
            return plain(_decoded(column))
        if pa.types.is_run_end_encoded(type_):
            return plain(pc.run_end_decode(column))
        if isinstance(type_, pa.UuidType):
            return _uuid_text(column)
        if isinstance(type_, pa.BaseExtensionType):
            wanted = _STORED_AS.get(type_.extension_name)
            return column if wanted is None else plain(column.cast(wanted))
        if pa.types.is_string(type_):
            column.validate(full=True)
            return column
        if is_bytes(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
            return column.cast(pa.binary()).cast(pa.string())
    except FOREIGN:
        if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
            return column.cast(pa.large_binary())
    return column


def is_bytes(type_: pa.DataType) -> bool:
    """Return whether a type is a binary type, whose values may or may not be text."""
    return bool(
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_fixed_size_binary(type_)
        or pa.types.is_binary_view(type_)
    )


def is_text(text: str) -> bool:
    """Return whether a string can be encoded as UTF-8; Python strings may hold lone surrogates, which cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def cast(column: pa.ChunkedArray, target: pa.DataType) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return a column [n] cast without loss, and a mask [n] of the values that Arrow refuses, which become null."""
    parts: list[pa.Array] = []
    wrong = np.zeros(len(column), dtype=bool)
    stretches, tries = [(0, len(column))], 0
    while stretches:
        start, end = stretches.pop()
        part = column.slice(start, end - start)
        try:
            parts += part.cast(target).chunks
        except pa.ArrowException as error:
            tries += 1
            if end - start > 1 and tries < _MAX_TRIES and not isinstance(error, pa.ArrowNotImplementedError):
                middle = (start + end) // 2
                stretches += [(middle, end), (start, middle)]
            else:
                wrong[start:end] = np.asarray(part.is_valid())
                parts.append(pa.nulls(end - start, target))
    return pa.chunked_array(parts, target), wrong


def as_python(column: pa.ChunkedArray, row: int) -> object:
    """Return a value for an error message: as a Python object, or as Arrow's text if Python cannot represent it."""
    try:
        return column[row].as_py()
    except FOREIGN:
        pass
    try:
        return column[row].cast(pa.binary()).as_py()
    except FOREIGN:
        pass
    text, _ = cast(column.slice(row, 1), pa.string())
    return text[0].as_py() or f"a value of type {column.type}"


def from_cells(cells: Sequence[Any] | pd.Series[Any], mixed: bool) -> tuple[pa.Array, list[int]]:
    """Return Python values [n] as a column, and the rows whose type does not fit the others, which are null in it.

    Args:
        cells: values of a data frame's column, where NaN is missing, or values read from JSON.
        mixed: whether values of several types are converted to text (checked against the schema later) or refused.
    """
    try:
        column = pa.array(cells, from_pandas=isinstance(cells, pd.Series))
        if _is_whole(column.type, cells):
            return column, []
    except FOREIGN:
        pass
    known = [_cell(value) for value in cells]
    kinds = [_kind(value) for value in known]
    first = next(filter(None, kinds), None)
    others = [row for row, kind in enumerate(kinds) if kind not in (None, first)]
    if others and not mixed:
        for row in others:
            known[row] = None
        return from_cells(known, mixed)[0], others
    try:
        column = pa.array(known)
        if _is_whole(column.type, known):
            return column, []
    except FOREIGN:
        pass
    return _written(known, _text_list if first == "list" and not others else _text)


def _written(cells: list[Any], write: Callable[[Any], Any]) -> tuple[pa.Array, list[int]]:
    """Return cells [n] as text, or as lists of text, and the rows of those that cannot be written."""
    texts, wrong = [], []
    for row, cell in enumerate(cells):
        try:
            texts.append(None if cell is None else write(cell))
        except FOREIGN:
            wrong.append(row)
            texts.append(None)
    return pa.array(texts, pa.list_(pa.string()) if write is _text_list else pa.string()), wrong


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type.value_type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):  # Arrow has no `take` for views
        kind = pa.binary()
    return pa.chunked_array([chunk.dictionary.cast(kind).take(chunk.indices) for chunk in column.chunks], kind)


def _uuid_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    ids = column.cast(pa.binary(16)).to_pylist()
    return pa.chunked_array([pa.array([None if i is None else str(uuid.UUID(bytes=i)) for i in ids], pa.string())])


def _is_whole(type_: pa.DataType, cells: Iterable[Any]) -> bool:
    """Return whether a column lost nothing of its cells: Arrow truncates datetimes to dates if dates are among them."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if isinstance(type_, pa.BaseExtensionType):
        return isinstance(type_, pa.UuidType)
    return not pa.types.is_date(type_) or not any(isinstance(value, datetime) for value in cells)


def _cell(value: Any) -> Any:
    """Return a cell as a built-in Python type; None if it is missing."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_cell(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, uuid.UUID | pd.Period | pd.Interval):
        return str(value)
    if (isinstance(value, float) and value != value) or (isinstance(value, Decimal) and value.is_nan()):
        return None
    return None if value is pd.NaT or value is pd.NA else value


def _kind(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return "number"
    if isinstance(value, str | bytes):
        return "text"
    return "time" if isinstance(value, _TIMES) else type(value).__name__


def _text_list(value: list[Any]) -> list[str | None]:
    if any(isinstance(part, list | dict) for part in value):
        raise TypeError("a list of lists")
    return [None if part is None else _text(part) for part in value]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, _TIMES):
        return value.isoformat()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text.encode()
    return text


def decimal_text(value: Decimal) -> str:
    """Return a decimal with all its digits, without trailing zeros after the decimal point."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
