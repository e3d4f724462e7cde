"""Points in time: what of numbers and text is one, and the range they may lie in."""

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
"""2200-01-01 in epoch seconds: a number above, or the time of a behavior, is a mistake of unit or of data."""

_FIRST: Final = -62_135_596_800
"""The year 1 in epoch seconds, the first that Python's datetime can hold."""

_LAST: Final = 253_402_300_800
"""The year 10000 in epoch seconds, the first behind what Python's datetime can hold."""

_MICRO: Final = 1_000_000
_UNITS: Final = (("seconds", 1), ("milliseconds", 1_000), ("microseconds", 1_000_000), ("nanoseconds", 1_000_000_000))
"""Units of numbers, and how many make a second; numbers of one of them are beyond those of the one before."""

_YEARS: Final = (1700, 2200)
_DAYS: Final = (17_000_101, 22_001_231)
"""Numbers that are years, or dates such as 20240131, if all of a column are: as seconds, hours of January 1970."""

_EPOCH: Final = r"^[+-]?[0-9]{9,}(\.[0-9]*)?$"
_TOO_FINE: Final = r"([.,][0-9]{6})[0-9]+"
_FINE_DIGITS: Final = r"[0-9:][0-9]{2}[.,][0-9]{6}0*[1-9]"
_SPELLINGS: Final = (
    (r"^([0-9-]{8,10})t", r"\1T"),
    (r"([0-9]{2}),([0-9]+)", r"\1.\2"),
    (r"(:[0-9.]+|T[0-9.]+)\s*(?:UTC|GMT|z)$", r"\1Z"),
)
"""Ways to write ISO 8601 that pandas does not know, and the one that it does."""


def unit(number: float) -> str:
    """Return what a number beyond the range of epoch seconds looks like, as the end of a message; "" if nothing."""
    for name, many in _UNITS[1:]:
        if LATEST < abs(number) <= LATEST * many:
            return f"; this looks like {name}: divide by {many}"
    return ""


def wanted(value: object) -> str:
    """Return what is expected where a value is no time, as a message says it."""
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
    """Return what is expected where a number is no time of a behavior, which may be a mere order."""
    hint = unit(number) if isinstance(number, int | float) else ""
    return f"epoch seconds up to the year 2200, or an order from 0 on{hint}"


def from_numbers(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return numbers [n] since 1970 as points in time, and a mask [n] of those that are none.

    They are seconds, or, where all lie beyond those of the year 2200, milliseconds, microseconds or nanoseconds.
    """
    numbers, given = _numbers(column)
    _, many = _unit_of(numbers[given])
    within = given & (numbers >= _FIRST * many) & (numbers <= LATEST * many)
    if within.any() and any(_all_between(numbers[given], *bounds) for bounds in (_YEARS, _DAYS)):
        within[:] = False
    kept = np.where(within, numbers, 0)
    if kept.dtype.kind == "f":
        kept = np.round(kept * (_MICRO / many)) * max(1, many // _MICRO)
        many = max(many, _MICRO)
    micros = kept.astype(np.int64)
    micros = micros * (_MICRO // many) if many <= _MICRO else micros // (many // _MICRO)
    return pa.chunked_array([pa.array(micros, mask=~within).cast(TIME)]), given & ~within


def from_text(text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return text [n] as points in time in UTC, and a mask [n] of what is none; missing text stays missing.

    Text is ISO 8601 (digits behind the microsecond are cut off; `UTC` may stand for `Z`), or epoch seconds of nine
    digits or more.
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
    found = pd.to_datetime(cut.to_pandas(), errors="coerce", utc=True, format="ISO8601").dt.tz_localize(None)
    column, _ = from_times(pa.chunked_array([pa.Array.from_pandas(found, type=TIME)]))
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
    """Return a mask [n] of the times behind the year 2200, which no behavior has."""
    micros = column.cast(pa.int64())
    return np.asarray(pc.fill_null(pc.greater_equal(micros, LATEST * _MICRO), False))


def remarks(column: pa.ChunkedArray) -> list[str]:
    """Return what the owner of a column that is read as times may not expect, as sentences of a notice."""
    found = []
    name, fine = _unit_and_fine_digits(column)
    if name != "seconds":
        found.append(f"its numbers are read as {name} since 1970")
    if fine:
        found.append(f"{fine:,} of {len(column):,} times have digits behind the microsecond, which are not kept")
    return found


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
    """Return numbers [n] without loss, and a mask [n] of those that are there."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    numbers = np.asarray(pc.fill_null(column, 0).to_numpy())
    return numbers, np.asarray(column.is_valid()) & ~np.isnan(numbers)


def _unit_of(numbers: npt.NDArray[np.number]) -> tuple[str, int]:
    """Return the unit of numbers, and how many make a second: a finer one only where all are beyond a coarser."""
    size = np.abs(numbers.astype(np.float64))
    for name, many in _UNITS[1:]:
        if len(size) and (size > LATEST * many // 1000).all() and (size <= LATEST * many).all():
            return name, many
    return _UNITS[0]


def _read_numbers(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text that holds numbers as such: floats only where there is a point."""
    try:
        return pc.replace_substring_regex(text, r"^\+", "").cast(pa.int64())
    except pa.ArrowInvalid:
        return text.cast(pa.float64())


def _all_between(numbers: npt.NDArray[np.number], low: int, high: int) -> bool:
    return bool(((numbers >= low) & (numbers <= high)).all())


def _none(column: pa.ChunkedArray) -> BoolArray:
    return np.zeros(len(column), dtype=bool)
