"""Terms of RDF as Python values."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, Final

_XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_WHOLE: Final = {
    *("integer", "long", "int", "short", "byte", "unsignedLong", "unsignedInt", "unsignedShort", "unsignedByte"),
    *("nonNegativeInteger", "positiveInteger", "nonPositiveInteger", "negativeInteger"),
}


def native(term: Any) -> Any:
    """Return a term as a number, a truth value, a time, or text; an IRI, and a literal that is none, as text."""
    datatype = getattr(getattr(term, "datatype", None), "value", "")
    if not datatype.startswith(_XSD):
        return None if term is None else getattr(term, "value", str(term))
    kind, text = datatype.removeprefix(_XSD), term.value
    with suppress(ValueError):  # a literal may hold anything: "many"^^xsd:integer
        if kind in _WHOLE:
            return int(text)
        if kind in ("double", "float", "decimal"):
            return float(text)
        if kind in ("dateTime", "dateTimeStamp"):
            return datetime.fromisoformat(text)
        if kind == "boolean":
            return text in ("true", "1")
    return text
