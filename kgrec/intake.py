"""What a source brings that a graph does not have yet: new and changed rows, checked before anything is written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.files import write_json
from kgrec.columns import BoolArray, is_datetime, to_mask
from kgrec.errors import DataError, Problem, UsageError, WriteCutOff
from kgrec.loading import find_loader
from kgrec.schema import EdgeType, Schema
from kgrec.store.base import GraphStore
from kgrec.store.merge import changes
from kgrec.tables import GraphTables, check

SOURCES: Final = "sources.json"
SHRUNK: Final = 0.1
"""Share of the rows that a source had before, down to which it counts as cut off."""

CLOCKS: Final = 86_400.0
"""Seconds by which clocks may differ."""


@dataclass(frozen=True)
class Intake:
    """What a source brings.

    Attributes:
        tables: the new and changed rows alone.
        rows: label or type → rows of the source.
        new, changed: label or type → rows.
    """

    tables: GraphTables
    rows: Mapping[str, int]
    new: Mapping[str, int]
    changed: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether the graph has everything already."""
        return not (self.new or self.changed)


def take_in(
    store: GraphStore | None, loader: str, source: Any, schema: Schema | None = None, since: str | None = None
) -> Intake:
    """Read a source and compare it with a graph, which is only read.

    A missing value of a node leaves the value that the graph has.

    Args:
        store: the graph; None if there is none yet.
        loader: name of a loader.
        source: what the loader reads, or tables.
        schema: the vocabulary; the graph's if not given, and the loader's for a new graph.
        since: only behaviours from then on: a date and time in ISO 8601 (UTC where it does not say), or a number.

    Raises:
        DataError: with every problem of the source; or it was written to while it was read.
        UsageError: no such loader, or a `since` that cannot be.
    """
    there = store.schema() if store else None
    tables = source if isinstance(source, GraphTables) else _read(loader, source, schema or there)
    rows = tables.counts()
    checked = store.check(tables) if store and there else check(tables)
    _check_clocks(checked)
    checked = _since(checked, since) if since is not None else checked
    if store is None or there is None:
        return Intake(checked, rows, {name: n for name, n in checked.counts().items() if n}, {})
    try:
        known = store.read()
    except WriteCutOff:  # taking in all of the source again makes it whole
        known = GraphTables(there, {}, {})
    _check_labels(checked, known)
    nodes = {
        label: _changes(table, known.nodes.get(label), [checked.schema.nodes[label].key], True)
        for label, table in checked.nodes.items()
    }
    edges = {
        t: _changes(table, known.edges.get(t), ["src", "dst", *checked.schema.edge_key(t[1])], False)
        for t, table in checked.edges.items()
    }
    parts = [
        GraphTables(
            checked.schema, {x: pair[i] for x, pair in nodes.items()}, {t: pair[i] for t, pair in edges.items()}
        )
        for i in (0, 1)
    ]
    new, changed = ({name: n for name, n in part.counts().items() if n} for part in parts)
    return Intake(_both(*parts), rows, new, changed)


def check_size(root: Path, source: Any, rows: Mapping[str, int]) -> None:
    """Compare a source with what it held when it was taken in last.

    Args:
        root: folder of the graph's runs.
        source: as given.
        rows: label or type → rows now.

    Raises:
        DataError: of some label or type there is a tenth or less.
    """
    before = _sizes(root).get(_name(source), {})
    problems = [
        Problem(
            str(source),
            f"{rows.get(name, 0)} rows of {name}, {n} when it was last taken in",
            "about as many as then; if that is right, pass --allow-shrink",
        )
        for name, n in before.items()
        if rows.get(name, 0) <= SHRUNK * n
    ]
    if problems:
        raise DataError(problems)


def note_size(root: Path, source: Any, rows: Mapping[str, int]) -> None:
    """Remember what a source held."""
    if not isinstance(source, GraphTables):
        write_json(root / SOURCES, {**_sizes(root), _name(source): dict(rows)})


def _name(source: Any) -> str:
    return str(Path(source).resolve()) if isinstance(source, str | Path) and Path(source).exists() else str(source)


