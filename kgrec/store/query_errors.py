"""Errors of refused queries: the engine's reason, the query with a caret at the fault, and hints for the engine."""

from __future__ import annotations

import re
from typing import Final

from kgrec.errors import StoreError

_LACKS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "ladybug": (
        (r"\bshortestPath\s*\(", "no shortestPath(); write -[* SHORTEST 1..5]-"),
        (r"\bCALL\s*(\([^)]*\)\s*)?\{", "no CALL { } subqueries; use WITH between two MATCH clauses"),
        (r"\bSET\s+\w+\s*\+=", "no SET n += map; set each property"),
        (r"\b(date|local)?(date)?time\s*\(", "no datetime(); write timestamp('2026-01-31 12:00:00')"),
        (r"\bto(Float|Integer|Boolean|String)\s*\(", "no toFloat() and the like; write CAST(x AS DOUBLE)"),
        (r"\b(elementId|FOREACH|reduce|head)\s*\(", "no elementId(), FOREACH, reduce() or head()"),
        (r"\bCREATE\s+(CONSTRAINT|INDEX)\b", "no constraints or indexes; a label's key is always unique"),
        (r"\*\s*(\.\.)?\s*\]", "no paths of unbounded length; write *1..3"),
    ),
    "neo4j": (
        (r"\*\s*(ALL\s+)?(W?SHORTEST|ACYCLIC|TRAIL)\b", "no * SHORTEST; write shortestPath((a)-[*..5]-(b))"),
        (r"\blabel\s*\(", "no label(); write type(r), or labels(n)"),
        (r"\bCAST\s*\(", "no CAST(); write toFloat(x), toInteger(x), toString(x)"),
        (r"\barray_\w+\s*\(", "no array_…(); write vector.similarity.cosine(a, b)"),
        (r"\b(COPY|LOAD FROM)\b", "no COPY and LOAD FROM; write UNWIND $rows AS row"),
        (r"\bCREATE\s+(NODE|REL)\s+TABLE\b", "no tables; a label needs no declaration"),
        (r"\btimestamp\s*\(\s*['\"]", "no timestamp('…'); write datetime('2026-01-31T12:00:00')"),
    ),
    "oxigraph": (
        (r"(?i)^\s*(MATCH|RETURN|UNWIND)\b", "no Cypher; write SPARQL, such as SELECT * WHERE { ?s ?p ?o } LIMIT 10"),
        (r"(?i)\b(INSERT|DELETE|LOAD|CLEAR|DROP|COPY|MOVE)\b", "no updates in a query that only reads"),
    ),
}
"""Engine → (pattern of an unsupported construct, hint what to write instead); applied only to refused queries."""


def refused(query: str, message: str, engine: str, offset: int | None = None) -> StoreError:
    """Return the error for a query that an engine refused.

    Args:
        query: the query, as given.
        message: the engine's reason.
        engine: name of the engine, such as "ladybug".
        offset: position of the fault in the query, from 0; None if the engine does not report it.
    """
    lines = [message.strip(), "in the query:", _shown(query, offset)]
    if re.search("read-only database|read access mode", message):
        lines.append("this query may only read the graph; to let it change the graph: --write, or write=True")
    lines += [f"{engine} has {hint}" for pattern, hint in _LACKS.get(engine, ()) if re.search(pattern, query)]
    return StoreError("\n".join(lines))


def forbidden(query: str, what: str, offset: int | None, changes: bool = False, write: bool = False) -> StoreError:
    """Return the error for a query that is not allowed.

    Args:
        query: the query as given.
        what: what in the query is not allowed, and why.
        offset: position of the fault in the query, from 0; None if it is unknown.
        changes: the query is refused because it changes the graph.
        write: the query was allowed to change the graph.
    """
    may = "this query may change the graph, and nothing else" if write else "this query may only read the graph"
    more = (
        "change the graph: --write, or write=True"
        if changes
        else "do everything that the engine can: --unsafe, or unsafe=True"
    )
    return StoreError("\n".join([what, "in the query:", _shown(query, offset), f"{may}; to let it {more}"]))


def too_long(query: str, seconds: float) -> StoreError:
    """Return the error for a query that was stopped at the time limit."""
    return StoreError(
        f"the query was stopped after {seconds:g} s; restrict the query, or raise the time limit\n"
        f"in the query:\n{_shown(query, None)}"
    )


def too_many(query: str, rows: int, is_kept: bool = False) -> StoreError:
    """Return the error for a query that exceeds the row limit; `is_kept` says that its changes were not undone."""
    kept = "\nits changes were kept, since a statement IN TRANSACTIONS commits part by part" if is_kept else ""
    return StoreError(
        f"the query returns more than {rows:,} rows; add LIMIT to it, or raise the row limit\n"
        f"in the query:\n{_shown(query, None)}{kept}"
    )


def offset_of(query: str, line: int, column: int) -> int:
    """Return the position in a query, from 0, of a line and a column, both from 1."""
    before = query.split("\n")[: line - 1]
    return sum(len(text) + 1 for text in before) + column - 1


def _shown(query: str, offset: int | None) -> str:
    """Return the query indented, with a caret below the fault."""
    if offset is None:
        return "\n".join(f"  {line}" for line in query.strip("\n").split("\n"))
    shown, start = [], 0
    for line in query.split("\n"):
        column = offset - start
        shown.append(f"  {line}")
        if 0 <= column <= len(line):
            shown.append(f"  {' ' * column}^")
        start += len(line) + 1
    return "\n".join(line for line in shown if line.strip())
