"""Any table and any mapping either load or raise kgrec's own error, and what is loaded is what was given.

`KGREC_FUZZ=5000` tries so many at random; without it the examples are always the same.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgrec._util.notices import DataNotice
from kgrec.data.schema import Schema
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import KgrecError
from kgrec.store import open_graph
from loaders.tables import TablesLoader

pytestmark = pytest.mark.slow

N = int(os.environ.get("KGREC_FUZZ", "0"))
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

SCHEMA = Schema.parse(
    """\
name: fuzz
nodes:
  User: {key: uid}
  Item:
    key: iid
    properties: {title: string, n: int, size: float, at: datetime, tags: strings, new: bool, vec: vector}
relationships:
  SAW: {from: User, to: Item, properties: {w: float, at: datetime, n: int}}
roles: {users: User, items: Item, behaviours: {SAW: {weight: w, time: at}}}
"""
)
SAW = ("User", "SAW", "Item")
TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
INT64 = st.integers(-(2**63), 2**63 - 1)


def tries(usual: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=N or usual, deadline=None, derandomize=not N, database=None, suppress_health_check=QUIET
    )


SCALARS: list[st.SearchStrategy[Any]] = [
    TEXT,
    st.text(max_size=4),  # with halves of characters
    st.sampled_from(["1", " 2 ", "1.0", "1e3", "nan", "inf", "0x10", "now", "true", "", "null", "2024", "20240131"]),
    st.sampled_from(
        ["1588687728", "1588687728923", "2024-01-31T08:00:00.1234567Z", "0000-01-01", "9999-12-31T23:59:59-09"]
    ),
    st.sampled_from(["[1, 2]", "a|b", '["a"]', "9" * 400, "1" * 19, "-9223372036854775809"]),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.sampled_from([0, 1, 2019, 20240131, 1588687728, 1588687728923, 1588687728923000, 1588687728923000001]),
    st.floats(),
    st.integers(-(2**60), 2**60).map(float),
    st.booleans(),
    st.binary(max_size=4),
    st.uuids(),
    st.decimals(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.times(),
    st.timedeltas(),
    st.complex_numbers(),
]
ODD: list[st.SearchStrategy[Any]] = [
    *(st.lists(part, max_size=3) for part in SCALARS),
    st.lists(st.one_of(*SCALARS), max_size=3),
    st.lists(st.lists(TEXT, max_size=2), max_size=2),
    st.dictionaries(TEXT, st.one_of(*SCALARS), max_size=2),
    st.frozensets(st.integers(), max_size=2),
    st.just(pd.Period("2024-01")),
    st.just(pd.Interval(0, 1)),
    st.just(pd.NA),
    st.just(np.float32(0.5)),
    st.just(np.datetime64("2024-01-31")),
    st.just(np.zeros(2)),
    st.just(object()),
]
ARROW_TYPES = [
    *(pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(38, 2), pa.decimal256(76, 0)),
    *(pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2), pa.bool_()),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.duration("us"), pa.uuid(), pa.json_()),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp("ns", "UTC"), pa.timestamp("s", "Europe/Oslo"), pa.dictionary(pa.int32(), pa.string())),
    *(pa.list_(pa.string()), pa.large_list(pa.string_view()), pa.list_(pa.int64(), 2), pa.list_view(pa.string())),
    *(pa.map_(pa.string(), pa.int64()), pa.struct([("a", pa.int64())]), pa.month_day_nano_interval()),
]


@st.composite
def columns(draw: st.DrawFn, n: int) -> list[Any]:
    """Values of one kind, some of them missing; now and then of several."""
    one = draw(st.sampled_from([*SCALARS, *ODD, st.one_of(*SCALARS, *ODD)]))
    return draw(st.lists(st.one_of(one, one, one, st.none()), min_size=n, max_size=n))


@st.composite
def as_source(draw: st.DrawFn, table: dict[str, list[Any]], kind: str, folder: Path, name: str) -> Any:
    """A table as a source of a kind; a column that the kind cannot hold is text of the values."""
    if kind == "frame":
        dtype = draw(st.sampled_from([None, object]))
        return pd.DataFrame({key: _series(values, dtype) for key, values in table.items()})
    if kind == "csv":
        lines = [
            ",".join(f'"{str(v).replace(chr(34), chr(34) * 2)}"' for v in row)
            for row in zip(*table.values(), strict=True)
        ]
        text = "\n".join([",".join(table), *(line.replace("\r", " ").replace("\0", " ") for line in lines)])
        (folder / f"{name}.csv").write_text(text, encoding="utf-8", errors="replace")
        return folder / f"{name}.csv"
    if kind == "jsonl":
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps(row, default=str, skipkeys=True) + "\n" for row in rows)
        )
        return folder / f"{name}.jsonl"
    arrays = {key: _arrow(values, draw(st.sampled_from([None, None, *ARROW_TYPES]))) for key, values in table.items()}
    if kind == "parquet":
        try:
            pq.write_table(pa.table(arrays), folder / f"{name}.parquet")
            return folder / f"{name}.parquet"
        except (pa.ArrowException, ValueError):
            pass
    return pa.table(arrays)


def _series(values: list[Any], dtype: Any) -> pd.Series[Any]:
    try:
        return pd.Series(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError):
        return pd.Series(values, dtype=object)


def _arrow(values: list[Any], type_: pa.DataType | None) -> pa.Array:
    for wanted in (type_, None):
        try:
            return pa.array(values, wanted)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
    return pa.array([None if v is None else str(v).encode(errors="replace") for v in values], pa.string())


@st.composite
def wild(draw: st.DrawFn, folder: Path) -> dict[str, Any]:
    """A mapping whose tables hold anything."""
    n = draw(st.integers(0, 4))
    ids = [f"i{row}" for row in range(n)]
    kinds = st.sampled_from(["frame", "csv", "jsonl", "arrow", "parquet"])
    names = draw(st.lists(st.sampled_from([*SCHEMA.nodes["Item"].properties]), unique=True, max_size=3))
    item = {"iid": draw(st.one_of(st.just(ids), columns(n))), **{name: draw(columns(n)) for name in names}}
    saw = {
        "uid": draw(st.one_of(st.just(ids), columns(n))),
        "iid": draw(st.one_of(st.just(ids), st.just(item["iid"]), columns(n))),
        "at": draw(st.one_of(st.just([1588687728] * n), columns(n))),
        "w": draw(st.one_of(st.just([1.0] * n), columns(n))),
    }
    extra = {"list_separator": "|"} if draw(st.booleans()) else {}
    sources = [
        {"source": draw(as_source(saw, draw(kinds), folder, f"saw{number}"))}
        for number in range(draw(st.integers(1, 2)))
    ]
    mapping: dict[str, Any] = {"relationships": {"SAW": sources}}
    if draw(st.booleans()):
        mapping["nodes"] = {"Item": {"source": draw(as_source(item, draw(kinds), folder, "items")), **extra}}
    return mapping


def loaded(mapping: dict[str, Any]) -> GraphTables:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNotice)
        return check(TablesLoader().load(mapping, SCHEMA))


@tries(250)
@given(st.data())
def test_any_table_loads_or_is_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        mapping = data.draw(wild(Path(folder)))
        try:
            graph = loaded(mapping)
        except KgrecError as error:
            str(error).encode()
            return
    for table in (*graph.nodes.values(), *graph.edges.values()):
        table.validate(full=True)
        table.to_pylist()  # what Python cannot hold must not come in


@st.composite
def sound(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Behaviors with ids and whole numbers that have to come through digit by digit."""
    n = draw(st.integers(1, 4))
    kinds = [st.integers(-(2**80), 2**80), INT64, st.uuids(), TEXT.map(str.strip).filter(_is_word)]
    ids = {
        name: draw(st.lists(draw(st.sampled_from(kinds)), min_size=n, max_size=n, unique_by=str))
        for name in ("uid", "iid")
    }
    at = st.integers(10**8, 7 * 10**9)  # text of fewer digits is no number of seconds
    numbers = st.lists(st.one_of(st.none(), INT64), min_size=n, max_size=n)
    return {**ids, "n": draw(numbers), "at": [draw(at)] * n, "w": [1.0] * n}


