"""Copy a graph from one engine to another."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import StoreError, UsageError
from kgrec.keeping import check_there
from kgrec.progress import say
from kgrec.snapshot import GraphSnapshot
from kgrec.store import open_store
from kgrec.store.base import GraphStore


def copy_graph(source: str, target: str) -> dict[str, Any]:
    """Copy what was loaded into a graph to another engine, and check that both are equal; safe to run again.

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
    with open_store(source, read_only=True) as there:
        say(f"reading {source}")
        snapshot = there.snapshot()
    with open_store(target) as here:
        _check_free(here, snapshot)
        say(f"writing {target}")
        tables = here.write(snapshot.to_tables())
        say("comparing both")
        digest = here.snapshot().digest
    check_there(source, snapshot, f"they are in {target} now, so remove that graph")
    if digest != snapshot.digest:
        raise StoreError(f"{target} holds other rows beside the copy of {source}; copy into an empty graph")
    return {**tables.counts(), "digest": digest}


def _check_free(store: GraphStore, snapshot: GraphSnapshot) -> None:
    schema = store.schema()
    if schema is None:
        return
    if schema != snapshot.schema:
        raise UsageError(f"{store.uri} holds a graph of schema {schema.name!r} already; copy into an empty graph")
    for label in schema.nodes:
        known = snapshot.ids(label) if label in snapshot.nodes else pa.array([], pa.string())
        others = pc.invert(pc.is_in(store.ids(label), value_set=known))
        if pc.any(others).as_py():
            raise UsageError(f"{store.uri} holds {label} nodes that the source does not have; copy into an empty graph")
