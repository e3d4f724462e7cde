"""Unusual values of drivers, frames and other programs: read exactly, or refused with file and row."""

from __future__ import annotations

import json
import uuid
import warnings
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec._util.notices import DataNotice
from kgrec.data.columns import as_type
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError
from kgrec.store.load import check_source

SCHEMA = Schema.parse(
    """\
name: odd
nodes:
  User: {key: uid}
  Item:
    key: iid
    properties: {title: string, n: int, size: float, at: datetime, tags: strings, new: bool}
relationships:
  SAW: {from: User, to: Item, properties: {at: datetime, w: float}}
  TOOK: {from: User, to: Item, properties: {at: int}}
roles: {users: User, items: Item, behaviours: {SAW: {time: at}, TOOK: {time: at}}}
"""
)
SAW = ("User", "SAW", "Item")
ID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
BIG = [2**62 + 1, 2**62 + 2, 2**62 + 3]


def saw(source: Any, **more: Any) -> dict[str, Any]:
    return {"relationships": {"SAW": {"source": source, **more}}}


def items(**columns: Any) -> dict[str, Any]:
    """A mapping whose items have the columns given, and one behavior."""
    n = len(next(iter(columns.values())))
    frame = pd.DataFrame({"iid": [f"i{row}" for row in range(n)], **columns})
    seen = pd.DataFrame({"uid": ["u"], "iid": ["i0"], "at": ["2024-01-01"]})
    return {"nodes": {"Item": {"source": frame}}, "relationships": {"SAW": {"source": seen}}}


def loaded(mapping: dict[str, Any]) -> GraphTables:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNotice)
        return check_source("tables", mapping, schema=SCHEMA)


def problems_of(mapping: dict[str, Any]) -> list[str]:
    with pytest.raises(DataError) as error:
        loaded(mapping)
    return [str(problem) for problem in error.value.problems]


def values_of(name: str, values: Any) -> list[Any]:
    found: list[Any] = loaded(items(**{name: values})).nodes["Item"].column(name).to_pylist()
    return found


def ids_of(values: Any, folder: Path | None = None) -> list[str]:
    """The users' ids after loading, from a frame, or from a Parquet file in a folder."""
    n = len(values)
    columns = {"uid": values, "iid": [f"i{row}" for row in range(n)], "at": ["2024-01-01"] * n}
    source: Any = pa.table(columns) if isinstance(values, pa.Array) else pd.DataFrame(columns)
    if folder is not None:
        pq.write_table(source, folder / "saw.parquet")
        source = folder / "saw.parquet"
    ids: list[str] = loaded(saw(source)).edges[SAW].column("src").to_pylist()
    return ids


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.Series([1.0, 2.0]), ["1", "2"]),
        (pd.Series(BIG), list(map(str, BIG))),
        (pd.Series(BIG, dtype="Int64"), list(map(str, BIG))),
        (pd.Series(BIG, dtype=object), list(map(str, BIG))),
        (pd.Series([2**64 - 1], dtype="uint64"), [str(2**64 - 1)]),
        (pd.Series([2**80, 7], dtype=object), [str(2**80), "7"]),
        (pd.Series([Decimal(10**19), Decimal("7.0")]), [str(10**19), "7"]),
        (pd.Series([uuid.UUID(ID)]), [ID]),
        (pd.Series(["1.0", "1"]), ["1.0", "1"]),
        (pd.Series([b"caf\xc3\xa9"]), ["café"]),
        (pd.Series(pd.Categorical([5, 6])), ["5", "6"]),
        (pd.Series(pd.period_range("2024-01", periods=2, freq="M")), ["2024-01", "2024-02"]),
        (pd.Series(pd.arrays.SparseArray([1, 0])), ["1", "0"]),
        (pd.Series([np.int64(5), np.str_("6")][:1], dtype=object), ["5"]),
        (pa.array([Decimal(2**90)]), [str(2**90)]),
        (pa.array([uuid.UUID(ID).bytes], pa.uuid()), [ID]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.DictionaryArray.from_arrays([1, 0], pa.array(["a", "b"], pa.string_view())), ["b", "a"]),
        (pa.DictionaryArray.from_arrays([1, 0], pa.array([b"a", b"b"], pa.binary_view())), ["b", "a"]),
        (pa.RunEndEncodedArray.from_arrays([2], pa.array(["a"])), ["a", "a"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
        (pa.array([b"a"], pa.binary_view()), ["a"]),
    ],
)
def test_ids_keep_every_digit(values: Any, expected: list[str]) -> None:
    assert ids_of(values) == expected


