"""Terms of RDF as Python values; a whole number never passes through a float."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, Final

_XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_WHOLE: Final = {
    *("integer", "long", "int", "short", "byte", "unsignedLong", "unsignedInt", "unsignedShort", "unsignedByte"),
    *("nonNegativeInteger", "positiveInteger", "nonPositiveInteger", "negativeInteger"),
}

_EXACT: Final = 2**53
"""Integers up to which float64 has each."""


def native(term: Any) -> Any:
    """Return a term as a number, a truth value, a time, or text; an IRI, and a literal that is none, as text."""
    datatype = getattr(getattr(term, "datatype", None), "value", "")
    if not datatype.startswith(_XSD):
        return None if term is None else getattr(term, "value", str(term))
    kind, text = datatype.removeprefix(_XSD), term.value
    with suppress(ValueError):  # a literal may hold anything: "many"^^xsd:integer
        if kind in _WHOLE:
            return int(text)
        if kind in ("double", "float"):
            return float(text)
        if kind == "decimal":
            return _decimal(text)
        if kind in ("dateTime", "dateTimeStamp"):
            return datetime.fromisoformat(text)
        if kind == "boolean":
            return text in ("true", "1")
    return text


def _decimal(text: str) -> int | float:
    """Return a decimal as a float, as quotients and averages are decimals too; a whole one of many digits as an int."""
    whole, _, fraction = text.partition(".")
    number = 0 if fraction.strip("0") else int(whole or "0")
    return number if abs(number) > _EXACT else float(text)
