"""SPARQL queries in a process of their own, so that one that runs for ever can be stopped.

`python -m kgrec.rdf.query` reads a pickled request from stdin and writes a pickled answer to stdout.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

Rows = list[tuple[Any, ...]]


class Refused(Exception):
    """The engine refused a query."""


def ask(
    version: Path, query: str, prefixes: Mapping[str, str], time_limit: float, limit: int
) -> tuple[list[str], Rows]:
    """Run a query on a version of a store.

    Args:
        version: folder of the store; it is opened read-only.
        query: SELECT, ASK, CONSTRUCT or DESCRIBE.
        prefixes: prefix → IRI, known in the query.
        time_limit: seconds.
        limit: rows at most.

    Returns:
        Names of the columns, and the rows.

    Raises:
        TimeoutError: it took longer.
        Refused: the engine's message.
    """
    request = pickle.dumps((str(version), query, dict(prefixes), limit))
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kgrec.rdf.query"],
            input=request,
            capture_output=True,
            timeout=time_limit,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    if done.returncode:
        raise Refused(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    answer = pickle.loads(done.stdout)
    if isinstance(answer, str):
        raise Refused(answer)
    names, rows = answer
    return names, rows


def _answer(version: str, query: str, prefixes: dict[str, str], limit: int) -> Any:
    import pyoxigraph as ox

    try:
        found = ox.Store.read_only(version).query(query, prefixes=prefixes)
        if isinstance(found, ox.QueryBoolean):
            return ["answer"], [(bool(found),)]
        if isinstance(found, ox.QueryTriples):
            triples = ((t.subject, t.predicate, t.object) for t, _ in zip(found, range(limit), strict=False))
            return ["subject", "predicate", "object"], [tuple(map(native, row)) for row in triples]
        names = [variable.value for variable in found.variables]
        rows = [tuple(native(row[name]) for name in names) for row, _ in zip(found, range(limit), strict=False)]
    except (SyntaxError, ValueError, OSError, RuntimeError) as error:
        return str(error)
    return names, rows


def native(term: Any) -> Any:
    """Return a term as a Python value: a number, a truth value, a time, or text; IRIs as text."""
    datatype = getattr(getattr(term, "datatype", None), "value", "")
    if not datatype.startswith("http://www.w3.org/2001/XMLSchema#"):
        return None if term is None else term.value
    kind, text = datatype.rpartition("#")[2], term.value
    if kind in ("integer", "int", "long", "short", "byte"):
        return int(text)
    if kind in ("double", "float", "decimal"):
        return float(text)
    if kind == "boolean":
        return text in ("true", "1")
    if kind == "dateTime":
        return datetime.fromisoformat(text)
    return text


if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(_answer(*pickle.loads(sys.stdin.buffer.read()))))
