"""Delta of a source: its rows that are new to the graph or changed, validated before they are written."""

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
from kgrec.data.columns import column_numbers, to_mask
from kgrec.data.loader import find_loader
from kgrec.data.schema import Schema
from kgrec.data.table_checks import check
from kgrec.data.tables import Gaps, GraphTables
from kgrec.errors import DataError, Problem, UsageError, WriteCutOff
from kgrec.store.base import GraphStore
from kgrec.store.merge import changes
from kgrec.store.uri import GraphUri

SIZES_FILE: Final = "sources.json"
SHRUNK_SHARE: Final = 0.1
"""A source with this share of its earlier rows, or less, is treated as truncated."""

FUTURE_LEEWAY_SECONDS: Final = 86_400.0
"""Allowed clock difference: timestamps later than now by more are errors."""


@dataclass(frozen=True)
class IngestDelta:
    """The rows of a source that are new to a graph or changed.

    Attributes:
        tables: the new and changed rows.
        rows: label or type → number of rows in the source.
        new, changed: label or type → number of new or changed rows.
    """

    tables: GraphTables
    rows: Mapping[str, int]
    new: Mapping[str, int]
    changed: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether the graph already has every row of the source."""
        return not (self.new or self.changed)


def ingest_delta(
    store: GraphStore | None,
    loader: str,
    source: Any,
    schema: Schema | None = None,
    since: str | None = None,
    previous: Mapping[str, int] | None = None,
) -> IngestDelta:
    """Return the rows of a source that a graph does not have, or has with other values. The graph is only read.

    A column that the source lacks, or a missing value of a node, does not change the value in the graph.

    Args:
        store: the graph; None if it does not exist yet.
        loader: name of a loader.
        source: input of the loader, or tables.
        schema: the schema; default: the graph's, or for a new graph the loader's.
        since: ingest only behaviors from this time on: ISO 8601 (UTC if without a zone), or a number.
        previous: label or type → rows at the last ingest; a tenth of them or fewer is an error.

    Raises:
        DataError: lists every problem of the source; or a file changed while it was read.
        UsageError: an unknown loader, or an invalid `since`.
    """
    there = store.schema if store else None
    start = _start(since) if since is not None else None
    tables = source if isinstance(source, GraphTables) else _read(loader, source, schema or there)
    rows = tables.counts()
    problems = _shrink_problems(_name(source), previous or {}, rows)
    latest = time.time() + FUTURE_LEEWAY_SECONDS
    try:
        checked = store.check(tables, latest) if store and there else check(tables, latest=latest)
    except DataError as error:
        raise DataError([*problems, *error.problems]) from None
    if problems:
        raise DataError(problems)
    checked = checked if start is None else _behaviors_since(checked, start)
    if store is None or there is None:
        return IngestDelta(checked, rows, {name: n for name, n in checked.counts().items() if n}, {})
    parts = _new_and_changed(checked, rows_of(store, there))
    new, changed = ({name: n for name, n in part.counts().items() if n} for part in parts)
    return IngestDelta(_concatenated(*parts), rows, new, changed)


def _new_and_changed(tables: GraphTables, known: GraphTables) -> tuple[GraphTables, GraphTables]:
    """Return the rows of tables that are not in `known`, and those with other values there."""
    nodes = {
        label: _changes(table, known.nodes.get(label), [tables.schema.nodes[label].key], _or_missing(tables, label))
        for label, table in tables.nodes.items()
    }
    edges = {
        t: _changes(table, known.edges.get(t), ["src", "dst", *tables.schema.edge_key(t[1])], tables.gaps.get(t, {}))
        for t, table in tables.edges.items()
    }
    new, changed = (
        GraphTables(tables.schema, {x: pair[i] for x, pair in nodes.items()}, {t: pair[i] for t, pair in edges.items()})
        for i in (0, 1)
    )
    return new, changed


def rows_of(store: GraphStore, schema: Schema) -> GraphTables:
    """Return the rows of a graph; none after an interrupted write, so that the whole source is written again."""
    try:
        return store.read()
    except WriteCutOff:
        return GraphTables(schema, {}, {})


def sizes_of(root: Path, graph: str) -> dict[str, int]:
    """Return label or type → number of rows in the source that was last ingested.

    Args:
        root: folder of the graph's runs.
        graph: URI of the graph.
    """
    return _sizes(root).get(GraphUri.parse(graph).name, {})


def record_sizes(root: Path, graph: str, rows: Mapping[str, int]) -> None:
    """Store the number of rows of a source; labels and types that it lacks keep their earlier number."""
    sizes = _sizes(root)
    write_json(
        root / SIZES_FILE, {**sizes, GraphUri.parse(graph).name: {**sizes.get(GraphUri.parse(graph).name, {}), **rows}}
    )


def _shrink_problems(where: str, previous: Mapping[str, int], rows: Mapping[str, int]) -> list[Problem]:
    """Return a problem for each label or type with a tenth of its earlier rows, or fewer."""
    return [
        Problem(
            where,
            f"{rows[name]} rows of {name}, {n} at the last ingest",
            "about as many rows; if the source did shrink, pass --allow-shrink",
        )
        for name, n in previous.items()
        if name in rows and rows[name] <= SHRUNK_SHARE * n
    ]


def _name(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else "the source"


def _sizes(root: Path) -> dict[str, dict[str, int]]:
    try:
        return dict(json.loads((root / SIZES_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _read(loader: str, source: Any, schema: Schema | None) -> GraphTables:
    """Return the tables of a source, after checking that its files did not change during the read."""
    previous = _file_stamps(source)
    tables = find_loader(loader).load(source, schema)
    changed = sorted(set(previous.items()) ^ set(_file_stamps(source).items()))
    if changed:
        problem = "a file that changed while it was read"
        raise DataError([Problem(changed[0][0], problem, "a complete file; run again when it is written")])
    return tables


def _file_stamps(source: Any) -> dict[str, tuple[int, int]]:
    """Return size (bytes) and modification time (ns) of each file of a source."""
    if not isinstance(source, str | Path) or not Path(source).exists():
        return {}
    path = Path(source)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def _changes(incoming: pa.Table, there: pa.Table | None, keys: list[str], gaps: Gaps) -> tuple[pa.Table, pa.Table]:
    """Return the new rows and the changed rows."""
    return (incoming, incoming.slice(0, 0)) if there is None else changes(there, incoming, keys, gaps)


def _or_missing(tables: GraphTables, label: str) -> Gaps:
    """Return property → mask of the nodes without a value, bool [rows]: in gaps of the source, or null."""
    gaps, table = tables.gaps.get(label, {}), tables.nodes[label]
    missing = {name: to_mask(pc.is_null(table.column(name))) for name in table.column_names}
    return {name: mask | gaps.get(name, False) for name, mask in missing.items()}


def _concatenated(new: GraphTables, changed: GraphTables) -> GraphTables:
    nodes = {label: pa.concat_tables([table, changed.nodes[label]]) for label, table in new.nodes.items()}
    edges = {t: pa.concat_tables([table, changed.edges[t]]) for t, table in new.edges.items()}
    return GraphTables(
        new.schema,
        {label: table for label, table in nodes.items() if table.num_rows},
        {t: table for t, table in edges.items() if table.num_rows},
    )


def _behaviors_since(tables: GraphTables, start: float) -> GraphTables:
    """Return the tables without behaviors before a time (epoch seconds)."""
    edges, gaps = dict(tables.edges), dict(tables.gaps)
    for edge_type in filter(tables.schema.is_behavior, tables.edges):
        for name in tables.schema.edge_key(edge_type[1]):
            late: BoolArray = column_numbers(edges[edge_type].column(name)) >= start
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
            f"invalid --since: {since!r}. Expected a date such as 2026-11-24, optionally with a time, or a number"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
