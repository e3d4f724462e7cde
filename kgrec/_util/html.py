"""HTML for notebooks: titles, fact lists and tables; all values are escaped, since ids and names are untrusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from kgrec._util.terminal import escaped

MAX_CHARACTERS: Final = 300
"""Maximum number of characters shown of a value."""

MAX_ROWS: Final = 30
"""Maximum number of rows shown of a table."""


def title(text: object) -> str:
    """Return a heading as HTML."""
    return f"<p><strong>{_safe(text)}</strong></p>"


def facts(values: Mapping[str, Any]) -> str:
    """Return a table with one row per name and value, as HTML."""
    rows = [f"<tr><th style='text-align:left'>{_safe(k)}</th>{_cell(v)}</tr>" for k, v in values.items()]
    return f"<table>{''.join(rows)}</table>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return the first `MAX_ROWS` rows of a table with a header, and the number of further rows, as HTML."""
    known = list(rows)
    header = "".join(f"<th style='text-align:left'>{_safe(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in known[:MAX_ROWS])
    more = f"<p>and {len(known) - MAX_ROWS:,} more rows</p>" if len(known) > MAX_ROWS else ""
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    return f"<td style='text-align:left'>{_safe(value)}</td>"


def _safe(value: object) -> str:
    """Return a value as escaped text without markup and without characters that hide or reverse text."""
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    text = f"{value:.4g}" if isinstance(value, float) else text
    return escape(escaped(text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"))
