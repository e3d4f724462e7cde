"""Graph stores: one port, one file an engine."""

from __future__ import annotations

import re
from pathlib import Path

from kgrec._util.secrets import holds_password
from kgrec.errors import StoreError
from kgrec.store.base import GraphStore

_SERVER = re.compile(r"(neo4j|bolt)(\+s|\+ssc)?://")
_OTHER_SCHEME = re.compile(r"(\w[\w+.-]+):(?!\\)")
_LIKE_A_USER = re.compile(r"[\w+.-]+:.*(@|%40)", re.DOTALL)


def open_store(uri: str | Path, read_only: bool = False) -> GraphStore:
    """Open a graph.

    Args:
        uri: path of an embedded graph such as `shop.lbug`, made if missing unless `read_only`; `oxigraph:FOLDER`, an
            RDF store in a folder, likewise; or a Neo4j server such as `neo4j://host:7687/database`.
        read_only: only read, beside a writer or not.

    Raises:
        StoreLocked: another writer has it.
        StoreError: it cannot be opened, or its URI holds a password.
        MissingExtra: the engine's package is not installed.
    """
    check_uri(uri)
    if is_server(uri):
        from kgrec.store.neo4j.store import Neo4jStore

        return Neo4jStore(str(uri), read_only)
    if str(uri) == "oxigraph:":
        raise StoreError("oxigraph: found no folder; expected oxigraph:FOLDER, such as oxigraph:shop")
    if str(uri).startswith("oxigraph:"):
        from kgrec.store.oxigraph.store import RdfStore

        return RdfStore(str(uri), read_only)
    scheme = _OTHER_SCHEME.match(str(uri))
    if scheme and not Path(uri).exists():
        raise StoreError(
            f"{uri}: found an unknown kind of graph {scheme[1]!r}; expected a path such as shop.lbug, oxigraph:FOLDER, "
            "or neo4j://HOST (also bolt:// and neo4j+s://)"
        )
    from kgrec.store.ladybug.store import LadybugStore

    return LadybugStore(uri, read_only)


open = open_store
"""The public name, `kgrec.open`."""


def check_uri(uri: str | Path) -> None:
    """Refuse a URI that holds a user or a password: it would be in logs, metrics, receipts and names of folders.

    Raises:
        StoreError: it does; the error does not repeat it.
    """
    place = str(uri).removeprefix("oxigraph:")
    if holds_password(place) or (_LIKE_A_USER.match(place) and not Path(place).exists()):
        raise StoreError(
            "found a user or a password in the URI of the graph; give them as NEO4J_USER and NEO4J_PASSWORD, or in the "
            "credentials file (docs/how-to/stores.md), and write neo4j://HOST:PORT/DATABASE"
        )


def is_server(uri: str | Path) -> bool:
    """Say whether a graph is on a server."""
    return bool(_SERVER.match(str(uri)))


def exists(uri: str | Path) -> bool:
    """Say whether there is a graph, as far as that shows without connecting to a server.

    Raises:
        StoreError: the URI holds a password.
    """
    check_uri(uri)
    return is_server(uri) or Path(str(uri).removeprefix("oxigraph:")).exists()
