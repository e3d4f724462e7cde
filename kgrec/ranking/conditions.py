"""Conditions on an item property (`where=`): a value, a list of values, or a range."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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
"""Operator of a closed range: equal to >= and <=."""

OPERATORS: Final = (*_BOUNDS, BETWEEN)
RANGED: Final = ("int", "float", "datetime")
"""Property types with an order, which ranges apply to."""

EXPECTED: Final = "one value, a list of values, or a range such as {'>=': 10, '<': 20} or {'between': [10, 20]}"

_CONDITION: Final = re.compile(r"\s*(\w+)\s*(>=|<=|>|<|=)(.*)", re.DOTALL)

Ranges = list[tuple[str, object]]
"""(operator, bound) pairs; a value is in range if all of them hold."""


def parse_conditions(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the `where` argument of `Recommender.recommend` for conditions such as `price<50`; None without any.

    Raises:
        UsageError: a text is not a condition, or two on one property contradict each other.
    """
    conditions: dict[str, Any] = {}
    for text in texts or ():
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise UsageError(f"invalid where: {text!r}. Expected property=value, or >=, >, <= or < instead of =")
        name, operator, value = match.groups()
        known = conditions.setdefault(name, [] if operator == "=" else {})
        if isinstance(known, list) != (operator == "=") or operator in known:
            raise UsageError(f"conflicting where: {text!r} and another on {name}. Expected values, or one range")
        if operator == "=":
            known.append(value)
        else:
            known[operator] = value
    return conditions or None


def values_or_ranges(name: str, wanted: object) -> tuple[list[object], Ranges]:
    """Parse a condition; return its values and its ranges, one of which is empty.

    Args:
        name: the property, for error messages.
        wanted: the condition.

    Raises:
        UsageError: the condition is neither a value, nor a list of values, nor a range.
    """
    if isinstance(wanted, Mapping):
        return [], _ranges(name, wanted)
    if isinstance(wanted, tuple | range | slice | bytes):
        raise UsageError(f"wrong condition: where={{{name!r}: {wanted!r}}}. Expected {EXPECTED}")
    values = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(wanted)
    for value in values:
        if value is None or isinstance(value, Mapping | list | tuple) or value != value:
            raise UsageError(f"wrong value {value!r} in where={{{name!r}: {wanted!r}}}. Expected {EXPECTED}")
    return values, []


def is_one_of(column: pa.ChunkedArray, kind: str, name: str, wanted: list[object]) -> BoolArray:
    """Return which items have one of the wanted values, bool [n].

    An item whose property is a list matches if the list contains one of the values.

    Args:
        column: the property of every item [n].
        kind: the property's type.
        name: the property's name, for error messages.
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
    """Return which items have a value within all bounds, bool [n]; see `is_one_of` for the arguments.

    Raises:
        UsageError: the property's type has no order, or a bound is not of that type.
    """
    if kind not in RANGED:
        raise UsageError(
            f"no range over where={name!r}: a property of type {kind} has no order. "
            f"Expected a property of type {' or '.join(RANGED)}"
        )
    inside = np.ones(len(column), dtype=bool)
    bounds = _typed(name, kind, [bound for _, bound in ranges])
    for (operator, _), bound in zip(ranges, bounds.combine_chunks(), strict=True):
        inside &= to_mask(_BOUNDS[operator](column, bound))
    return inside


def _ranges(name: str, wanted: Mapping[Any, object]) -> Ranges:
    if not wanted:
        raise UsageError(f"empty condition: where={{{name!r}: {{}}}}. Expected {EXPECTED}")
    ranges: Ranges = []
    for operator, bound in wanted.items():
        if operator not in OPERATORS:
            near = near_matches(str(operator), OPERATORS)
            raise UsageError(
                f"unknown operator of where={name!r}: {operator!r}. Expected one of {', '.join(OPERATORS)}{near}"
            )
        if operator != BETWEEN:
            ranges.append((operator, bound))
        elif isinstance(bound, list | tuple) and len(bound) == 2:
            ranges += [(">=", bound[0]), ("<=", bound[1])]
        else:
            raise UsageError(f"wrong range of where={name!r}: between {bound!r}. Expected two values, such as [10, 20]")
    return ranges


def _typed(name: str, kind: str, wanted: list[object]) -> pa.ChunkedArray:
    texts = pa.chunked_array([pa.array([str(value) for value in wanted], pa.string())])
    values, wrong = as_type(texts, kind)
    wrong |= ~to_mask(values.is_valid())
    if wrong.any():
        raise UsageError(f"wrong type: {name}={wanted[int(np.argmax(wrong))]!r}. Expected a value of type {kind}")
    return values
