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
from kgrec.runs.erasure_guard import check_there
from kgrec.store import open_graph
from kgrec.store.base import GraphStore

logger = logging.getLogger(__name__)


def copy_graph(source: str, target: str) -> dict[str, Any]:
    """Copy what was loaded into a graph to another engine, and check that both are equal; safe to run again.

    A copy that fails leaves no new graph behind; on a server, and where there was one, the error says what is left.
    What was published is not copied: publish the run to the new graph.

    Args:
        source: URI of the graph; it is only read.
        target: URI of an empty graph, or of one that an earlier copy of the same graph was cut off in.

    Returns:
        Counts of nodes and relationships, and the digest that both graphs have.

    Raises:
        UsageError: both are the same, or the target holds something else.
        StoreError: a graph cannot be read or written, or they are not equal in the end.
    """
    if source == target:
        raise UsageError(f"found {source} as source and as target; expected two graphs")
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
                raise StoreError(f"{target} holds other rows than {source}; copy into an empty graph")
            check_there(source, snapshot, "the copy was not kept")
    return {**tables.counts(), "digest": digest}


@contextmanager
def _atomic(store: GraphStore) -> Iterator[None]:
    """Remove a new graph if the block fails; where that cannot be, say what is left."""
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
            f"{error}\n{uri} holds {left} from this copy or an earlier one; empty it, then copy again"
        ) from error


def _left(store: GraphStore) -> str:
    """Return how many nodes of each label a graph has."""
    schema = store.schema
    counts = {label: len(store.ids(label)) for label in (schema.nodes if schema else ())}
    return ", ".join(f"{n:,} {label}" for label, n in counts.items() if n)


def _check_free(store: GraphStore, snapshot: GraphSnapshot) -> None:
    schema = store.schema
    if schema is None:
        return
    if schema != snapshot.schema:
        raise UsageError(f"{store.uri} holds a graph of schema {schema.name!r} already; copy into an empty graph")
    for label in schema.nodes:
        known = snapshot.ids(label) if label in snapshot.nodes else pa.array([], pa.string())
        others = pc.invert(pc.is_in(store.ids(label), value_set=known))
        if pc.any(others).as_py():
            raise UsageError(f"{store.uri} holds {label} nodes that the source does not have; copy into an empty graph")