def _is_word(text: str) -> bool:
    return text != "" and text.isprintable()


def _of(kind: str, table: dict[str, list[Any]], folder: Path) -> Any:
    if kind == "Int64":
        frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in table.items()})
        return frame.assign(n=frame["n"].astype("Int64"))
    if kind == "csv":
        frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in table.items()})
        frame.to_csv(folder / "saw.csv", index=False)
        return folder / "saw.csv"
    text = {name: [v if name in ("n", "at", "w") else str(v) for v in values] for name, values in table.items()}
    if kind == "arrow":
        return pa.table({name: pa.array(v, pa.int64()) if name == "n" else pa.array(v) for name, v in text.items()})
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    (folder / "saw.jsonl").write_text("".join(json.dumps(row, default=_uuid) + "\n" for row in rows))
    return folder / "saw.jsonl"


def _uuid(value: object) -> str:
    assert isinstance(value, uuid.UUID)
    return str(value)


def _said(table: pa.Table) -> list[tuple[Any, ...]]:
    return sorted(zip(*(table.column(name).to_pylist() for name in ("src", "dst", "n")), strict=True), key=str)


def _given(table: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return sorted(zip(map(str, table["uid"]), map(str, table["iid"]), table["n"], strict=True), key=str)


@tries(120)
@given(sound(), st.sampled_from(["Int64", "csv", "arrow", "jsonl"]))
def test_loaded_table_equals_the_given_one(table: dict[str, list[Any]], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = loaded({"relationships": {"SAW": {"source": _of(kind, table, Path(folder))}}})
    assert _said(graph.edges[SAW]) == _given(table)


@tries(4)
@given(sound())
def test_stored_table_equals_the_loaded_one(table: dict[str, list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder, open_graph(Path(folder) / "g.lbug", create=True) as store:
        store.write(loaded({"relationships": {"SAW": {"source": _of("jsonl", table, Path(folder))}}}))
        assert _said(store.read().edges[SAW]) == _given(table)
