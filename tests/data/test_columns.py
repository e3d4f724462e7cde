from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgrec.data.columns import ARROW_TYPES, as_ids, as_keys, as_type, comparable, split, to_mask, trim_parts

NAN, INF = float("nan"), float("inf")


def chunked(values, type_=None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type_)])


@pytest.mark.parametrize(
    ("values", "kind", "expected", "wrong"),
    [
        # text is parsed, an empty one is missing except as a string
        (["1", " 2 ", "", None, "x", "1.5", "3.0"], "int", [1, 2, None, None, None, None, 3], [4, 5]),
        (
            ["1e400", "nan", "inf", "9007199254740993", "9e15", "9223372036854775808"],
            "int",
            [None] * 3 + [2**53 + 1, 9 * 10**15, None],
            [0, 1, 2, 5],
        ),
        (["1", "1.5e3", "", "x", "-inf"], "float", [1.0, 1500.0, None, None, -INF], [3]),
        (["true", " No ", "1", "  ", "maybe"], "bool", [True, False, True, None, None], [4]),
        (["a", "", None], "string", ["a", "", None], []),
        (
            ["2024-01-02", "2024-01-02T03:04:05+02:00", "", "soon"],
            "datetime",
            [datetime(2024, 1, 2), datetime(2024, 1, 2, 1, 4, 5), None, None],
            [3],
        ),
        # numbers
        ([1.0, None, 2.5, INF], "int", [1, None, None, None], [2, 3]),
        ([1, None], "float", [1.0, None], []),
        ([1.0, 2.0, None], "string", ["1", "2", None], []),
        ([1.5, 2.0], "string", ["1.5", "2"], []),
        ([0, 86400, None], "datetime", [datetime(1970, 1, 1), datetime(1970, 1, 2), None], []),
        ([0, 1], "bool", [False, True], []),
        # points in time
        ([date(2024, 1, 2), None], "datetime", [datetime(2024, 1, 2), None], []),
        ([datetime(2024, 1, 2, tzinfo=UTC)], "datetime", [datetime(2024, 1, 2)], []),
        # lists
        ([["a", "b"], None, []], "strings", [["a", "b"], None, []], []),
        ([None, None], "strings", [None, None], []),
        (["a b"], "strings", [None], [0]),
        ([["a"]], "string", [None], [0]),
        ([[1, 2], None, [0.5, -1e-3]], "vector", [[1.0, 2.0], None, [0.5, float(np.float32(-1e-3))]], []),
        ([["1", " 2.5"], None, ["x", "1"], []], "vector", [[1.0, 2.5], None, None, []], [2]),
        ([None, None], "vector", [None, None], []),
        (["1 2"], "vector", [None], [0]),
        ([[[1.0]]], "vector", [None], [0]),
        ([["a"]], "int", [None], [0]),
    ],
)
def test_as_type_converts_or_marks_wrong_rows(values, kind, expected, wrong):
    column, mask = as_type(chunked(values), kind)
    assert column.type == ARROW_TYPES[kind]
    assert np.flatnonzero(mask).tolist() == wrong
    readable = [n for n in range(len(values)) if n not in wrong]
    assert [column.to_pylist()[n] for n in readable] == [expected[n] for n in readable]


@pytest.mark.parametrize("type_", [pa.list_(pa.float64(), 2), pa.large_list(pa.float16()), pa.list_(pa.int8())])
def test_as_type_vectors_from_any_list_type(type_):
    lists = pa.chunked_array([pa.array([[9, 9]], type_), pa.array([None, [3, 4], [5, 6]], type_)])
    column, mask = as_type(lists[1:], "vector")
    assert column.to_pylist() == [None, [3.0, 4.0], [5.0, 6.0]]
    assert column.type == ARROW_TYPES["vector"]
    assert not mask.any()


def test_comparable_vectors_use_their_numbers():
    chunks = [pa.array(lists, ARROW_TYPES["vector"]) for lists in ([[9], [1, 2]], [None, [1, 2], [], [2, 1]])]
    rows = comparable(pa.chunked_array(chunks)[1:])
    assert [rows[0].equals(row) for row in rows] == [True, False, True, False, False]
    assert rows.is_null().to_pylist() == [False, True, False, False, False]


def test_as_type_nan_text_is_nan_not_null():
    column, mask = as_type(chunked(["nan", "NaN", ""]), "float")
    assert column.null_count == 1
    assert np.isnan(column.to_numpy()[:2]).all()
    assert not mask.any()


