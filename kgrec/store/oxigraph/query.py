"""Checking and running a user's SPARQL on one version of an RDF store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec._util.query_process import TooManyRows, run
from kgrec.data.schema import Schema
from kgrec.errors import StoreError
from kgrec.rdf.iris import prefixes
from kgrec.store.oxigraph import query_guard
from kgrec.store.query_errors import forbidden, offset_of, refused, too_long, too_many
from kgrec.store.statement import Statement

if TYPE_CHECKING:
    import pyarrow as pa
    import pyoxigraph


def ask(version: Path, statement: Statement, text: str, prefixes: Mapping[str, str]) -> pa.Table:
    """Return the result of a query or an update that runs in a separate process.

    Args:
        version: folder of the store version; opened read-only unless `statement.write` is set.
        statement: the user's statement with its limits.
        text: the statement for the engine, with the parameter values inserted.
        prefixes: prefix → IRI, predefined in the query.

    Raises:
        StoreError: the statement exceeded a limit, or the engine crashed.
        Refused: the engine refused the statement; the text is the engine's message.
    """
    request = {
        "engine": "oxigraph",
        "path": str(version),
        "text": text,
        "prefixes": dict(prefixes),
        "write": statement.write,
        "unsafe": statement.unsafe,
        "row_limit": int(statement.row_limit),
    }
    try:
        return run(request, statement.time_limit)
    except TimeoutError:
        raise too_long(statement.text, statement.time_limit) from None
    except TooManyRows:
        raise too_many(statement.text, statement.row_limit) from None


def guarded(store: pyoxigraph.Store, uri: str, schema: Schema, statement: Statement) -> str:
    """Return a statement after checking that it is allowed and that the graphs it names exist in the store.

    Args:
        store: current version of the store.
        uri: URI of the graph, for the message.
        schema: schema of the graph, whose prefixes are predefined.
        statement: the user's statement.

    Raises:
        StoreError: something in the statement is not allowed, or the store has no graph of a name.
    """
    import pyoxigraph as ox

    checked = query_guard.check(statement.text, statement.write)
    if not re.search(r"(?i)from|using", checked):
        return checked
    known = {**prefixes(schema), **query_guard.declared(statement.text)}
    for name, offset in query_guard.graphs(statement.text):
        prefix, _, local = name.partition(":")
        iri = name[1:-1] if name.startswith("<") else known.get(prefix, "") + local
        try:
            is_there = store.contains_named_graph(ox.NamedNode(iri))
        except ValueError:
            is_there = False
        if not is_there:
            what = f"the store {uri} has no named graph {name}, and queries do not fetch other data"
            raise forbidden(statement.text, what, offset, write=statement.write)
    return checked


def refusal(query: str, message: str) -> StoreError:
    """Return the error for the engine's message, with a caret at the line and column that the message names."""
    place = re.search(r"at (\d+):(\d+)", message)
    offset = offset_of(query, int(place[1]), int(place[2])) if place else None
    return refused(query, message, "oxigraph", offset)