def test_polars_frame_is_a_source() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"uid": [2**63 + 1, 7], "iid": ["a", "b"], "at": [datetime(2024, 1, 1)] * 2})
    frame = frame.with_columns(polars.col("iid").cast(polars.Categorical))
    assert loaded(saw(frame)).edges[SAW].column("src").to_pylist() == [str(2**63 + 1), "7"]
    assert loaded(saw(frame)).edges[SAW].column("dst").to_pylist() == ["a", "b"]
    things = frame.with_columns(uid=polars.Series([uuid.UUID(ID)] * 2, dtype=polars.Object))
    assert any("uid: found a column of Python objects" in problem for problem in problems_of(saw(things)))
    wide = frame.with_columns(uid=polars.Series([1, 2], dtype=polars.Int128))
    assert any("found a DataFrame that Arrow cannot read" in problem for problem in problems_of(saw(wide)))


def test_parquet_uuids_become_text(tmp_path: Path) -> None:
    assert ids_of(pa.array([uuid.UUID(ID).bytes], pa.uuid()), tmp_path) == [ID]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pd.Series([1.0, 1.5]), ":2: uid: found 1.5; expected an integer id"),
        (
            pd.Series([1.0, 2.0**53]),
            ":2: uid: found 9007199254740992.0; expected an integer id; a float so large",
        ),
        (pd.Series([1.0, 1e20]), ":2: uid: found 1e+20"),
        (pd.Series(["a", b"\xff"]), r":2: uid: found b'\xff'; expected an id: text or a whole number"),
        (pd.Series(["a", "\ud800"], dtype=object), r":2: uid: found '\ud800'"),
        (pd.Series(["a", 1], dtype=object), ":2: uid: found 1; expected values of one type"),
        (pd.Series([timedelta(1), timedelta(2)]), ":1: uid: found"),
        (pd.Series([1j, 2j]), ":1: uid: found"),
        (pa.array([None, 2.0**24], pa.float32()), ":2: uid: found 16777216.0"),
    ],
)
def test_invalid_ids_are_refused_with_their_row(values: Any, found: str) -> None:
    assert any(found in problem for problem in problems_of(saw(_rows(values))))


def _rows(values: Any) -> Any:
    columns = {"uid": values, "iid": [f"i{row}" for row in range(len(values))], "at": ["2024-01-01"] * len(values)}
    return pa.table(columns) if isinstance(values, pa.Array) else pd.DataFrame(columns)


