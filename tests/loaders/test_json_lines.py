"""Malformed and oversized JSON lines."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec.errors import DataError, Problem
from loaders.json_lines import objects
from loaders.sources import read_source


def complaints(folder: Path, data: bytes) -> list[tuple[int | None, str]]:
    (folder / "items.jsonl").write_bytes(data)
    problems: list[Problem] = []
    try:
        read_source("items.jsonl", "items", folder, problems)
    except DataError as error:
        problems += error.problems
    return [(problem.row, problem.found) for problem in problems]


def test_json_lines_every_bad_line_at_once(tmp_path: Path) -> None:
    lines = [
        rb'{"a": "whole \ud83e\udde2"}',
        rb'{"a": "cut \ud83d"}',
        rb'{"a": ["x", {"b": "\udde2"}]}',
        rb'{"\ud83d": 1}',
        rb'{"a": 1, "b": 2, "a": 3}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"9" * 5_000 + b"}",
        b"[1]",
        b"{",
    ]
    found = complaints(tmp_path, b"\n".join(lines))
    assert [row for row, _ in found] == [2, 3, 4, 5, 6, 7, 8, 9]
    texts = [text for _, text in found]
    assert texts[:4] == [
        r"a lone surrogate (\ud83d) in 'a', which is not valid text",
        r"a lone surrogate (\udde2) in 'a', which is not valid text",
        r"a lone surrogate (\ud83d) in '\ud83d', which is not valid text",
        "the key 'a' twice",
    ]
    assert texts[4:6] == ["values nested too deep to be read", "a number of thousands of digits"]


def test_json_lines_unreadable_file_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found is a directory; expected a readable file"):
        objects(tmp_path)


def test_json_lines_escaped_backslash_is_no_half(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_bytes(b'\xef\xbb\xbf{"a": "C:\\\\ud83d"}\n')
    table, _ = read_source("items.jsonl", "items", tmp_path, [])
    assert table.column("a").to_pylist() == [r"C:\ud83d"]


def test_json_lines_many_keys_one_problem(tmp_path: Path) -> None:
    start = time.monotonic()
    found = complaints(tmp_path, b"\n".join(b'{"k%d": 1}' % i for i in range(20_000)))
    assert found == [(None, "20,000 keys in 20,000 lines")]
    assert time.monotonic() - start < 10


def test_table_many_columns_one_problem(tmp_path: Path) -> None:
    table = pa.table({f"c{i}": pa.array([], pa.int8()) for i in range(20_000)})
    with pytest.raises(
        DataError, match="1 problem in the data:\n  items: found 20,000 columns; expected at most 10,000"
    ):
        read_source(table, "items", tmp_path, [])


def test_parquet_many_columns_one_problem(tmp_path: Path) -> None:
    pq.write_table(pa.table({f"c{i}": pa.array([], pa.int8()) for i in range(10_001)}), tmp_path / "wide.parquet")
    with pytest.raises(DataError, match="10,001 columns; expected at most 10,000"):
        read_source("wide.parquet", "items", tmp_path, [])
