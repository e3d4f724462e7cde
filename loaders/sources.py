"""Sources of the tables loader (files, data frames, queries of other graphs) as Arrow tables with row origins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kgrec.data.arrow import from_cells, is_text, plain
from kgrec.data.frames import as_table, is_frame
from kgrec.data.table_rows import shown
from kgrec.data.tables import Origin, locate
from kgrec.errors import DataError, Problem, UsageError
from kgrec.store import open_graph
from kgrec.store.results import of_one_type
from kgrec.store.uri import GraphUri
from loaders.delimited import CSV, MAX_COLUMNS, TSV, read_delimited
from loaders.json_lines import objects
from loaders.lists import MIXED

Source = tuple[pa.Table, tuple[Origin, ...]]

QUERY: Final = ("graph", "query")
"""Keys of a query source: URI of the graph, and a query in the graph's language (Cypher or SPARQL)."""

_SECONDS, _ROWS = 3600.0, 100_000_000
"""Limits of a query source, large enough to read a complete catalog."""


def read_source(source: Any, name: str, folder: Path, problems: list[Problem]) -> Source:
    """Return (table, origins) of a source, without the rows that cannot be read.

    Args:
        source: path of a .csv, .tsv, .parquet, .jsonl or .ndjson file; a pandas, polars or Arrow table, which is not
            changed; or a query, as a mapping with the keys of `QUERY`.
        name: name of a data frame in error messages.
        folder: base folder of a relative path.
        problems: problems of single rows and cells are appended; such a cell is null.

    Raises:
        DataError: the source cannot be read at all.
        StoreError: the graph of a query cannot be read, or refuses the query.
    """
    table, origins = _read(source, name, folder, problems)
    columns = [column.strip() for column in table.column_names]
    _check_names(columns, origins[0].where if origins else name)
    return table.rename_columns(columns), origins


def _read(source: Any, name: str, folder: Path, problems: list[Problem]) -> Source:
    if isinstance(source, Mapping):
        return _ask(source, name, folder)
    if isinstance(source, pa.Table):
        return _plain(source, name), (Origin(name, 1, source.num_rows),)
    if isinstance(source, pd.DataFrame):
        return _from_pandas(source, name, problems), (Origin(name, 1, len(source)),)
    if isinstance(source, str | Path):
        return _read_file(folder / source, problems)
    if is_frame(source):
        table = _from_stream(source, name)
        return table, (Origin(name, 1, table.num_rows),)
    expected = "a file, a pandas or polars DataFrame, an Arrow table, or a mapping with graph and query"
    raise DataError([Problem(name, f"a source of type {type(source).__name__}", expected)])


def _read_file(path: Path, problems: list[Problem]) -> Source:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        found = f"a file that ends in {path.suffix!r}" if path.suffix else "a file without an ending"
        raise DataError([Problem(str(path), found, f"one of {', '.join(_READERS)}, or a DataFrame")])
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file or directory"
        raise DataError([Problem(str(path), found, "a readable file")])
    return reader(path, problems)


def _ask(source: Mapping[str, Any], name: str, folder: Path) -> Source:
    """Return the result of a query; `folder` is the base folder of an embedded graph's relative path."""
    if source.keys() != set(QUERY) or not all(isinstance(value, str) for value in source.values()):
        raise DataError([Problem(name, f"a mapping with {', '.join(map(str, source))}", "graph and query, both texts")])
    uri = GraphUri.parse(source["graph"]).within(folder)
    if not GraphUri.parse(uri).exists:
        raise DataError([Problem(name, f"no graph at {uri}", "one that is there")])
    with open_graph(uri, read_only=True) as store:
        answer = store.answer(source["query"], time_limit=_SECONDS, row_limit=_ROWS)
    _check_names(answer.column_names, name)
    table, strange = of_one_type(answer)
    if strange:
        raise DataError([Problem(name, "values of several types", "one type", field=n) for n in strange])
    return _plain(table, name), (Origin(name, 1, table.num_rows),)


