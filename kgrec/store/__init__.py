"""Graph stores: one port, one file an engine."""

from __future__ import annotations

import re
from pathlib import Path

from kgrec.errors import StoreError
from kgrec.store.base import GraphStore

_ELSEWHERE = re.compile(r"(neo4j|bolt)(\+s|\+ssc)?://|oxigraph:")


def open_store(uri: str | Path, read_only: bool = False) -> GraphStore:
    """Open a graph.

    Args:
        uri: path of an embedded graph such as `shop.lbug`; made if missing, unless `read_only`.
        read_only: only read, beside a writer or not.

    Raises:
        StoreLocked: another process is writing to it.
        StoreError: it cannot be opened, or is of an engine this version does not have.
    """
    engine = _ELSEWHERE.match(str(uri))
    if engine:
        raise StoreError(
            f"{uri}: {engine[1] or 'oxigraph'} stores are not available in this version; "
            "use a path such as shop.lbug for an embedded graph"
        )
    from kgrec.store.ladybug import LadybugStore

    return LadybugStore(uri, read_only)
