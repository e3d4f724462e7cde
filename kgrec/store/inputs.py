"""Conversion of every accepted training input (frame, tables, store, path, snapshot, split) to one `Split`."""

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
"""Inputs that `as_split` accepts, for error messages."""


def as_split(data: Any) -> Split:
    """Return training data as a split of one graph in which linked users are merged.

    Interactions marked "valid" or "test" in the graph form the validation and test splits; without such marks all
    interactions are training data.

    Args:
        data: one of `ACCEPTED`.

    Raises:
        UsageError: the data are of another type.
        DataError: a frame or tables have problems.
        StoreError: the graph at the path or URI does not exist or cannot be read.
    """
    if isinstance(data, Split):
        return data
    snapshot = merge_linked_users(as_snapshot(data))
    marked = np.isin(snapshot.behaviors.split, ["valid", "test"]).any()
    return by_given(snapshot) if marked else uncut(snapshot)


def as_snapshot(data: Any) -> GraphSnapshot:
    """Return the snapshot of a graph given as a frame, tables, store, path or URI.

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
    raise UsageError(f"the data are of type {type(data).__name__}. Expected {ACCEPTED}")
