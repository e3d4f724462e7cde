"""Values in place of a SPARQL query's variables, in an update too; the engine substitutes only what is selected."""

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
    """Return a query with values in place of variables.

    Args:
        query: SPARQL.
        values: name → text, number, truth value or time; text written as `<iri>` is an IRI.

    Raises:
        StoreError: a value of another type, or a name that is no variable of the query.
    """
    if not values:
        return query
    terms = {name: _term(name, value) for name, value in values.items()}
    found = list(tokens(query))
    used = {match["variable"] for match in found}
    for name in terms.keys() - used:
        raise StoreError(f"the query has no variable ?{name}; its variables: {', '.join(sorted(filter(None, used)))}")
    parts, parentheses, is_head = [], 0, any(match[0] == "{" for match in found)
    for match in found:
        name, text = match["variable"], match[0]
        is_head = is_head and text != "{"
        parentheses += (text == "(") - (text == ")")
        if name not in terms:
            parts.append(text)
        else:
            parts.append(f"({terms[name]} AS ?{name})" if is_head and not parentheses else terms[name])
    return "".join(parts)


def _term(name: str, value: Any) -> str:
    """Return a value as a term of SPARQL."""
    import pyoxigraph as ox

    if hasattr(value, "dtype") and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, date):
        kind = DATATYPES["datetime"] if isinstance(value, datetime) else f"{PREFIXES['xsd']}date"
        return str(ox.Literal(value.isoformat(), datatype=ox.NamedNode(kind)))
    if not isinstance(value, str | int | float):
        raise StoreError(f"?{name} is a {type(value).__name__}; expected text, a number, a truth value or a time")
    if isinstance(value, str) and re.fullmatch(r"<[^<>\"{}|^`\\\x00-\x20]+>", value):
        return value
    return str(ox.Literal(value))
