"""Graph stores: one interface (`base.GraphStore`) and one folder per engine."""

from __future__ import annotations

from pathlib import Path

from kgrec.errors import StoreError, UsageError
from kgrec.store.base import GraphStore
from kgrec.store.uri import STORES, GraphUri


def open_graph(uri: str | Path, read_only: bool = False, create: bool = False) -> GraphStore:
    """Return an open graph store.

    Args:
        uri: path of an embedded graph such as `shop.lbug`; `oxigraph:FOLDER` for an RDF store in a folder; a Neo4j
            server such as `neo4j://host:7687/database`; or a URI of a store that another package registers (see
            `kgrec.store.uri`).
        read_only: open for reading only; works while another process writes.
        create: create the graph if it does not exist; without it, a missing graph is an error.

    Raises:
        StoreLocked: another process has the graph open for writing.
        StoreError: the graph does not exist or cannot be opened, or the URI holds a password.
        UsageError: `read_only` and `create` are both set, or the package of the store cannot be imported.
        MissingExtra: the engine's package is not installed.
    """
    if read_only and create:
        raise UsageError(f"{uri}: read_only=True and create=True were both given. Expected at most one of them")
    parsed = GraphUri.parse(uri)
    if not create and not parsed.exists:
        otherwise = "" if read_only else ", or start one with kgrec.open(…, create=True)"
        raise StoreError(f"no graph at {uri}. Run: kgrec load LOADER SOURCE --into {uri}{otherwise}")
    engine = STORES.load(parsed.scheme)
    if not _is_store(engine):
        raise StoreError(f"entry point {parsed.scheme!r} of {STORES.group} is {engine!r}. Expected a GraphStore class")
    opened: GraphStore = engine(str(uri), read_only)
    return opened


def _is_store(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, GraphStore)


open = open_graph  # the public name: kgrec.open
