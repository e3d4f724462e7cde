"""Query values as JSON for another process and as Arrow columns; integers are never converted to floats.

An Arrow column has one type. Columns of mixed types and integers beyond 64 bits are packed: each value is a JSON text,
and the metadata of the field marks the column as packed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    import pyarrow as pa

PACKED: Final = {b"kgrec": b"packed"}
"""Metadata of a packed field."""

EXACT: Final = 2**53
"""Largest integer up to which float64 represents every integer."""


def pack(value: Any) -> Any:
    """Return a value as JSON data; a type that JSON lacks becomes an object with the name of the type.

    Raises:
        TypeError: the value has a type that queries neither accept nor return.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and type(value) in (int, float):
        return value
    if isinstance(value, list | tuple | set):
        return [pack(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return pack(value.tolist())
    if hasattr(value, "to_pydatetime"):  # pandas timestamps
        value = value.to_pydatetime(warn=False)
    for name, (kind, write, _) in _KINDS.items():
        if isinstance(value, kind):
            return {name: write(value)}
    raise TypeError(
        f"the value is of type {type(value).__name__}. Expected text, a number, a bool, a time, bytes, a list or a dict"
    )


def unpack(value: Any) -> Any:
    """Return the original value of a result of `pack`."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    [(name, inner)] = value.items()
    if name == "dict":
        return {unpack(key): unpack(item) for key, item in inner}
    return _KINDS[name][2](inner)


def column(values: Sequence[Any]) -> tuple[pa.Array, bool]:
    """Return values as an Arrow array, and True if the array is packed."""
    import pyarrow as pa

    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float} and all(abs(v) <= EXACT for v in values if type(v) is int):
        return pa.array([None if v is None else float(v) for v in values], pa.float64()), False
    if len(kinds) < 2 and kinds <= {bool, str, int, float, datetime, date, bytes} and _zones(values) < 2:
        with suppress(pa.ArrowException, OverflowError, ValueError):  # beyond 64 bits, or lone surrogates
            return pa.array(values), False
    return packed(values), True


def packed(values: Sequence[Any]) -> pa.Array:
    """Return values as an Arrow array of packed texts."""
    import pyarrow as pa

    return pa.array([None if value is None else json.dumps(pack(value)) for value in values], pa.string())


def table(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> pa.Table:
    """Return columns of Python values as an Arrow table; names may repeat."""
    import pyarrow as pa

    packed_columns = [column(values) for values in columns]
    fields = [
        pa.field(name, array.type, metadata=PACKED if is_packed else None)
        for name, (array, is_packed) in zip(names, packed_columns, strict=True)
    ]
    return pa.Table.from_arrays([array for array, _ in packed_columns], schema=pa.schema(fields))


def is_packed(field: pa.Field) -> bool:
    """Return True if a field is packed."""
    return bool((field.metadata or {}).get(b"kgrec") == b"packed")


def unpacked(array: pa.ChunkedArray) -> list[Any]:
    """Return the values of a packed column."""
    return [None if text is None else unpack(json.loads(text)) for text in array.to_pylist()]


def _zones(values: Sequence[Any]) -> int:
    """Return the number of different time zones of the times; times without one form a group."""
    return len({value.utcoffset() for value in values if isinstance(value, datetime)})


_KINDS: Final[dict[str, tuple[type, Any, Any]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "bytes": (
        (bytes, bytearray, memoryview),  # type: ignore[dict-item]
        lambda value: base64.b64encode(value).decode(),
        base64.b64decode,
    ),
    "decimal": (Decimal, str, Decimal),
    "uuid": (UUID, str, UUID),
    "microseconds": (
        timedelta,
        lambda value: value // timedelta(microseconds=1),
        lambda number: timedelta(microseconds=number),
    ),
}
"""Name → (type, function that writes a value, function that reads it)."""
