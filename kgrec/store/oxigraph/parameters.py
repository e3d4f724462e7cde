"""Parameters of SPARQL queries and updates, inserted into the text; the engine substitutes only selected variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from kgrec.data.schema_checks import PREFIXES
from kgrec.errors import StoreError
from kgrec.rdf.iris import DATATYPES
from kgrec.store.oxigraph.query_guard import tokens


def with_values(query: str, values: Mapping[str, Any]) -> str:
    """Return a query with variables replaced by values.

    Args:
        query: SPARQL.
        values: variable name → text, number, bool or time; a text of the form `<iri>` is an IRI.

    Raises:
        StoreError: a value has another type, or the query has no variable of a name.
    """
    if not values:
        return query
    terms = {name: _term(name, value) for name, value in values.items()}
    matches = list(tokens(query))
    used = {match["variable"] for match in matches}
    for name in terms.keys() - used:
        raise StoreError(f"the query has no variable ?{name}; its variables: {', '.join(sorted(filter(None, used)))}")
    parts, parentheses, is_head = [], 0, any(match[0] == "{" for match in matches)
    for match in matches:
        name, text = match["variable"], match[0]
        is_head = is_head and text != "{"
        parentheses += (text == "(") - (text == ")")
        if name not in terms:
            parts.append(text)
        else:
            parts.append(f"({terms[name]} AS ?{name})" if is_head and not parentheses else terms[name])
    return "".join(parts)


def _term(name: str, value: Any) -> str:
    """Return a value as a SPARQL term."""
    import pyoxigraph as ox

    if hasattr(value, "dtype") and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, date):
        kind = DATATYPES["datetime"] if isinstance(value, datetime) else f"{PREFIXES['xsd']}date"
        return str(ox.Literal(value.isoformat(), datatype=ox.NamedNode(kind)))
    if not isinstance(value, str | int | float):
        raise StoreError(f"?{name} is a {type(value).__name__}; expected text, a number, a bool or a time")
    if isinstance(value, str) and re.fullmatch(r"<[^<>\"{}|^`\\\x00-\x20]+>", value):
        return value
    return str(ox.Literal(value))
