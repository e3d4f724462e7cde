"""Graph stores: one port, one folder an engine."""

from __future__ import annotations

from pathlib import Path

from kgrec.errors import StoreError, UsageError
from kgrec.store.base import GraphStore
from kgrec.store.uri import STORES, GraphUri


def open_graph(uri: str | Path, read_only: bool = False, create: bool = False) -> GraphStore:
    """Open a graph.

    Args:
        uri: path of an embedded graph such as `shop.lbug`; `oxigraph:FOLDER`, an RDF store in a folder; a Neo4j server
            such as `neo4j://host:7687/database`; or a URI of a store that another package registers; see
            kgrec/store/uri.py.
        read_only: only read, beside a writer or not.
        create: start a new graph where there is none; without it a path that leads nowhere is an error.

    Raises:
        StoreLocked: another writer has it.
        StoreError: there is no graph, it cannot be opened, or its URI holds a password.
        UsageError: the package that registers the store cannot be imported, or a new graph is to be only read.
        MissingExtra: the engine's package is not installed.
    """
    if read_only and create:
        raise UsageError(f"{uri}: found read_only=True and create=True. Expected one of them")
    parsed = GraphUri.parse(uri)
    if not create and not parsed.exists:
        otherwise = "" if read_only else ", or start one with kgrec.open(…, create=True)"
        raise StoreError(f"no graph at {uri}; load data first: kgrec load LOADER SOURCE --into {uri}{otherwise}")
    engine = STORES.load(parsed.scheme)
    if not _is_store(engine):
        raise StoreError(f"entry point {parsed.scheme!r} of {STORES.group} is {engine!r}. Expected a GraphStore class")
    opened: GraphStore = engine(str(uri), read_only)
    return opened


def _is_store(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, GraphStore)


open = open_graph  # the public name: kgrec.open
