"""Parsing of timestamps from numbers and text, and the valid range."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray

TIME: Final = pa.timestamp("us")

LATEST: Final = 7_258_118_400
"""2200-01-01 in epoch seconds; a larger number, or a later behavior, is a wrong unit or wrong data."""

_FIRST: Final = -62_135_596_800
"""Start of the year 1 in epoch seconds, the minimum of Python's datetime."""

_LAST: Final = 253_402_300_800
"""Start of the year 10000 in epoch seconds, just above the maximum of Python's datetime."""

_MICRO: Final = 1_000_000
_UNITS: Final = (("seconds", 1), ("milliseconds", 1_000), ("microseconds", 1_000_000), ("nanoseconds", 1_000_000_000))
"""(unit, units per second), coarsest first; the valid ranges of two units do not overlap for recent times."""

_YEARS: Final = (1700, 2200)
_DAYS: Final = (17_000_101, 22_001_231)
"""Ranges of years, and of dates such as 20240131: if all numbers of a column lie in one, they are not epoch seconds."""

_EPOCH: Final = r"^[+-]?[0-9]{9,}(\.[0-9]*)?$"
_TOO_FINE: Final = r"([.,][0-9]{6})[0-9]+"
_FINE_DIGITS: Final = r"[0-9:][0-9]{2}[.,][0-9]{6}0*[1-9]"
_SPELLINGS: Final = (
    (r"^([0-9-]{8,10})t", r"\1T"),
    (r"([0-9]{2}),([0-9]+)", r"\1.\2"),
    (r"(:[0-9.]+|T[0-9.]+)\s*(?:UTC|GMT|z)$", r"\1Z"),
)
"""(pattern, replacement): ISO 8601 variants that pandas cannot parse, and the equivalent that it can."""


def unit(number: float) -> str:
    """Return a hint for an error message about the likely unit of a number that is too large for seconds, or ""."""
    for name, many in _UNITS[1:]:
        if LATEST < abs(number) <= LATEST * many:
            return f"; this looks like {name}: divide by {many}"
    return ""


def wanted(value: object) -> str:
    """Return the "expected …" part of the error message for a value that is not a timestamp."""
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except (ValueError, OverflowError):
        number = None
    if number is not None and (abs(number) > LATEST):
        return f"epoch seconds up to the year 2200{unit(number)}"
    if number is not None and any(low <= number <= high for low, high in (_YEARS, _DAYS)):
        return "a time; a year or a date is written as text, such as 2024 or 2024-01-31"
    return "a time between the years 1 and 9999, such as 2024-01-31T08:00:00Z"


def expected_order(number: object) -> str:
    """Return the "expected …" part of the error message for an invalid behavior time, which may also be an order."""
    hint = unit(number) if isinstance(number, int | float) else ""
    return f"epoch seconds up to the year 2200, or an order from 0 on{hint}"


