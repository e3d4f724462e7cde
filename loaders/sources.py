"""Files, data frames and queries against other graphs as Arrow tables, with the rows' origins."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kgrec.errors import DataError, Problem
from kgrec.store import exists, is_server, open_store
from kgrec.store.results import of_one_type
from kgrec.tables import Origin
from loaders.delimited import CSV, TSV, read_delimited

Source = tuple[pa.Table, tuple[Origin, ...]]

QUERY: Final = ("graph", "query")
"""Keys of a source that is a query: URI of the graph, and Cypher or SPARQL, whichever that graph speaks."""

_SECONDS, _ROWS = 3600.0, 100_000_000
"""What such a query may take and return: a whole catalogue, read at night."""


def read_source(source: Any, name: str, folder: Path) -> Source:
    """Return (table, origins) of a source.

    Args:
        source: path of a .csv, .tsv, .parquet, .jsonl or .ndjson file, or a pandas or Arrow table (left unchanged), or
            a query: a mapping with the keys of `QUERY`.
        name: what to call a data frame in errors.
        folder: where a relative path starts.

    Raises:
        DataError: with every problem of the source.
        StoreError: the graph of a query cannot be read, or refuses the query.
    """
    if isinstance(source, Mapping):
        return _ask(source, name, folder)
    if isinstance(source, pa.Table):
        return _plain(source), (Origin(name, 1, source.num_rows),)
    if isinstance(source, pd.DataFrame):
        return _from_pandas(source, name), (Origin(name, 1, len(source)),)
    if isinstance(source, str | Path):
        return _read_file(folder / source)
    expected = "a file, a pandas DataFrame, an Arrow table, or a mapping with graph and query"
    raise DataError([Problem(name, f"a source of type {type(source).__name__}", expected)])


def _read_file(path: Path) -> Source:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        found = f"a file that ends in {path.suffix!r}" if path.suffix else "a file without an ending"
        raise DataError([Problem(str(path), found, f"one of {', '.join(_READERS)}, or a DataFrame")])
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file or directory"
        raise DataError([Problem(str(path), found, "a readable file")])
    return reader(path)


def _ask(source: Mapping[str, Any], name: str, folder: Path) -> Source:
    """Ask a graph; a relative path of an embedded one starts at `folder`."""
    if source.keys() != set(QUERY) or not all(isinstance(value, str) for value in source.values()):
        raise DataError([Problem(name, f"a mapping with {', '.join(map(str, source))}", "graph and query, both texts")])
    graph = source["graph"]
    place = graph.removeprefix("oxigraph:")
    uri = graph if is_server(graph) else graph.removesuffix(place) + str(folder / place)
    if not exists(uri):
        raise DataError([Problem(name, f"no graph at {uri}", "one that is there")])
    with open_store(uri, read_only=True) as store:
        answer = store.answer(source["query"], time_limit=_SECONDS, row_limit=_ROWS)
    repeated = [Problem(name, "the column twice", "each column once", field=n) for n in _repeated(answer.column_names)]
    if repeated:
        raise DataError(repeated)
    table, strange = of_one_type(answer)
    if strange:
        raise DataError([Problem(name, "values of several types", "one type", field=n) for n in strange])
    return _plain(table), (Origin(name, 1, table.num_rows),)


def _read_csv(path: Path) -> Source:
    text = read_delimited(path, CSV)
    return text.table, text.origins


def _read_tsv(path: Path) -> Source:
    text = read_delimited(path, TSV)
    return text.table, text.origins


def _read_parquet(path: Path) -> Source:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError([Problem(str(path), f"a file that Arrow cannot read ({error})", "a Parquet file")]) from None
    return _plain(table), (Origin(str(path), 1, table.num_rows),)


def _read_json_lines(path: Path) -> Source:
    lines = path.read_bytes().rstrip().splitlines()
    if not lines:
        raise DataError([Problem(str(path), "an empty file", "one JSON object a line")])
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_object(line))
        except ValueError as error:
            problems.append(Problem(str(path), str(error), "one JSON object a line", number))
    if problems:
        raise DataError(problems)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _array([row.get(name) for row in rows]) for name in names}
    return pa.table(columns), (Origin(str(path), 1, len(rows)),)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"byte 0x{line[error.start]:02x} at position {error.start + 1}, which is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"text that is not JSON ({error.msg} at position {error.colno})") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}")
    return value


def _array(values: list[Any]) -> pa.Array:
    """Return a column; values of several types become text, which the check of the schema's types then reads."""
    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())


def _from_pandas(frame: pd.DataFrame, name: str) -> pa.Table:
    names = [str(column) for column in frame.columns]
    problems = [Problem(name, "the column twice", "each column once", field=n) for n in sorted(_repeated(names))]
    columns = {}
    for index, column in enumerate(names):
        try:
            columns[column] = pa.array(frame.iloc[:, index], from_pandas=True)
        except pa.ArrowException as error:
            problems.append(Problem(name, f"values of several types ({error})", "one type", field=column))
    if problems:
        raise DataError(problems)
    return _plain(pa.table(columns))


def _repeated(names: list[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def _plain(table: pa.Table) -> pa.Table:
    """Return the table with dictionary and view columns as ordinary ones."""
    return table.cast(pa.schema([field.with_type(_plain_type(field.type)) for field in table.schema]))


def _plain_type(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(type_):
        return _plain_type(type_.value_type)
    return pa.string() if pa.types.is_large_string(type_) or pa.types.is_string_view(type_) else type_


_READERS: Final[dict[str, Callable[[Path], Source]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
