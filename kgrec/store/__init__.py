"""Graph stores: one port, one folder an engine."""

from __future__ import annotations

from pathlib import Path

from kgrec.errors import StoreError
from kgrec.store.base import GraphStore
from kgrec.store.uri import STORES, GraphUri


def open_store(uri: str | Path, read_only: bool = False) -> GraphStore:
    """Open a graph.

    Args:
        uri: path of an embedded graph such as `shop.lbug`, made if missing unless `read_only`; `oxigraph:FOLDER`, an
            RDF store in a folder, likewise; a Neo4j server such as `neo4j://host:7687/database`; or a URI of a store
            that another package registers; see kgrec/store/uri.py.
        read_only: only read, beside a writer or not.

    Raises:
        StoreLocked: another writer has it.
        StoreError: it cannot be opened, or its URI holds a password.
        UsageError: the package that registers the store cannot be imported.
        MissingExtra: the engine's package is not installed.
    """
    scheme = GraphUri.parse(uri).scheme
    engine = STORES.load(scheme)
    if not _is_store(engine):
        raise StoreError(f"entry point {scheme!r} of {STORES.group} is {engine!r}. Expected a subclass of GraphStore")
    opened: GraphStore = engine(str(uri), read_only)
    return opened


def _is_store(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, GraphStore)


open = open_store
"""The public name, `kgrec.open`."""
