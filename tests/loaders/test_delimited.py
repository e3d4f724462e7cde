from pathlib import Path

import pytest

from kgrec.errors import DataError
from loaders.delimited import CSV, UNQUOTED_TSV, Dialect, read_delimited


def written(folder: Path, data: bytes) -> Path:
    path = folder / "some.txt"
    path.write_bytes(data)
    return path


def complaint(path: Path, dialect: Dialect = UNQUOTED_TSV) -> str:
    try:
        error = DataError(read_delimited(path, dialect).problems)
    except DataError as raised:
        error = raised
    assert error.problems
    return str(error).replace(str(path), "FILE")


def test_read_gives_rows_and_line_numbers(tmp_path: Path) -> None:
    text = read_delimited(written(tmp_path, b"a\tb\n1\t2\n3\t\n"), UNQUOTED_TSV)
    assert text.table.to_pylist() == [{"a": "1", "b": "2"}, {"a": "3", "b": None}]
    assert [(o.first_row, o.n_rows) for o in text.origins] == [(2, 2)]


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfa\tb\n1\t2\n", b"a\tb\r\n1\t2\r\n", b"a\tb\n1\t2", b"a\tb\n1\t2\n\n\r\n"]
)
def test_read_handles_bom_line_ends_and_trailing_lines(tmp_path: Path, data: bytes) -> None:
    assert read_delimited(written(tmp_path, data), UNQUOTED_TSV).table.to_pylist() == [{"a": "1", "b": "2"}]


def test_quote_in_unquoted_file_is_a_character(tmp_path: Path) -> None:
    text = read_delimited(written(tmp_path, b'a\tb\n"Alien" is\tit\'s "x\n'), UNQUOTED_TSV)
    assert text.table.to_pylist() == [{"a": '"Alien" is', "b": "it's \"x"}]


def test_quoted_value_may_hold_delimiter_and_line_end(tmp_path: Path) -> None:
    text = read_delimited(written(tmp_path, b'a,b\n1,"x,y"\n2,"two\nlines"\n3,z\n'), CSV)
    assert text.table.column("b").to_pylist() == ["x,y", "two\nlines", "z"]
    assert [(o.first_row, o.n_rows) for o in text.origins] == [(2, 2), (5, 1)]


def test_text_like_na_or_number_stays_text(tmp_path: Path) -> None:
    text = read_delimited(written(tmp_path, b"a\tb\nNA\t007\nnull\t1e5\n"), UNQUOTED_TSV)
    assert text.table.to_pydict() == {"a": ["NA", "null"], "b": ["007", "1e5"]}


def test_header_only_file_has_no_rows(tmp_path: Path) -> None:
    text = read_delimited(written(tmp_path, b"a\tb\n"), UNQUOTED_TSV)
    assert text.table.num_rows == 0
    assert text.table.column_names == ["a", "b"]


def test_given_names_replace_the_header(tmp_path: Path) -> None:
    latin = Dialect("|", quoted=False, encoding="latin-1")
    text = read_delimited(written(tmp_path, "1|Misérables\n".encode("latin-1")), latin, ("id", "title"))
    assert text.table.to_pylist() == [{"id": "1", "title": "Misérables"}]
    assert text.origins[0].first_row == 1


def test_missing_file_fails(tmp_path: Path) -> None:
    assert complaint(tmp_path / "gone") == (
        "1 problem in the data:\n  FILE: found no such file or directory; expected a readable file"
    )


def test_folder_instead_of_file_fails(tmp_path: Path) -> None:
    assert "found is a directory; expected a readable file" in complaint(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file_fails(tmp_path: Path, data: bytes) -> None:
    assert "FILE: found an empty file; expected a header and rows" in complaint(written(tmp_path, data))


def test_duplicate_and_unnamed_columns_fail(tmp_path: Path) -> None:
    message = complaint(written(tmp_path, b"a\t\ta\n1\t2\t3\n"))
    assert "FILE:1: column 2: found a column without a name" in message
    assert "FILE:1: a: found the column twice" in message


def test_all_ragged_rows_and_bad_bytes_are_reported(tmp_path: Path) -> None:
    message = complaint(written(tmp_path, b"a\tb\n1\t2\t3\nx\t\xff\n\n4\n5\t6\n"))
    assert message.startswith("4 problems in the data:")
    assert "FILE:2: found 3 fields; expected 2 fields" in message
    assert "FILE:3: found byte 0xff at position 3 of the line, which is not UTF-8" in message
    assert "FILE:4: found a blank line; expected 2 fields" in message
    assert "FILE:5: found 1 field; expected 2 fields" in message


def test_header_not_utf8_fails(tmp_path: Path) -> None:
    assert "FILE:1: found byte 0xe9 at position 1" in complaint(written(tmp_path, b"\xe9\tb\n1\t2\n"))


def test_utf16_is_refused_with_advice(tmp_path: Path) -> None:
    message = complaint(written(tmp_path, "a\tb\n1\t2\n".encode("utf-16")))
    assert "which is not UTF-8; expected UTF-8 text; save the file as UTF-8" in message


def test_unclosed_quote_fails(tmp_path: Path) -> None:
    message = complaint(written(tmp_path, b'a,b\n1,"x\n2,y\n'), CSV)
    assert "FILE:2: found a quote that is never closed; expected a closing quote" in message


def test_unclosed_quote_in_header_fails(tmp_path: Path) -> None:
    assert "FILE:1: found a quote that is never closed" in complaint(written(tmp_path, b'a,"b\n1,2\n'), CSV)


def test_ragged_quoted_row_reports_its_first_line(tmp_path: Path) -> None:
    message = complaint(written(tmp_path, b'a,b\n1,"x\ny"\n2\n'), CSV)
    assert "FILE:4: found 1 field; expected 2 fields" in message


@pytest.mark.parametrize(
    ("header", "dialect", "told"),
    [
        ("sku;title\n", CSV, "found columns separated by a semicolon; expected columns separated by a comma"),
        ("user_id:token,item_id:token\n", UNQUOTED_TSV, "separated by a comma; expected columns separated by a tab"),
    ],
)
def test_other_separator_is_reported(tmp_path: Path, header: str, dialect: Dialect, told: str) -> None:
    assert told in complaint(written(tmp_path, header.encode()), dialect)
