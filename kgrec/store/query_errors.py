"""A refused query as its user should see it: the engine's reason, the query with a caret, and what the engine lacks."""

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
"""Engine → (what a query may hold, why it does not work there and what to write). Read only after a refusal."""


def refused(query: str, message: str, engine: str, offset: int | None = None) -> StoreError:
    """Return the error for a query that an engine refused.

    Args:
        query: the query, as given.
        message: the engine's reason.
        engine: name of the engine, such as "ladybug".
        offset: character of the query where the fault is, from 0; None if the engine does not say.
    """
    lines = [message.strip(), "in the query:", _shown(query, offset)]
    if re.search("read-only database|read access mode", message):
        lines.append("this query may only read; to let it change the graph: --write, or write=True")
    lines += [f"{engine} has {hint}" for pattern, hint in _LACKS.get(engine, ()) if re.search(pattern, query)]
    return StoreError("\n".join(lines))


def forbidden(query: str, what: str, offset: int | None, changes: bool = False, write: bool = False) -> StoreError:
    """Return the error for a query that does what it may not.

    Args:
        query: the query, as given.
        what: what it does, and why that is not allowed.
        offset: character of the query where it does, from 0; None if that is not known.
        changes: it changes the graph, which it may not.
        write: the query may change the graph.
    """
    may = "this query may change the graph, and nothing else" if write else "this query may only read the graph"
    more = (
        "change the graph: --write, or write=True"
        if changes
        else "do all that the engine can: --unsafe, or unsafe=True"
    )
    return StoreError("\n".join([what, "in the query:", _shown(query, offset), f"{may}; to let it {more}"]))


def too_long(query: str, seconds: float) -> StoreError:
    """Return the error for a query that was stopped."""
    return StoreError(
        f"the query was stopped after {seconds:g} s; narrow it down, or raise the time limit\n"
        f"in the query:\n{_shown(query, None)}"
    )


def too_many(query: str, rows: int) -> StoreError:
    """Return the error for a query that returns more rows than it may."""
    return StoreError(
        f"the query returns more than {rows:,} rows; add LIMIT to it, or raise the row limit\n"
        f"in the query:\n{_shown(query, None)}"
    )


def offset_of(query: str, line: int, column: int) -> int:
    """Return the character of a query at a line and a column, both from 1."""
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
