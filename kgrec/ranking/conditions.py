"""Conditions on a property of items: a value, a list of values, or a range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray
from kgrec.data.columns import as_type, to_mask
from kgrec.errors import UsageError, near_matches

_BOUNDS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    ">=": pc.greater_equal,
    ">": pc.greater,
    "<=": pc.less_equal,
    "<": pc.less,
}
BETWEEN: Final = "between"
"""Stands for >= and <=: both ends belong to the range."""

OPERATORS: Final = (*_BOUNDS, BETWEEN)
RANGED: Final = ("int", "float", "datetime")
"""Types of properties that have an order."""

EXPECTED: Final = "one value, a list of values, or a range such as {'>=': 10, '<': 20} or {'between': [10, 20]}"

Ranges = list[tuple[str, object]]
"""Operators and bounds, all of which must hold."""


def values_or_ranges(name: str, wanted: object) -> tuple[list[object], Ranges]:
    """Return the values that a condition lists, or the bounds that it sets; one of the two is empty.

    Args:
        name: the property.
        wanted: what it must be.

    Raises:
        UsageError: it is neither a value, nor a list of values, nor a range.
    """
    if isinstance(wanted, Mapping):
        return [], _ranges(name, wanted)
    if isinstance(wanted, tuple | range | slice | bytes):
        raise UsageError(f"where={{{name!r}: {wanted!r}}}; expected {EXPECTED}")
    values = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
    for value in values:
        if value is None or isinstance(value, Mapping | list | tuple) or value != value:
            raise UsageError(f"where={{{name!r}: {wanted!r}}}: found the value {value!r}; expected {EXPECTED}")
    return values, []


def is_one_of(column: pa.ChunkedArray, kind: str, name: str, wanted: list[object]) -> BoolArray:
    """Say which items [n] have one of some values; of a list, which have one in it.

    Args:
        column: the property [n].
        kind: its type.
        name: what it is called.
        wanted: the values.

    Raises:
        UsageError: a value is not of the property's type.
    """
    values = _typed(name, "string" if kind == "strings" else kind, wanted)
    if kind != "strings":
        return to_mask(pc.is_in(column, value_set=values))
    lists = column.combine_chunks()
    having = pc.list_parent_indices(lists).filter(pc.is_in(pc.list_flatten(lists), value_set=values))
    return np.asarray(np.isin(np.arange(len(column)), having.to_numpy()))


def is_within(column: pa.ChunkedArray, kind: str, name: str, ranges: Ranges) -> BoolArray:
    """Say which items [n] have a value within all bounds; arguments as for `is_one_of`.

    Raises:
        UsageError: the property has no order, or a bound is not of its type.
    """
    if kind not in RANGED:
        raise UsageError(f"where={name!r}: found a range of a property of type {kind}; expected {' or '.join(RANGED)}")
    inside = np.ones(len(column), dtype=bool)
    bounds = _typed(name, kind, [bound for _, bound in ranges])
    for (operator, _), bound in zip(ranges, bounds.combine_chunks(), strict=True):
        inside &= to_mask(_BOUNDS[operator](column, bound))
    return inside


def _ranges(name: str, wanted: Mapping[Any, object]) -> Ranges:
    if not wanted:
        raise UsageError(f"where={{{name!r}: {{}}}}; expected {EXPECTED}")
    ranges: Ranges = []
    for operator, bound in wanted.items():
        if operator not in OPERATORS:
            near = near_matches(str(operator), OPERATORS)
            raise UsageError(f"where={name!r}: found {operator!r}; expected one of {', '.join(OPERATORS)}{near}")
        if operator != BETWEEN:
            ranges.append((operator, bound))
        elif isinstance(bound, list | tuple) and len(bound) == 2:
            ranges += [(">=", bound[0]), ("<=", bound[1])]
        else:
            raise UsageError(f"where={name!r}: found between {bound!r}; expected two values, such as [10, 20]")
    return ranges


def _typed(name: str, kind: str, wanted: list[object]) -> pa.ChunkedArray:
    texts = pa.chunked_array([pa.array([str(value) for value in wanted], pa.string())])
    values, wrong = as_type(texts, kind)
    wrong |= ~to_mask(values.is_valid())
    if wrong.any():
        raise UsageError(f"found {name}={wanted[int(np.argmax(wrong))]!r}; expected a value of type {kind}")
    return values
