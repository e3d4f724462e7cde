"""Copy a graph from one engine to another."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import KgrecError, StoreError, UsageError
from kgrec.runs.erasure_guard import check_unerased
from kgrec.store import open_graph
from kgrec.store.base import GraphStore

logger = logging.getLogger(__name__)


def copy_graph(source: str, target: str) -> dict[str, Any]:
    """Copy the loaded data of a graph to another engine, and verify that both graphs are equal. Safe to re-run.

    A failed copy removes the new graph. On a server, or in a graph that existed before, the error says which nodes are
    left. Published recommendations and vectors are not copied: publish the run to the new graph.

    Args:
        source: URI of the graph; read only.
        target: URI of an empty graph, or of one with an interrupted copy of the same graph.

    Returns:
        Counts of nodes and relationships, and the digest of both graphs.

    Raises:
        UsageError: both URIs are the same, or the target holds other data.
        StoreError: a graph cannot be read or written, or the copy differs from its source.
    """
    if source == target:
        raise UsageError(f"source and target are the same: {source}. Expected two graphs")
    with open_graph(source, read_only=True) as there:
        logger.info(f"reading {source}")
        snapshot = there.snapshot()
    with open_graph(target, create=True) as here:
        _check_free(here, snapshot)
        with _atomic(here):
            logger.info(f"writing {target}")
            tables = here.write(snapshot.to_tables())
            logger.info("comparing both")
            digest = here.snapshot().digest
            if digest != snapshot.digest:
                raise StoreError(f"{target} holds other rows than {source}. Expected an empty target")
            check_unerased(source, snapshot, "the copy was not kept")
    return {**tables.counts(), "digest": digest}


@contextmanager
def _atomic(store: GraphStore) -> Iterator[None]:
    """Remove a new graph if the block fails; if it cannot be removed, name the nodes left in the error."""
    uri = store.uri
    try:
        yield
    except BaseException as error:
        if store.drop() or not isinstance(error, KgrecError):
            raise
        left = _left(store)
        if not left:
            raise
        raise StoreError(
            f"{error}\n{uri} holds {left} from this copy or an earlier one. Empty it, then copy again"
        ) from error


def _left(store: GraphStore) -> str:
    """Return the number of nodes of each label, as text; empty for an empty graph."""
    schema = store.schema
    counts = {label: len(store.ids(label)) for label in (schema.nodes if schema else ())}
    return ", ".join(f"{n:,} {label}" for label, n in counts.items() if n)


def _check_free(store: GraphStore, snapshot: GraphSnapshot) -> None:
    schema = store.schema
    if schema is None:
        return
    if schema != snapshot.schema:
        raise UsageError(f"{store.uri} holds a graph of schema {schema.name!r}. Expected an empty target")
    for label in schema.nodes:
        known = snapshot.ids(label) if label in snapshot.nodes else pa.array([], pa.string())
        others = pc.invert(pc.is_in(store.ids(label), value_set=known))
        if pc.any(others).as_py():
            raise UsageError(f"{store.uri} holds {label} nodes that the source does not have. Expected an empty target")
