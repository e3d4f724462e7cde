"""Values in place of a SPARQL query's variables, in an update too; the engine substitutes only what is selected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from kgrec.errors import StoreError
from kgrec.rdf.terms import DATATYPES

_QUOTED: Final = r'"""(?:[^\\]|\\.)*?"""|' + r"'''(?:[^\\]|\\.)*?'''|" + r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'"
_TOKEN: Final = re.compile(rf"(?s)(?:{_QUOTED}|<[^<>\s]*>|#[^\n]*)|(?P<brace>\{{)|[?$](?P<variable>\w+)")
"""What a variable is not part of, and variables."""


def with_values(query: str, values: Mapping[str, Any]) -> str:
    """Return a query with values in place of variables.

    Args:
        query: SPARQL.
        values: name → text, number, truth value or time; text written as `<iri>` is an IRI.

    Raises:
        StoreError: a value of another type, or a name that is no variable of the query.
    """
    terms = {name: _term(name, value) for name, value in values.items()}
    used = {match["variable"] for match in _TOKEN.finditer(query)}
    for name in terms.keys() - used:
        raise StoreError(f"the query has no variable ?{name}; its variables: {', '.join(sorted(filter(None, used)))}")
    head = next((match.start() for match in _TOKEN.finditer(query) if match["brace"]), 0)

    def written(match: re.Match[str]) -> str:
        name = match["variable"]
        if name not in terms:
            return match[0]
        is_column = match.start() < head and query.count("(", 0, match.start()) == query.count(")", 0, match.start())
        return f"({terms[name]} AS ?{name})" if is_column else terms[name]

    return _TOKEN.sub(written, query)


def _term(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f'"{value}"^^<{DATATYPES["int" if isinstance(value, int) else "float"]}>'
    if isinstance(value, datetime):
        return f'"{value.isoformat()}"^^<{DATATYPES["datetime"]}>'
    if not isinstance(value, str):
        raise StoreError(f"?{name} is a {type(value).__name__}; expected text, a number, a truth value or a time")
    if re.fullmatch(r"<[^<>\"{}|^`\\\x00-\x20]+>", value):
        return value
    for old, new in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(old, new)
    return f'"{value}"'
