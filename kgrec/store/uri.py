"""Parser of graph URIs; no other module interprets one.

shop.lbug                       ladybug, a file
oxigraph:FOLDER                 Oxigraph, a folder
neo4j://HOST:PORT/DATABASE      Neo4j, a server; also bolt://, neo4j+s:// …
SCHEME:PATH, SCHEME://PLACE     a store that an installed package registers for SCHEME in `kgrec.stores`
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kgrec._util.plugins import PluginGroup
from kgrec._util.secrets import holds_password
from kgrec.errors import StoreError

STORES: Final = PluginGroup(
    "graph store",
    "kgrec.stores",
    {
        "": "kgrec.store.ladybug.store:LadybugStore",
        "oxigraph": "kgrec.store.oxigraph.store:RdfStore",
        "neo4j": "kgrec.store.neo4j.store:Neo4jStore",
        "bolt": "kgrec.store.neo4j.store:Neo4jStore",
    },
)
"""Scheme → store class; a path without a scheme is a ladybug graph."""

_SERVERS: Final = ("neo4j", "bolt")
"""Shipped schemes of servers. A scheme of another package addresses a server if `//` follows it."""

_SCHEME: Final = re.compile(r"(\w[\w+.-]+):(?!\\)")
_LIKE_A_USER: Final = re.compile(r"[\w+.-]+:.*(@|%40)", re.DOTALL)


@dataclass(frozen=True)
class GraphUri:
    """Location of a graph.

    Attributes:
        text: the URI as given.
        scheme: name under which the store is registered; empty for a plain path.
        path: file or folder of an embedded graph; None if the graph is on a server.
    """

    text: str
    scheme: str
    path: Path | None

    @classmethod
    def parse(cls, uri: str | Path) -> GraphUri:
        """Return the parts of a URI.

        Raises:
            StoreError: the URI holds a password, its scheme is unknown, or its path or server is missing.
        """
        text = str(uri)
        check_uri(text)
        scheme = _scheme(text)
        if scheme is None:
            return cls(text, "", Path(text))
        if not _is_registered(scheme):
            raise StoreError(f"{text}: unknown kind of graph {scheme!r}. Expected {_expected()}")
        if _is_of_server(scheme, text):
            return cls(text, scheme, None)
        place = text[len(scheme) + 1 :]
        if scheme in _SERVERS:
            raise StoreError(f"the URI names no server: {text}. Expected {scheme}://HOST:PORT/DATABASE")
        if not place:
            raise StoreError(f"the URI names no folder: {text}. Expected {scheme}:FOLDER, such as {scheme}:shop")
        return cls(text, scheme, Path(place))

    @property
    def is_server(self) -> bool:
        """True if the graph is on a server."""
        return self.path is None

    @property
    def exists(self) -> bool:
        """True if the graph exists; always True for a server, which is not contacted."""
        return self.path is None or self.path.exists()

    @property
    def name(self) -> str:
        """Name of the graph that does not change when the graph and its runs are moved: the file name, or the URI."""
        return self.text if self.path is None else self.path.name

    @property
    def runs_folder(self) -> Path:
        """Folder of the graph's training runs.

        For an embedded graph it is beside the graph (`shop.lbug` and `oxigraph:shop` → `shop.runs`); for a graph on a
        server it is in the working directory (`neo4j://host:7687/films` → `neo4j-host-7687-films.runs`).
        """
        if self.path is None:
            words = [self.scheme, *re.findall(r"[\w.]+", self.text.partition("://")[2])]
            return Path(f"{'-'.join(words)}.runs")
        path = self.path.resolve() if self.path.is_symlink() else self.path
        return path.with_name(f"{path.stem}.runs")

    def within(self, folder: Path) -> str:
        """Return the URI with the path of an embedded graph resolved against a folder."""
        if self.path is None:
            return self.text
        return f"{self.scheme}:{folder / self.path}" if self.scheme else str(folder / self.path)


def check_uri(uri: str | Path) -> None:
    """Check that a URI holds no user or password, since URIs appear in logs, metrics, receipts and folder names.

    Raises:
        StoreError: the URI holds a user or a password; the message does not repeat them.
    """
    place, scheme = str(uri), _scheme(str(uri))
    if scheme and scheme not in _SERVERS and _is_registered(scheme) and not _is_of_server(scheme, place):
        place = place[len(scheme) + 1 :]
    if holds_password(place) or (_LIKE_A_USER.match(place) and not Path(place).exists()):
        raise StoreError(
            "the URI of the graph holds a user or a password. Expected neo4j://HOST:PORT/DATABASE, with the user and "
            "the password in NEO4J_USER and NEO4J_PASSWORD or in the credentials file (docs/how-to/stores.md)"
        )


def has_scheme(text: str, scheme: str) -> bool:
    """Return True if a text is a URI of a scheme, such as "oxigraph"."""
    return _scheme(text) == scheme


def _scheme(text: str) -> str | None:
    """Return the scheme of a URI; None for a plain path, including an existing file whose name contains a colon."""
    scheme = _SCHEME.match(text)
    if not scheme or (not _is_registered(scheme[1].partition("+")[0]) and Path(text).exists()):
        return None
    return scheme[1].partition("+")[0]


def _is_registered(scheme: str) -> bool:
    return scheme in STORES.shipped or scheme in STORES.names()


def _is_of_server(scheme: str, text: str) -> bool:
    after = text.partition(":")[2]
    return after.startswith("//") and (scheme in _SERVERS or scheme not in STORES.shipped)


def _expected() -> str:
    others = [f"{scheme}:…" for scheme in STORES.names() if scheme and scheme not in STORES.shipped]
    shipped = "a path such as shop.lbug, oxigraph:FOLDER, or neo4j://HOST (also bolt:// and neo4j+s://)"
    return ", ".join([*others, shipped])
