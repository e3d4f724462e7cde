"""Conversion of RDF terms to Python values; integers are never converted through floats."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from kgrec._util.values import EXACT

_XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_INTEGER_TYPES: Final = {
    *("integer", "long", "int", "short", "byte", "unsignedLong", "unsignedInt", "unsignedShort", "unsignedByte"),
    *("nonNegativeInteger", "positiveInteger", "nonPositiveInteger", "negativeInteger"),
}


def native(term: Any) -> Any:
    """Return a term as a number, bool, time or text; IRIs and invalid literals are texts."""
    datatype = getattr(getattr(term, "datatype", None), "value", "")
    if not datatype.startswith(_XSD):
        return None if term is None else getattr(term, "value", str(term))
    kind, text = datatype.removeprefix(_XSD), term.value
    with suppress(ValueError):  # literals may be invalid: "many"^^xsd:integer
        if kind in _INTEGER_TYPES:
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
    """Return a decimal as a float, or as an int if it is an integer beyond `EXACT`."""
    digits, _, fraction = text.partition(".")
    number = 0 if fraction.strip("0") else int(digits or "0")
    return number if abs(number) > EXACT else float(text)
