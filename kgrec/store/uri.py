"""URIs of graphs: the one place that reads them.

shop.lbug                       ladybug, a file
oxigraph:FOLDER                 Oxigraph, a folder
neo4j://HOST:PORT/DATABASE      Neo4j, a server; also bolt://, neo4j+s:// …
SCHEME:PATH, SCHEME://PLACE     the store that an installed package registers for SCHEME in `kgrec.stores`
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
"""Scheme → store; a path without a scheme is ladybug's."""

_SERVERS: Final = ("neo4j", "bolt")
"""Shipped schemes of servers; those of other packages are a server's where `//` follows them."""

_SCHEME: Final = re.compile(r"(\w[\w+.-]+):(?!\\)")
_LIKE_A_USER: Final = re.compile(r"[\w+.-]+:.*(@|%40)", re.DOTALL)


@dataclass(frozen=True)
class GraphUri:
    """Where a graph is.

    Attributes:
        text: the URI as it was given.
        scheme: what the store is registered under; empty for a path alone.
        path: file or folder of an embedded graph; None if the graph is on a server.
    """

    text: str
    scheme: str
    path: Path | None

    @classmethod
    def parse(cls, uri: str | Path) -> GraphUri:
        """Read a URI.

        Raises:
            StoreError: it holds a password, names an unknown kind of graph, or lacks its path.
        """
        text = str(uri)
        check_uri(text)
        scheme = _scheme(text)
        if scheme is None:
            return cls(text, "", Path(text))
        if not _is_registered(scheme):
            raise StoreError(f"{text}: found an unknown kind of graph {scheme!r}; expected {_expected()}")
        if _is_of_server(scheme, text):
            return cls(text, scheme, None)
        place = text[len(scheme) + 1 :]
        if scheme in _SERVERS:
            raise StoreError(f"{text}: found no server; expected {scheme}://HOST:PORT/DATABASE")
        if not place:
            raise StoreError(f"{text} found no folder; expected {scheme}:FOLDER, such as {scheme}:shop")
        return cls(text, scheme, Path(place))

    @property
    def is_server(self) -> bool:
        """Whether the graph is on a server."""
        return self.path is None

    @property
    def exists(self) -> bool:
        """Whether there is a graph, as far as that shows without connecting to a server."""
        return self.path is None or self.path.exists()

    @property
    def name(self) -> str:
        """The name that stays the same where the graph and its runs are moved together."""
        return self.text if self.path is None else self.path.name

    @property
    def runs_folder(self) -> Path:
        """The folder that holds the runs of the graph.

        It is beside a graph that is a file or a folder (`shop.lbug` and `oxigraph:shop` → `shop.runs`), and in the
        working directory for one on a server (`neo4j://host:7687/films` → `neo4j-host-7687-films.runs`).
        """
        if self.path is None:
            words = [self.scheme, *re.findall(r"[\w.]+", self.text.partition("://")[2])]
            return Path(f"{'-'.join(words)}.runs")
        path = self.path.resolve() if self.path.is_symlink() else self.path
        return path.with_name(f"{path.stem}.runs")

    def within(self, folder: Path) -> str:
        """Return the URI in which the relative path of an embedded graph starts at a folder."""
        if self.path is None:
            return self.text
        return f"{self.scheme}:{folder / self.path}" if self.scheme else str(folder / self.path)


def check_uri(uri: str | Path) -> None:
    """Refuse a URI that holds a user or a password: it would be in logs, metrics, receipts and names of folders.

    Raises:
        StoreError: it does; the error does not repeat it.
    """
    place, scheme = str(uri), _scheme(str(uri))
    if scheme and scheme not in _SERVERS and _is_registered(scheme) and not _is_of_server(scheme, place):
        place = place[len(scheme) + 1 :]
    if holds_password(place) or (_LIKE_A_USER.match(place) and not Path(place).exists()):
        raise StoreError(
            "found a user or a password in the URI of the graph; give them as NEO4J_USER and NEO4J_PASSWORD, or in the "
            "credentials file (docs/how-to/stores.md), and write neo4j://HOST:PORT/DATABASE"
        )


def has_scheme(text: str, scheme: str) -> bool:
    """Return whether a text is a URI of a scheme, such as "oxigraph"."""
    return _scheme(text) == scheme


def _scheme(text: str) -> str | None:
    """Return the scheme of a URI; None for the path of a file, also of one whose name looks like a scheme."""
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