def _sizes(root: Path) -> dict[str, dict[str, int]]:
    try:
        return dict(json.loads((root / SOURCES).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _read(loader: str, source: Any, schema: Schema | None) -> GraphTables:
    """Read a source, and check that nobody wrote to its files meanwhile."""
    before = _stamps(source)
    tables = find_loader(loader).load(source, schema)
    changed = sorted(set(before.items()) ^ set(_stamps(source).items()))
    if changed:
        found = "a file that was written to while it was read"
        raise DataError([Problem(changed[0][0], found, "a finished file; run again when it is written")])
    return tables


def _stamps(source: Any) -> dict[str, tuple[int, int]]:
    """Return size and time of every file of a source."""
    if not isinstance(source, str | Path) or not Path(source).exists():
        return {}
    path = Path(source)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def _changes(
    incoming: pa.Table, there: pa.Table | None, keys: list[str], keep_known: bool
) -> tuple[pa.Table, pa.Table]:
    """Return the rows that are new and those that changed; with `keep_known` a missing value changes nothing."""
    if there is None:
        return incoming, incoming.slice(0, 0)
    there = there.select(incoming.column_names).cast(incoming.schema)
    if keep_known:
        at = pc.index_in(incoming.column(keys[0]), value_set=there.column(keys[0]))
        columns = [pc.coalesce(incoming.column(name), there.column(name).take(at)) for name in incoming.column_names]
        incoming = pa.table(columns, schema=incoming.schema)
    return changes(there, incoming, keys)


def _both(new: GraphTables, changed: GraphTables) -> GraphTables:
    nodes = {label: pa.concat_tables([table, changed.nodes[label]]) for label, table in new.nodes.items()}
    edges = {t: pa.concat_tables([table, changed.edges[t]]) for t, table in new.edges.items()}
    return GraphTables(
        new.schema,
        {label: table for label, table in nodes.items() if table.num_rows},
        {t: table for t, table in edges.items() if table.num_rows},
    )


def _check_clocks(tables: GraphTables) -> None:
    """Report behaviours of the future: a clock that is wrong would count as the latest for ever."""
    problems = []
    for edge_type, seconds in _times(tables).items():
        for row in np.flatnonzero(seconds > time.time() + CLOCKS)[:20].tolist():
            where, line, _ = tables.locate(edge_type, row)
            at = f"{datetime.fromtimestamp(seconds[row]):%Y-%m-%d %H:%M}"
            problems.append(Problem(where, f"a time in the future, {at}", "a time up to now; see the clock", line))
    if problems:
        raise DataError(problems)


def _since(tables: GraphTables, since: str) -> GraphTables:
    """Leave out the behaviours before a time."""
    try:
        start = float(since)
    except ValueError:
        start = _seconds(since)
    edges: dict[EdgeType, pa.Table] = dict(tables.edges)
    for edge_type, seconds in _times(tables).items():
        late: BoolArray = seconds >= start
        edges[edge_type] = edges[edge_type].filter(pa.array(late))
    return replace(tables, edges=edges)


def _seconds(since: str) -> float:
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        raise UsageError(
            f"--since {since!r}; expected a date such as 2026-11-24, with a time or not, or a number"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _times(tables: GraphTables) -> dict[EdgeType, Any]:
    """Return the times of behaviours that have any, float64 [n] in seconds."""
    found = {}
    for edge_type, table in tables.edges.items():
        name = tables.schema.edge_key(edge_type[1]) if tables.schema.is_behaviour(edge_type) else []
        if name:
            column = table.column(name[0])
            scale = 1e6 if is_datetime(column) else 1.0
            numbers = column.cast(pa.int64()) if is_datetime(column) else column
            found[edge_type] = numbers.cast(pa.float64(), safe=False).to_numpy() / scale
    return found


def _check_labels(tables: GraphTables, known: GraphTables) -> None:
    """Report ids that the graph has with another label of the same role: they would be two nodes of one id."""
    problems = []
    for labels in (tables.schema.roles.users, tables.schema.roles.items):
        for label in (name for name in labels if name in tables.nodes):
            ids = tables.nodes[label].column(tables.schema.nodes[label].key)
            for other in (name for name in labels if name != label and name in known.nodes):
                there = known.nodes[other].column(known.schema.nodes[other].key)
                for row in np.flatnonzero(to_mask(pc.is_in(ids, value_set=there)))[:20].tolist():
                    found = f"{ids[row].as_py()!r} as {label}, in the graph a {other}"
                    problems.append(Problem(label, found, "the same label, or another id", row + 1))
    if problems:
        raise DataError(problems)
