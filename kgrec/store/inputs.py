"""What a model can learn from: whatever holds interactions becomes a split of one graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kgrec.data.frames import is_frame
from kgrec.data.interactions import from_interactions
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given, uncut
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import UsageError
from kgrec.store import open_graph
from kgrec.store.base import GraphStore

ACCEPTED = (
    "a frame of interactions (pandas, polars or Arrow, with user_id and item_id), GraphTables such as kgrec.load "
    "returns, an open graph, its path or URI, a snapshot, or a split"
)
"""What `as_split` takes, for messages."""


def as_split(data: Any) -> Split:
    """Return what a model can learn from as a split of one graph, in which linked users are one.

    A graph is cut by the marks that its behaviors carry; without any, everything is train.

    Args:
        data: see `ACCEPTED`.

    Raises:
        UsageError: it is something else.
        DataError: a frame or tables have problems.
        StoreError: there is no graph at the path or URI, or it cannot be read.
    """
    if isinstance(data, Split):
        return data
    snapshot = merge_linked_users(as_snapshot(data))
    marked = np.isin(snapshot.behaviors.split, ["valid", "test"]).any()
    return by_given(snapshot) if marked else uncut(snapshot)


def as_snapshot(data: Any) -> GraphSnapshot:
    """Return the graph of a frame, of tables, of a store or at a path, as a snapshot; see `as_split`.

    Raises:
        UsageError, DataError, StoreError: as `as_split`.
    """
    if isinstance(data, GraphSnapshot):
        return data
    if isinstance(data, GraphStore):
        return data.snapshot()
    if isinstance(data, str | Path):
        with open_graph(data, read_only=True) as store:
            return store.snapshot()
    if isinstance(data, GraphTables):
        return GraphSnapshot.from_tables(check(data))
    if is_frame(data):
        return GraphSnapshot.from_tables(from_interactions(data))
    raise UsageError(f"found a {type(data).__name__}; expected {ACCEPTED}")