def from_numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return numbers [n] since 1970 as timestamps, and a mask [n] of the invalid ones.

    Numbers are seconds or, if all of them would be after the year 2200, milliseconds, microseconds or nanoseconds.
    """
    numbers, given = _numbers(column)
    _, many = _unit_of(numbers[given])
    within = given & (numbers >= _FIRST * many) & (numbers <= LATEST * many)
    if within.any() and any(_all_between(numbers[given], *bounds) for bounds in (_YEARS, _DAYS)):
        within[:] = False
    kept = np.where(within, numbers, 0)
    if kept.dtype.kind == "f":
        micros = np.round(kept * (_MICRO / many)).astype(np.int64)
    elif many <= _MICRO:
        micros = kept.astype(np.int64) * (_MICRO // many)
    else:
        micros = kept.astype(np.int64) // (many // _MICRO)
    return pa.chunked_array([pa.array(micros, mask=~within).cast(TIME)]), given & ~within


def from_text(text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return text [n] as UTC timestamps, and a mask [n] of the invalid values; missing text stays null.

    Text is ISO 8601 (digits finer than microseconds are cut off; `UTC` is accepted for `Z`), or epoch seconds with at
    least nine digits.
    """
    try:
        return from_times(text.cast(TIME))
    except pa.ArrowInvalid:
        pass
    given = np.asarray(text.is_valid())
    is_number = pc.fill_null(pc.match_substring_regex(text, _EPOCH), False)
    if pc.any(is_number).as_py():
        numbers, wrong = from_numbers(_read_numbers(pc.if_else(is_number, text, None)))
        others, other_wrong = from_text(pc.if_else(is_number, None, text))
        return pc.coalesce(numbers, others), wrong | other_wrong
    dates = pc.if_else(pc.match_substring_regex(text, r"^[+-]?[0-9]"), text, None)  # pandas takes "now" for a date
    cut = pc.replace_substring_regex(dates, _TOO_FINE, r"\1")
    for other, known in _SPELLINGS:
        cut = pc.replace_substring_regex(cut, other, known)
    parsed = pd.to_datetime(cut.to_pandas(), errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    column, _ = from_times(pa.chunked_array([pa.Array.from_pandas(parsed, type=TIME)]))
    return column, given & np.asarray(column.is_null())


def from_times(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return timestamps [n] of any unit as UTC in microseconds, and a mask [n] of those outside the years 1 to 9999."""
    if column.type.unit == "ns":
        nanos = np.asarray(pc.fill_null(column.cast(pa.int64()), 0).to_numpy())
        return pa.chunked_array([pa.array(nanos // 1000, mask=np.asarray(column.is_null())).cast(TIME)]), _none(column)
    scale = {"s": 1, "ms": 1_000, "us": _MICRO}[column.type.unit]
    count = column.cast(pa.int64())
    within = pc.and_(pc.greater_equal(count, _FIRST * scale), pc.less(count, _LAST * scale))
    kept = pc.if_else(within, column, pa.scalar(None, column.type))
    return kept.cast(TIME), np.asarray(pc.fill_null(pc.invert(within), False))


def too_late(column: pa.ChunkedArray) -> BoolArray:
    """Return a mask [n] of the times from the year 2200 on, which are invalid for behaviors."""
    micros = column.cast(pa.int64())
    return np.asarray(pc.fill_null(pc.greater_equal(micros, LATEST * _MICRO), False))


def remarks(column: pa.ChunkedArray) -> list[str]:
    """Return notices about a column read as timestamps: a guessed unit, and digits that are lost."""
    notices = []
    name, fine = _unit_and_fine_digits(column)
    if name != "seconds":
        notices.append(f"its numbers are read as {name} since 1970")
    if fine:
        notices.append(f"{fine:,} of {len(column):,} times have digits finer than microseconds, which are cut off")
    return notices


def _unit_and_fine_digits(column: pa.ChunkedArray) -> tuple[str, int]:
    type_ = column.type
    if pa.types.is_string(type_):
        fine = int(pc.sum(pc.match_substring_regex(column, _FINE_DIGITS)).as_py() or 0)
        is_number = pc.match_substring_regex(column, _EPOCH)
        if pc.any(is_number).as_py():
            return _unit_and_fine_digits(_read_numbers(column.filter(is_number)))[0], fine
        return "seconds", fine
    if pa.types.is_timestamp(type_) and type_.unit == "ns":
        return "seconds", _n_fine(np.asarray(column.cast(pa.int64()).drop_null().to_numpy()))
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        numbers, given = _numbers(column)
        name, _ = _unit_of(numbers[given])
        is_fine = name == "nanoseconds" and numbers.dtype.kind != "f"
        return name, _n_fine(numbers[given]) if is_fine else 0
    return "seconds", 0


def _n_fine(nanoseconds: npt.NDArray[np.number]) -> int:
    return int(np.count_nonzero(nanoseconds.astype(np.int64) % 1000))


def _numbers(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.number], BoolArray]:
    """Return numbers [n] without loss, and a mask [n] of the values that are not missing."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    numbers = np.asarray(pc.fill_null(column, 0).to_numpy())
    return numbers, np.asarray(column.is_valid()) & ~np.isnan(numbers)


def _unit_of(numbers: npt.NDArray[np.number]) -> tuple[str, int]:
    """Return the unit of numbers and units per second: a finer unit only if all numbers are too large for a coarser."""
    size = np.abs(numbers.astype(np.float64))
    for name, many in _UNITS[1:]:
        if len(size) and (size > LATEST * many // 1000).all() and (size <= LATEST * many).all():
            return name, many
    return _UNITS[0]


def _read_numbers(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numeric text as numbers: integers, or floats if a value has a decimal point."""
    try:
        return pc.replace_substring_regex(text, r"^\+", "").cast(pa.int64())
    except pa.ArrowInvalid:
        return text.cast(pa.float64())


def _all_between(numbers: npt.NDArray[np.number], low: int, high: int) -> bool:
    return bool(((numbers >= low) & (numbers <= high)).all())


def _none(column: pa.ChunkedArray) -> BoolArray:
    return np.zeros(len(column), dtype=bool)
