"""Quotes of CSV and TSV files: read correctly, or refused with their line."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgrec._util.notices import DataNotice
from kgrec.errors import DataError
from loaders.delimited import CSV, TSV, UNQUOTED_TSV, Dialect, read_delimited


def rows_of(folder: Path, data: str, dialect: Dialect = CSV) -> list[list[str | None]]:
    path = folder / "some.txt"
    path.write_bytes(data.encode())
    text = read_delimited(path, dialect)
    if text.problems:
        raise DataError(text.problems)
    columns = text.table.to_pydict().values()
    return [list(row) for row in zip(*columns, strict=True)]


def complaints(folder: Path, data: str, dialect: Dialect = CSV) -> list[tuple[int | None, str]]:
    with pytest.raises(DataError) as caught:
        rows_of(folder, data, dialect)
    return [(problem.row, problem.found) for problem in caught.value.problems]


def test_tsv_lone_quotes_characters(tmp_path: Path) -> None:
    data = 'user\tartist\nu1\t"Unplugged\nu2\tRemixes on 12"\nu3\t"Echo"\nu4\tEcho\n'
    assert [row[1] for row in rows_of(tmp_path, data, TSV)] == ['"Unplugged', 'Remixes on 12"', '"Echo"', "Echo"]


@pytest.mark.parametrize(
    "data",
    [
        '"user"\t"title"\n"u1"\t"Echo"\n"u2"\t"a\tb"\n',
        'user\ttitle\nu1\tEcho\nu2\t"a\tb"\n',
        'user\ttitle\nu1\tEcho\nu2\t"a\nb"\n',
        'user\ttitle\nu1\tEcho\nu2\t"a ""b"""\n',
    ],
)
@pytest.mark.filterwarnings("ignore::kgrec._util.notices.DataNotice")
def test_tsv_quoted_values_unquoted(tmp_path: Path, data: str) -> None:
    rows = rows_of(tmp_path, data, TSV)
    assert rows == list(csv.reader(io.StringIO(data, newline=""), delimiter="\t"))[1:]


def test_tsv_column_in_quotes_refused(tmp_path: Path) -> None:
    data = "user\tartist\n" + "".join(f'u{i}\t"a{i}"\n' for i in range(10))
    found = complaints(tmp_path, data, TSV)
    assert found == [(1, "every value in quotes, and no quotes around the column's name")]
    assert len(rows_of(tmp_path, f"{data}u11\ta11\n", TSV)) == 11
    assert len(rows_of(tmp_path, data, UNQUOTED_TSV)) == 10


def test_csv_backslash_quotes_read(tmp_path: Path) -> None:
    data = 'isbn,title\n"1","The \\"Lost\\" Harbour"\n"2","C:\\\\"\n3,"a ""b"" c"\n'
    with pytest.warns(DataNotice, match="backslash"):
        rows = rows_of(tmp_path, data)
    assert [row[1] for row in rows] == ['The "Lost" Harbour', "C:\\", 'a "b" c']


def test_tsv_backslash_quotes_read(tmp_path: Path) -> None:
    with pytest.warns(DataNotice, match="backslash"):
        assert rows_of(tmp_path, '"a"\t"b"\n"1"\t"12\\""\n', TSV) == [["1", '12"']]


def test_csv_backslash_outside_escapes_kept(tmp_path: Path) -> None:
    assert rows_of(tmp_path, 'a,b\n"C:\\dir","C:\\"\n') == [["C:\\dir", "C:\\"]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('a,b\n1,x"y\n2,z\n', [(2, "a quote within a value that has none around it")]),
        ('a,b\n1,"x"y\n2,z\n', [(2, "text after a closing quote")]),
        ('a,b\n1,"x\n2,z\n', [(2, "a quote that is never closed")]),
        ('a,b\n1, "x"\n', [(2, "a quote within a value that has none around it")]),
        ('a,b\n1,The \\"Lost\\" Harbour\n', [(2, "a quote within a value that has none around it")]),
        ('a,b\n1,5"\n2,"x\n3,y,\n"4"5,z\n', [(2, "a quote within"), (3, "text after"), (4, "3 f"), (5, "text after")]),
        ('a,b\n1,"x\ny"\n2,7"\n', [(4, "a quote within a value that has none around it")]),
    ],
)
def test_csv_misplaced_quotes_each_line(tmp_path: Path, data: str, expected: list[tuple[int, str]]) -> None:
    found = complaints(tmp_path, data)
    assert len(found) == len(expected)
    assert all(
        row == line and what.startswith(start) for (row, what), (line, start) in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("sign", [";", "\t", "|"])
@pytest.mark.parametrize("quote", ['"', ""])
def test_csv_other_separator_named(tmp_path: Path, sign: str, quote: str) -> None:
    data = "".join(sign.join(f"{quote}{cell}{quote}" for cell in row) + "\n" for row in (("a", "b"), ("1", "2")))
    assert complaints(tmp_path, data)[0][1].startswith("columns separated by a ")


def test_lone_carriage_return_refused(tmp_path: Path) -> None:
    assert complaints(tmp_path, "a,b\n1,x\ry,2\n") == [(2, "a carriage return within a line")]
    assert rows_of(tmp_path, 'a,b\n1,"x\ry"\n') == [["1", "x\ry"]]
    assert rows_of(tmp_path, "a,b\r1,x\r2,y\r") == [["1", "x"], ["2", "y"]]


def test_nul_byte_refused(tmp_path: Path) -> None:
    assert complaints(tmp_path, "a,b\n1,\0\n") == [(2, "byte 0x00 at position 3 of the line, of no text")]


def test_many_columns_one_problem(tmp_path: Path) -> None:
    start = time.monotonic()
    assert complaints(tmp_path, ",".join(["x"] * 100_000) + "\n") == [(1, "100,000 columns")]
    assert time.monotonic() - start < 5


def test_many_unclosed_quotes_quick(tmp_path: Path) -> None:
    assert len(complaints(tmp_path, 'a,b\n1,"x",\n' + '"' * 60_001 + "\n" + ',"\n",\n' * 20_000)) > 1


CELL = st.text(st.sampled_from('ab ,"\t\n'), max_size=4)


@given(st.lists(st.tuples(CELL, CELL), max_size=4), st.sampled_from(",\t"), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_csv_writer_output_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], sign: str, quote_all: bool
) -> None:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(text, delimiter=sign, quoting=quoting, lineterminator="\n").writerows([("a", "b"), *cells])
    rows = rows_of(tmp_path_factory.getbasetemp(), text.getvalue(), Dialect(sign))
    assert rows == [[cell or None for cell in row] for row in cells]


@given(st.text(st.sampled_from('ab,"\n'), max_size=12))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_csv_any_text_same_rows_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        rows = rows_of(tmp_path_factory.getbasetemp(), f"x,y\n{text}")
    except DataError:
        return
    expected = list(csv.reader(io.StringIO(text.rstrip("\n"), newline=""), strict=True))
    assert rows == [[cell or None for cell in row] or [None, None] for row in expected]
