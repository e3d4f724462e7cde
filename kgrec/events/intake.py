"""Intake of events: a refresh writes the events of the log to the graph as behaviors, each once.

The log is set aside first, so that events that arrive meanwhile go to a new one. Events that were set aside are read
again by every refresh, and change nothing then, because a behavior is identified by user, item and time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from kgrec._util.files import locked
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError
from kgrec.events.event import Event
from kgrec.events.log import LOG_FILE, TAKEN, parsed
from kgrec.store.base import GraphStore


def set_aside(folder: Path) -> None:
    """Set the log of a folder aside. Logs that were set aside are kept: an event in them is not taken a second time.

    Raises:
        StoreError: the folder cannot be written.
    """
    if not folder.is_dir():
        return
    try:
        with locked(folder):
            if (folder / LOG_FILE).exists():
                name = datetime.now(UTC).strftime(f"{TAKEN}%Y%m%d-%H%M%S-%f.jsonl")
                os.replace(folder / LOG_FILE, folder / name)
    except OSError as error:
        raise StoreError(f"the event log in {folder} cannot be used: {error.strerror or error}") from error


def logged_events(folder: Path) -> list[Event]:
    """Return the events of a folder, each id once, oldest log first.

    Raises:
        StoreError: a log cannot be read, or a line is not an event.
    """
    events: dict[str, Event] = {}
    for path in (*sorted(folder.glob(f"{TAKEN}*.jsonl")), folder / LOG_FILE):
        if path.exists():
            content = path.read_bytes()
            for event in parsed(content[: content.rfind(b"\n") + 1], path):
                events.setdefault(event.event_id, event)
    return list(events.values())


def tables_of(events: Sequence[Event], store: GraphStore) -> GraphTables:
    """Return events as tables for a graph, with a node for each new user.

    Events of items and behaviors that the graph does not have are left out: the service checked them when they
    arrived, so an item was removed since.
    """
    schema = store.require_schema()
    frame = pd.DataFrame([vars(event) for event in events])
    frame = frame[frame["behavior"].isin(list(schema.roles.behaviours))]
    users, items = (_labels(store, labels) for labels in (schema.roles.users, schema.roles.items))
    frame["dst_label"] = frame["item_id"].map(items)
    frame["src_label"] = frame["user_id"].map(users)
    new = frame["src_label"].isna()
    first = {name: schema.relationships[name].from_[0] for name in schema.roles.behaviours}
    frame.loc[new, "src_label"] = frame.loc[new, "behavior"].map(first)
    groups = frame.dropna(subset=["dst_label"]).groupby(["src_label", "behavior", "dst_label"], sort=False)
    edges = {key: _edges(schema, key, rows) for key, rows in groups if key in schema.all_edge_types()}
    known = frame[new & frame["dst_label"].notna()]
    nodes = {str(label): _nodes(schema, str(label), rows) for label, rows in known.groupby("src_label", sort=False)}
    return GraphTables(schema, nodes, edges)


def _labels(store: GraphStore, labels: Sequence[str]) -> dict[str, str]:
    """Return key → label of the nodes of some labels."""
    return {id_: label for label in reversed(labels) for id_ in store.ids(label).to_pylist()}


def _edges(schema: Schema, key: EdgeType, rows: pd.DataFrame) -> pa.Table:
    behavior = schema.roles.behaviours[key[1]]
    columns = {"src": pa.array(rows["user_id"], pa.string()), "dst": pa.array(rows["item_id"], pa.string())}
    if behavior.time:
        whole = schema.relationships[key[1]].properties[behavior.time] == "int"
        columns[behavior.time] = pa.array(rows["timestamp"].round() if whole else rows["timestamp"], pa.float64())
    if behavior.weight and rows["weight"].notna().any():
        columns[behavior.weight] = pa.array(rows["weight"].astype("Float64"), pa.float64(), from_pandas=True)
    table = pd.DataFrame(columns)
    kept = table.drop_duplicates([name for name in ("src", "dst", behavior.time) if name], keep="last")
    return pa.Table.from_pandas(kept, preserve_index=False)


def _nodes(schema: Schema, label: str, rows: pd.DataFrame) -> pa.Table:
    return pa.table({schema.nodes[label].key: pa.array(rows["user_id"].unique(), pa.string())})