def test_as_type_time_with_zone_becomes_utc():
    zone = timezone(timedelta(hours=2))
    column, mask = as_type(chunked([datetime(2024, 1, 2, 3, tzinfo=zone)]), "datetime")
    assert column.to_pylist() == [datetime(2024, 1, 2, 1)]
    assert not mask.any()


def test_as_type_accepts_frame_columns():
    frame = pd.DataFrame({"id": ["a", "b"], "kind": pd.Categorical(["x", "y"]), "year": [1990, None]})
    table = pa.Table.from_pandas(frame)
    assert as_type(table.column("id"), "string")[0].to_pylist() == ["a", "b"]
    assert as_type(table.column("kind"), "string")[0].to_pylist() == ["x", "y"]
    assert as_type(table.column("year"), "int")[0].to_pylist() == [1990, None]
    assert as_type(table.column("year"), "int")[1].tolist() == [False, False]


@pytest.mark.parametrize(
    ("values", "expected", "wrong"),
    [
        ([1.0, 2.0], ["1", "2"], []),
        ([1.0, None, NAN], ["1", None, None], []),
        ([1.5, 2.0], [None, "2"], [0]),
        ([2.0**53, 2.0**53 - 1, -0.0], [None, "9007199254740991", "0"], [0]),
        ([1e20, INF, 3.0], [None, None, "3"], [0, 1]),
        (pa.array([2.0**24, 7.0], pa.float32()), [None, "7"], [0]),
        ([7, 8], ["7", "8"], []),
        ([2**63 - 1, None], ["9223372036854775807", None], []),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"], []),
        ([Decimal(10**20), Decimal(7)], ["100000000000000000000", "7"], []),
        ([Decimal("1.00"), Decimal("1.50")], ["1", "1.5"], []),
        (["007", "x", "1.0"], ["007", "x", "1.0"], []),
        ([b"caf\xc3\xa9", b"\xff"], ["café", None], [1]),
        ([uuid.UUID(int=1), None], ["00000000-0000-0000-0000-000000000001", None], []),
        ([["a"], None], [None, None], [0]),
        ([{"a": 1}], [None], [0]),
        ([timedelta(1)], [None], [0]),
    ],
)
def test_as_keys_keeps_every_digit_or_refuses(values: Any, expected: list[str | None], wrong: list[int]) -> None:
    keys, mask = as_keys(chunked(values))
    assert np.flatnonzero(mask).tolist() == wrong
    assert [key for row, key in enumerate(keys.to_pylist()) if row not in wrong] == [
        key for row, key in enumerate(expected) if row not in wrong
    ]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**52), 2**52))))
def test_integers_survive_text_round_trip(numbers):
    texts = chunked([None if n is None else str(n) for n in numbers], pa.string())
    column, mask = as_type(texts, "int")
    assert column.to_pylist() == numbers
    assert not mask.any()


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False))))
def test_floats_survive_text_round_trip(numbers):
    texts = chunked([None if n is None else repr(n) for n in numbers], pa.string())
    column, mask = as_type(texts, "float")
    assert column.to_pylist() == numbers
    assert not mask.any()


def test_to_mask_null_is_false():
    assert to_mask(chunked([True, None, False])).tolist() == [True, False, False]


def test_as_ids_of_padded_text_are_trimmed() -> None:
    assert as_ids(chunked(["i1", " i1", "i1\t", "  ", "", None]))[0].to_pylist() == ["i1"] * 3 + [None] * 3
    assert as_ids(chunked([1, 2]))[0].to_pylist() == ["1", "2"]


@pytest.mark.parametrize(
    ("texts", "separator", "expected"),
    [
        (["a| b |", "", " ", None, "|"], "|", [["a", "b"], [], [], None, []]),
        (["a  b ", "c"], " ", [["a", "b"], ["c"]]),
        ([], "|", []),
        ([None], "|", [None]),
    ],
)
def test_split_of_text_trims_parts(texts: list[str | None], separator: str, expected: list[list[str] | None]) -> None:
    assert split(chunked(texts, pa.string()), separator).to_pylist() == expected


def test_trim_parts_keeps_missing_parts_and_lists() -> None:
    lists = pa.chunked_array([pa.array([["x"]]).slice(1), pa.array([["a ", None, ""], None, [""]]).slice(0, 3)])
    assert trim_parts(lists).to_pylist() == [["a", None], None, []]