def _read_text(path: Path, problems: list[Problem]) -> Source:
    text = read_delimited(path, CSV if path.suffix.lower() == ".csv" else TSV)
    problems += text.problems
    return text.table, text.origins


def _read_parquet(path: Path, _: list[Problem]) -> Source:
    try:
        n_columns = pq.read_metadata(path).num_columns
        if n_columns > MAX_COLUMNS:
            raise DataError([Problem(str(path), f"{n_columns:,} columns", f"at most {MAX_COLUMNS:,}")])
        _check_names(pq.read_schema(path).names, str(path))
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError([Problem(str(path), f"a file that Arrow cannot read ({error})", "a Parquet file")]) from None
    return _plain(table, str(path)), (Origin(str(path), 1, table.num_rows),)


def _read_json_lines(path: Path, problems: list[Problem]) -> Source:
    rows, lines, faults = objects(path)
    names = dict.fromkeys(name for row in rows for name in row)
    _check_names(list(names), str(path))
    problems += faults
    origin = Origin(str(path), 1, len(rows), rows=lines)
    columns = {name: _column([row.get(name) for row in rows], origin, name, problems) for name in names}
    return pa.table(columns), (origin,)


def _column(cells: list[Any] | pd.Series[Any], origin: Origin, name: str, problems: list[Problem]) -> pa.ChunkedArray:
    """Return cells as a column; JSON values of several types become text, which the type check parses later."""
    is_json = isinstance(cells, list)
    column, wrong = from_cells(cells, mixed=is_json)
    expected = "text that is UTF-8, a number or a list" if is_json else "values of one type: all text, or all numbers"
    for row in wrong:
        value = cells[row] if isinstance(cells, list) else cells.iloc[row]
        place = locate((origin,), row)
        problems.append(Problem(origin.where, shown(value), expected, place and place.row, name))
    if is_json and pa.types.is_string(column.type):
        nested = [isinstance(cell, list | dict) for cell in cells]
        if any(nested):
            parts = [column, pa.array(nested)]
            column = pa.StructArray.from_arrays(parts, fields=list(MIXED), mask=pc.is_null(column))
    return plain(pa.chunked_array([column]))


def _from_pandas(frame: pd.DataFrame, name: str, problems: list[Problem]) -> pa.Table:
    names, origin = [str(column) for column in frame.columns], Origin(name, 1, len(frame))
    _check_names(names, name)
    return pa.table({column: _column(frame.iloc[:, i], origin, column, problems) for i, column in enumerate(names)})


def _from_stream(frame: Any, name: str) -> pa.Table:
    try:
        table, problems = as_table(frame, name)
    except UsageError as error:
        found = f"a {type(frame).__name__} that Arrow cannot read ({error.__cause__})"
        problems = [Problem(name, found, "a frame with named columns of types that Arrow has")]
    if problems:
        raise DataError(problems)
    return _plain(table, name)


def _check_names(names: list[str], where: str) -> None:
    """Raise a DataError that lists every invalid column name."""
    if problems := list(_bad_names(names, where)):
        raise DataError(problems)


def _bad_names(names: list[str], where: str) -> Iterator[Problem]:
    if len(names) > MAX_COLUMNS:
        yield Problem(where, f"{len(names):,} columns", f"at most {MAX_COLUMNS:,}")
        return
    for name in sorted(name for name, n in Counter(names).items() if n > 1):
        yield Problem(where, "the column twice", "each column once", field=name)
    for name in names:
        if not is_text(name):
            yield Problem(where, f"a column named {name!r}", "a name that is UTF-8 text")


def _plain(table: pa.Table, where: str) -> pa.Table:
    """Return the table with dictionary, view and UTF-8 byte columns converted to ordinary ones."""
    _check_names(table.column_names, where)
    return pa.table({name: plain(table.column(name)) for name in table.column_names})


_READERS: Final[dict[str, Callable[[Path, list[Problem]], Source]]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
