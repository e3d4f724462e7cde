"""Train/test splits of frames and graphs, by the protocols of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar, overload

import numpy as np
import pandas as pd
import pyarrow as pa

from kgrec._util.types import BoolArray, IntArray
from kgrec.data.frames import as_table, is_frame, lacking
from kgrec.data.interactions import from_interactions
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import SPLITS, Split
from kgrec.errors import DataError, UsageError, listed, near_matches
from kgrec.evaluation.protocols import PROTOCOLS
from kgrec.store.inputs import as_snapshot

HOLDS_OUT: Final[dict[str, Callable[..., Split]]] = {
    **{name: cut for name, cut in SPLITS.items() if name != "none"},
    **PROTOCOLS,
}
"""Protocol → function that splits a graph by it."""


class _Arrow(Protocol):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


Frame = TypeVar("Frame", bound=_Arrow)


@overload
def split(data: Frame, protocol: str = ..., *, seed: int = ..., **options: Any) -> tuple[Frame, Frame]: ...
@overload
def split(data: Any, protocol: str = ..., *, seed: int = ..., **options: Any) -> Any: ...


def split(data: Any, protocol: str = "last", *, seed: int = 0, **options: Any) -> Any:
    """Split interactions into train and test.

    A held-out interaction whose user and item also interact in train is in neither part, since items that a user has
    seen are not recommended.

    Args:
        data: a frame of interactions (pandas, polars or Arrow) with user_id, item_id and, for protocols by time,
            timestamp; or `GraphTables`, an open graph, its path or URI, or a snapshot.
        protocol: "last" (last interactions of every user), "time" (latest of all), "random" (of every user), "warm"
            (latest of every user in each domain), "cold-user", "cold-item", "cold-target", "cross-domain", or of a
            graph "given" (as marked in the data); docs/how-to/evaluation.md describes them.
        seed: makes random draws repeat.
        options: `fraction` to hold out (default 0.1), or for "last" the number `n` of interactions (default 1); for a
            frame, the names of the columns `user_id`, `item_id`, `timestamp`, `behavior` if they differ.

    Returns:
        For a frame, train and test: frames of the same type with all columns. For a graph, a `Split`, which
        `Recommender.fit` and `Recommender.evaluate` accept.

    Raises:
        UsageError: a protocol or option is unknown, a fraction is not between 0 and 1, `data` is neither frame nor
            graph, or it cannot be split by the protocol.
        DataError: the frame has problems; the error lists all of them.
    """
    columns: dict[str, str] = {
        name: options.pop(name) for name in ("user_id", "item_id", "timestamp", "behavior") if name in options
    }
    cut = _cutter(protocol, seed, options)
    if is_frame(data):
        return _split_frame(data, cut, columns)
    if columns:
        raise UsageError(f"column names given for a graph: {listed(columns)}. Expected them for a frame only")
    return cut(merge_linked_users(as_snapshot(data)))


def _cutter(protocol: str, seed: int, options: dict[str, Any]) -> Callable[[GraphSnapshot], Split]:
    if protocol not in HOLDS_OUT:
        near = near_matches(str(protocol), HOLDS_OUT)
        raise UsageError(f"unknown protocol {protocol!r}{near}. Expected one of {', '.join(HOLDS_OUT)}")
    cut = HOLDS_OUT[protocol]
    known = set(inspect.signature(cut).parameters) & {"fraction", "n", "seed"}
    if unknown := options.keys() - known:
        expected = listed(sorted(known - {"seed"})) or "none"
        raise UsageError(f"unknown option of protocol {protocol!r}: {listed(sorted(unknown))}. Expected {expected}")
    if "fraction" in options and not (isinstance(options["fraction"], float) and 0 < options["fraction"] < 1):
        raise UsageError(f"fraction={options['fraction']!r}. Expected a share above 0 and below 1")
    if "n" in options and not (isinstance(options["n"], int | np.integer) and options["n"] >= 1):
        raise UsageError(f"n={options['n']!r}. Expected a whole number of interactions of every user, at least 1")
    return partial(cut, **options, **({"seed": seed} if "seed" in known else {}))


def _split_frame(frame: Any, cut: Callable[[GraphSnapshot], Split], columns: dict[str, str]) -> tuple[Any, Any]:
    names = {role: columns.get(role, role) for role in ("user_id", "item_id", "timestamp", "behavior")}
    table, problems = as_table(frame, "interactions")
    needed = {role: name for role, name in names.items() if role in ("user_id", "item_id", *columns)}
    problems += lacking(table, "interactions", needed)
    if problems:
        raise DataError(problems)
    there = {role: name for role, name in names.items() if name in table.column_names}
    events, event_num = _events(table.select(list(there.values())), there.get("timestamp"))
    numbers = pa.array(np.arange(events.num_rows, dtype=np.float64))
    graph = from_interactions(events.append_column("_event", numbers), weight="_event", **there)
    part = _parts(cut(GraphSnapshot.from_tables(graph)), events.num_rows)[event_num]
    return _chosen(frame, table, part == 1), _chosen(frame, table, part == 2)


def _events(keys: pa.Table, timestamp: str | None) -> tuple[pa.Table, IntArray]:
    """Return the distinct rows, earliest first, and for each row its number among them, int64 [n]."""
    frame = keys.to_pandas(ignore_metadata=True)
    by_time = frame.sort_values(timestamp, kind="stable") if timestamp else frame
    numbers = by_time.groupby(list(frame.columns), sort=False, dropna=False).ngroup()
    first = by_time.index[~by_time.duplicated()]
    return keys.take(pa.array(first)), numbers.sort_index().to_numpy(np.int64)


def _parts(cut: Split, n_events: int) -> IntArray:
    """Return the part of each event, int64 [n]: 0 for neither, 1 for train, 2 for test.

    The event's number is stored as the weight of the interaction, the only numeric column that is always available.
    """
    edges = [cut.graph.edges[edge_type] for edge_type in cut.graph.edges if cut.graph.schema.is_behavior(edge_type)]
    event = np.concatenate([each.table.column("weight").to_numpy() for each in edges]).astype(np.int64)
    part: IntArray = np.zeros(n_events, np.int64)
    part[event] = np.where(cut.is_test, 2, 1)
    return part


def _chosen(frame: Any, table: pa.Table, rows: BoolArray) -> Any:
    """Return rows of a frame as a frame of the same type."""
    if isinstance(frame, pd.DataFrame):
        return frame[rows]
    chosen = table.filter(pa.array(rows))
    return chosen if isinstance(frame, pa.Table) else type(frame)(chosen)