def test_ids_in_json_keep_their_digits(tmp_path: Path) -> None:
    rows = [{"uid": uid, "iid": "i", "at": "2024-01-01"} for uid in (2**80, 1.0, 2**53 + 1)]
    (tmp_path / "saw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert loaded(saw(tmp_path / "saw.jsonl")).edges[SAW].column("src").to_pylist() == [
        str(2**80),
        "1",
        "9007199254740993",
    ]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("n", pd.Series([2**53 + 1, None], dtype="Int64"), [2**53 + 1, None]),
        ("n", pd.Series(["9007199254740993", " +7.0 ", "1e3"]), [2**53 + 1, 7, 1000]),
        ("n", pd.Series([Decimal(2**62), Decimal("7.00")]), [2**62, 7]),
        ("n", pd.Series([1.0, np.nan]), [1, None]),
        ("size", pd.Series([Decimal("0.10"), None]), [0.1, None]),
        ("at", pd.Series(["2024-01-31T08:00:00.123456789Z"]), [datetime(2024, 1, 31, 8, 0, 0, 123456)]),
        ("at", pd.Series(["2024-01-31 08:00:00.0000000"]), [datetime(2024, 1, 31, 8)]),
        (
            "at",
            pd.Series([date(2024, 1, 31), datetime(2024, 1, 31, 8)]),
            [datetime(2024, 1, 31), datetime(2024, 1, 31, 8)],
        ),
        ("at", pd.Series(["9999-12-31", "0001-01-01"]), [datetime(9999, 12, 31), datetime(1, 1, 1)]),
        ("at", pd.Series(["1588687728", "2020-05-05"]), [datetime(2020, 5, 5, 14, 8, 48), datetime(2020, 5, 5)]),
        ("title", pd.Series([time(7, 30)]), ["07:30:00.000000"]),
        ("title", pd.Series([1.5, 2.0, 123456789012.0]), ["1.5", "2", "123456789012"]),
        ("tags", pd.Series([[uuid.UUID(ID)], None]), [[ID], None]),
        ("tags", pd.Series([np.array([]), np.array(["a"])]), [[], ["a"]]),
        ("tags", pd.Series([[2**62 + 1]]), [[str(2**62 + 1)]]),
    ],
)
def test_properties_are_read_without_loss(name: str, values: pd.Series[Any], expected: list[Any]) -> None:
    assert values_of(name, values) == expected


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        (
            "n",
            pd.Series([1.0, 2.0**53]),
            ":2: n: found 9007199254740992.0; expected a value of type int (64 bits); a float",
        ),
        ("n", pd.Series([2**63, 1], dtype="uint64"), ":1: n: found 9223372036854775808"),
        ("n", pd.Series([1, 2**70], dtype=object), ":2: n: found '1180591620717411303424'"),
        ("n", pd.Series(["1", "9223372036854775808"]), ":2: n: found '9223372036854775808'"),
        ("n", pd.Series(["0x10"]), ":1: n: found '0x10'"),
        ("n", pd.Series([datetime(2024, 1, 1)]), ":1: n: found"),
        ("size", pd.Series([1, 2**53 + 1]), ":2: size: found 9007199254740993"),
        ("size", pd.Series(["1", "1e400"]), ":2: size: found '1e400'"),
        ("new", pd.Series([1, 2]), ":2: new: found 2"),
        ("title", pd.Series([1.0, 1e17]), ":2: title: found 1e+17"),
        ("tags", pd.Series([["a"], [["b"]]], dtype=object), ":2: tags: found [['b']]"),
        (
            "tags",
            pd.Series([[{"a": 1}]]),
            ":1: tags: found [{'a': 1}]; expected a value of type strings: a list of texts",
        ),
        ("at", pd.Series(["now"]), ":1: at: found 'now'"),
        (
            "at",
            pd.Series(["2024-01-01", "12000-01-01"]),
            ":2: at: found '12000-01-01'; expected a value of type datetime",
        ),
        (
            "at",
            pd.Series([20240131, 20240201]),
            ":1: at: found 20240131; expected a value of type datetime: a time; a year",
        ),
        ("at", pd.Series([2019, 2024]), ":1: at: found 2019"),
        ("at", pd.Series([1588687728, 1588687728923]), ":2: at: found 1588687728923"),
        ("at", pd.Series([time(7, 30)]), ":1: at: found"),
    ],
)
def test_invalid_property_values_are_refused(name: str, values: pd.Series[Any], found: str) -> None:
    assert any(found in problem for problem in problems_of(items(**{name: values})))


SECONDS = [1588687728, 1609459200]


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([second * 1000 + 923 for second in SECONDS], "milliseconds"),
        ([float(second * 1000) for second in SECONDS], "milliseconds"),
        ([second * 10**6 for second in SECONDS], "microseconds"),
        ([second * 10**9 for second in SECONDS], "nanoseconds"),
        ([str(second * 1000) for second in SECONDS], "milliseconds"),
    ],
)
@pytest.mark.parametrize("where", ["a node", "a behavior"])
def test_times_in_finer_unit_are_read_and_reported(values: list[Any], unit: str, where: str) -> None:
    frame = pd.DataFrame({"uid": ["u", "v"], "iid": ["i0", "i1"], "at": values})
    mapping = items(at=values) if where == "a node" else saw(frame)
    with pytest.warns(DataNotice, match=rf": at: its numbers are read as {unit} since 1970"):
        graph = check_source("tables", mapping, schema=SCHEMA)
    table = graph.nodes["Item"] if where == "a node" else graph.edges[SAW]
    assert [found.year for found in table.column("at").to_pylist()] == [2020, 2021]


