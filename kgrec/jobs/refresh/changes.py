"""What a source brings that a graph does not have yet: new and changed rows, checked before anything is written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.files import write_json
from kgrec._util.types import BoolArray
from kgrec.data.columns import to_mask
from kgrec.data.loader import find_loader
from kgrec.data.schema import Schema
from kgrec.data.tables import Gaps, GraphTables, check, seconds_of
from kgrec.errors import DataError, Problem, UsageError, WriteCutOff
from kgrec.store.base import GraphStore
from kgrec.store.merge import changes
from kgrec.store.uri import GraphUri

SOURCES: Final = "sources.json"
SHRUNK_SHARE: Final = 0.1
"""Share of the rows that a source had before, down to which it counts as cut off."""

FUTURE_LEEWAY_SECONDS: Final = 86_400.0
"""Seconds by which clocks may differ."""


@dataclass(frozen=True)
class IngestDelta:
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


def ingest_delta(
    store: GraphStore | None,
    loader: str,
    source: Any,
    schema: Schema | None = None,
    since: str | None = None,
    previous: Mapping[str, int] | None = None,
) -> IngestDelta:
    """Read a source and compare it with a graph, which is only read.

    What the source does not give, and a missing value of a node, leaves the value that the graph has.

    Args:
        store: the graph; None if there is none yet.
        loader: name of a loader.
        source: what the loader reads, or tables.
        schema: the vocabulary; the graph's if not given, and the loader's for a new graph.
        since: only behaviors from then on: a date and time in ISO 8601 (UTC where it does not say), or a number.
        previous: label or type → rows when the graph last took something in; a tenth of them or less is a problem.

    Raises:
        DataError: with every problem of the source; or it was written to while it was read.
        UsageError: no such loader, or a `since` that cannot be.
    """
    there = store.schema if store else None
    start = _start(since) if since is not None else None
    tables = source if isinstance(source, GraphTables) else _read(loader, source, schema or there)
    rows = tables.counts()
    problems = _shrunk(_name(source), previous or {}, rows)
    latest = time.time() + FUTURE_LEEWAY_SECONDS
    try:
        checked = store.check(tables, latest) if store and there else check(tables, latest=latest)
    except DataError as error:
        raise DataError([*problems, *error.problems]) from None
    if problems:
        raise DataError(problems)
    checked = checked if start is None else _since(checked, start)
    if store is None or there is None:
        return IngestDelta(checked, rows, {name: n for name, n in checked.counts().items() if n}, {})
    known = rows_of(store, there)
    nodes = {
        label: _changes(table, known.nodes.get(label), [checked.schema.nodes[label].key], _or_missing(checked, label))
        for label, table in checked.nodes.items()
    }
    edges = {
        t: _changes(table, known.edges.get(t), ["src", "dst", *checked.schema.edge_key(t[1])], checked.gaps.get(t, {}))
        for t, table in checked.edges.items()
    }
    parts = [
        GraphTables(
            checked.schema, {x: pair[i] for x, pair in nodes.items()}, {t: pair[i] for t, pair in edges.items()}
        )
        for i in (0, 1)
    ]
    new, changed = ({name: n for name, n in part.counts().items() if n} for part in parts)
    return IngestDelta(_both(*parts), rows, new, changed)


def rows_of(store: GraphStore, schema: Schema) -> GraphTables:
    """Return what a graph holds; nothing if a write was cut off, since taking in all of the source makes it whole."""
    try:
        return store.read()
    except WriteCutOff:
        return GraphTables(schema, {}, {})


def sizes_of(root: Path, graph: str) -> dict[str, int]:
    """Return label or type → rows of it that the graph took in when it last took any in.

    Args:
        root: folder of the graph's runs.
        graph: its URI.
    """
    return _sizes(root).get(GraphUri.parse(graph).name, {})


def record_sizes(root: Path, graph: str, rows: Mapping[str, int]) -> None:
    """Remember how many rows a source held; what it did not give stays as it was."""
    sizes = _sizes(root)
    write_json(
        root / SOURCES, {**sizes, GraphUri.parse(graph).name: {**sizes.get(GraphUri.parse(graph).name, {}), **rows}}
    )


def _shrunk(where: str, previous: Mapping[str, int], rows: Mapping[str, int]) -> list[Problem]:
    """Return a problem for each label or type of which there are a tenth of the rows there were, or fewer."""
    return [
        Problem(
            where,
            f"{rows[name]} rows of {name}, {n} when it was last taken in",
            "about as many as then; if that is right, pass --allow-shrink",
        )
        for name, n in previous.items()
        if name in rows and rows[name] <= SHRUNK_SHARE * n
    ]


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else "the source"


def _sizes(root: Path) -> dict[str, dict[str, int]]:
    try:
        return dict(json.loads((root / SOURCES).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _read(loader: str, source: Any, schema: Schema | None) -> GraphTables:
    """Read a source, and check that nobody wrote to its files meanwhile."""
    previous = _stamps(source)
    tables = find_loader(loader).load(source, schema)
    changed = sorted(set(previous.items()) ^ set(_stamps(source).items()))
    if changed:
        problem = "a file that was written to while it was read"
        raise DataError([Problem(changed[0][0], problem, "a finished file; run again when it is written")])
    return tables


def _stamps(source: Any) -> dict[str, tuple[int, int]]:
    """Return size and time of every file of a source."""
    if not isinstance(source, str | Path) or not Path(source).exists():
        return {}
    path = Path(source)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def _changes(incoming: pa.Table, there: pa.Table | None, keys: list[str], gaps: Gaps) -> tuple[pa.Table, pa.Table]:
    """Return the rows that are new and those that changed."""
    return (incoming, incoming.slice(0, 0)) if there is None else changes(there, incoming, keys, gaps)


def _or_missing(tables: GraphTables, label: str) -> Gaps:
    """Return the gaps of a label's nodes, a missing value counted as one."""
    gaps, table = tables.gaps.get(label, {}), tables.nodes[label]
    missing = {name: to_mask(pc.is_null(table.column(name))) for name in table.column_names}
    return {name: mask | gaps.get(name, False) for name, mask in missing.items()}


def _both(new: GraphTables, changed: GraphTables) -> GraphTables:
    nodes = {label: pa.concat_tables([table, changed.nodes[label]]) for label, table in new.nodes.items()}
    edges = {t: pa.concat_tables([table, changed.edges[t]]) for t, table in new.edges.items()}
    return GraphTables(
        new.schema,
        {label: table for label, table in nodes.items() if table.num_rows},
        {t: table for t, table in edges.items() if table.num_rows},
    )


def _since(tables: GraphTables, start: float) -> GraphTables:
    """Leave out the behaviors before a time."""
    edges, gaps = dict(tables.edges), dict(tables.gaps)
    for edge_type in filter(tables.schema.is_behavior, tables.edges):
        for name in tables.schema.edge_key(edge_type[1]):
            late: BoolArray = seconds_of(edges[edge_type].column(name)) >= start
            edges[edge_type] = edges[edge_type].filter(pa.array(late))
            gaps[edge_type] = {column: gap[late] for column, gap in gaps.get(edge_type, {}).items()}
    return replace(tables, edges=edges, gaps=gaps)


def _start(since: str) -> float:
    try:
        return float(since)
    except ValueError:
        return _seconds(since)


def _seconds(since: str) -> float:
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        raise UsageError(
            f"--since {since!r}; expected a date such as 2026-11-24, with a time or not, or a number"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