def test_digits_below_microseconds_are_reported() -> None:
    with pytest.warns(DataNotice, match="2 of 3 times have digits finer than microseconds, which are cut off"):
        check_source(
            "tables",
            items(at=[f"2024-01-31T08:00:00.{digits}Z" for digits in ("1234567", "123456000", "000000001")]),
            schema=SCHEMA,
        )
    with pytest.warns(DataNotice, match="1 of 2 times have digits"):
        check_source("tables", items(at=np.array([1, 2000], "datetime64[ns]")), schema=SCHEMA)


@pytest.mark.parametrize(
    ("at", "found"),
    [
        (1588687728923, "an order from 0 on; this looks like milliseconds: divide by 1000"),
        (1588687728923000, "this looks like microseconds: divide by 1000000"),
        (1588687728923000001, "this looks like nanoseconds: divide by 1000000000"),
        (-1, "an order from 0 on"),
    ],
)
def test_integer_time_is_checked_exactly(at: int, found: str) -> None:
    frame = pd.DataFrame({"uid": ["u"], "iid": ["i"], "at": [at]})
    (problem,) = problems_of({"relationships": {"TOOK": {"source": frame}}})
    assert problem.endswith(found)
    assert f"found {at};" in problem


def test_interaction_after_2200_is_refused() -> None:
    frame = pd.DataFrame({"uid": ["u"], "iid": ["i"], "at": ["2201-01-01"]})
    assert "expected a time up to the year 2200" in problems_of(saw(frame))[0]


def test_file_with_only_empty_lists_loads(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"iid": "i0", "tags": []}\n')
    (tmp_path / "b.jsonl").write_text('{"iid": "i1", "tags": ["x"]}\n')
    schema = Schema.parse(
        "name: s\nnodes: {User: {key: uid}, Item: {key: iid}}\nrelationships:\n"
        "  SAW: {from: User, to: Item, properties: {tags: strings}}\n"
        "roles: {users: User, items: Item, behaviours: {SAW: {}}}\n"
    )
    for name in "ab":
        path = tmp_path / f"{name}.jsonl"
        path.write_text(path.read_text().replace('"iid"', '"uid": "u", "iid"'))
    sources = [{"source": str(tmp_path / f"{name}.jsonl")} for name in "ab"]
    graph = check_source("tables", {"relationships": {"SAW": sources}}, schema=schema)
    assert graph.edges[SAW].column("tags").to_pylist() == [[], ["x"]]


def test_unread_column_may_hold_anything() -> None:
    rows = {"uid": ["u"], "iid": ["i"], "at": ["2024-01-01"]}
    source = pa.table({**rows, "image": [b"\xff\xd8"], "more": [{"a": [1]}]})
    assert loaded(saw(source)).edges[SAW].num_rows == 1


def test_parquet_text_not_utf8_is_refused(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
    )
    pq.write_table(pa.table({"uid": bad, "iid": ["i", "j"], "at": ["2024-01-01"] * 2}), tmp_path / "saw.parquet")
    assert any(r"saw.parquet:2: uid: found b'\xff'" in p for p in problems_of(saw(tmp_path / "saw.parquet")))


@pytest.mark.parametrize(
    "text",
    ["2024-03-04 05:06:07.5 UTC", "2024-03-04T05:06:07.5 GMT", "2024-03-04t05:06:07.5z", "2024-03-04T05:06:07,5"],
)
def test_other_spellings_of_iso_8601_are_read(text: str) -> None:
    column, wrong = as_type(pa.chunked_array([[text]]), "datetime")
    assert (column.to_pylist(), wrong.tolist()) == ([datetime(2024, 3, 4, 5, 6, 7, 500_000)], [False])
