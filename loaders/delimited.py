"""Reader of one delimited text file as an Arrow table of strings.

Arrow parses a file after quotes.py has checked its quotes. Only a file with errors is read a second time, line by line,
to report every problem and to leave out the rows that have one: the values of the others are still checked, so that one
message lists all problems of a file.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv

from kgrec._util.files import reason
from kgrec._util.notices import notice
from kgrec.data.tables import Origin
from kgrec.errors import DataError, Problem
from loaders import quotes

_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 4 << 20
_MIN_QUOTED_ROWS: Final = 10
"""Minimum number of rows at which a column with all values in quotes is taken for quoted text."""

MAX_COLUMNS: Final = 10_000
MAX_PROBLEMS: Final = 10_000
"""Maximum number of problems reported per file."""

_SEPARATORS = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar"}


@dataclass(frozen=True)
class Dialect:
    """Format of a delimited file.

    Attributes:
        delimiter: one character.
        quoted: whether values may be in double quotes; if False, a quote is an ordinary character. None detects it:
            from quotes around the column names, or from values that contain the delimiter in quotes.
        encoding: text encoding.
    """

    delimiter: str
    quoted: bool | None = True
    encoding: str = "utf-8"


CSV = Dialect(",")
TSV = Dialect("\t", quoted=None)
UNQUOTED_TSV = Dialect("\t", quoted=False)


@dataclass(frozen=True)
class TextTable:
    """Content of a file.

    Attributes:
        path: the file.
        table: n rows of string columns; an empty value is null.
        origins: source lines of the rows.
        problems: the problems of rows that are left out, at most `MAX_PROBLEMS`.
    """

    path: Path
    table: pa.Table
    origins: tuple[Origin, ...]
    problems: tuple[Problem, ...] = ()


def read_delimited(path: Path, dialect: Dialect, names: Sequence[str] | None = None) -> TextTable:
    """Return the content of a file with a header line, or with the columns `names` and no header.

    A byte-order mark, Windows line ends, blank lines at the end and quotes escaped by a backslash are accepted. Rows
    with bytes that are not UTF-8, a wrong number of fields or misplaced quotes are left out and listed in `problems`.

    Raises:
        DataError: a missing or empty file, or an invalid header.
    """
    data, dialect = _quotes_settled(path, _content(path, dialect), dialect)
    header = list(names) if names else _header(path, data, dialect)
    n_header = 0 if names else 1
    if b"\0" in data or (dialect.quoted and not quotes.is_strict(data, dialect.delimiter)):
        return _without_faults(path, data, header, n_header, dialect)
    data, problems = _without_stray_returns(path, data, dialect)
    try:
        table = _parse(data, header, n_header, dialect)
    except pa.ArrowInvalid as error:
        text = _without_faults(path, data, header, n_header, dialect)
        if not text.problems:
            raise DataError([Problem(str(path), str(error), "delimited text")]) from None
        lines = {problem.row for problem in problems}
        return replace(text, problems=(*problems, *(p for p in text.problems if p.row not in lines)))
    return TextTable(path, table, _origins(path, data, table.num_rows, n_header, dialect), problems)


def _content(path: Path, dialect: Dialect) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError([Problem(str(path), reason(error), "a readable file")]) from None
    data = data.removeprefix(_BOM)
    if not data.strip():
        raise DataError([Problem(str(path), "an empty file", "a header and rows")])
    if dialect.encoding != "utf-8":
        data = data.decode(dialect.encoding).encode()
    return data.rstrip(b"\r\n")


def _quotes_settled(path: Path, data: bytes, dialect: Dialect) -> tuple[bytes, Dialect]:
    """Return the text with its quotes in RFC 4180 form, unless they are misplaced, and the resolved dialect."""
    if dialect.quoted is False or b'"' not in data:
        return data, replace(dialect, quoted=False)
    texts = (data, quotes.with_doubled_quotes(data)) if b'\\"' in data else (data,)
    strict = next((text for text in texts if quotes.is_strict(text, dialect.delimiter)), None)
    if dialect.quoted is None and not _is_quoted(data, strict, dialect.delimiter):
        _check_not_quoted(path, data, dialect.delimiter)
        return data, replace(dialect, quoted=False)
    if strict is not None and strict is not data:
        notice(f"{path}: a backslash before a quote is read as its escape")
    return data if strict is None else strict, replace(dialect, quoted=True)


def _is_quoted(data: bytes, strict: bytes | None, delimiter: str) -> bool:
    """Return whether values are quoted, in a format where a quote may also be an ordinary character.

    Args:
        data: the text.
        strict: the text with quotes in RFC 4180 form; None if it has no such form.
        delimiter: one character.
    """
    if any(len(cell) > 1 and cell[:1] == cell[-1:] == b'"' for cell in _first_line(data).split(delimiter.encode())):
        return True
    if strict is None:
        return False
    if not quotes.is_rectangular(data, delimiter):
        return True
    n_rows = [len(quotes.row_ends(text, quoted)) for text, quoted in ((data, False), (strict, True))]
    return quotes.has_pairs(strict) and n_rows[0] == n_rows[1]


def _check_not_quoted(path: Path, data: bytes, delimiter: str) -> None:
    """Raise a DataError if all values of a column are in quotes but its name is not, which is ambiguous."""
    cells = [line.split(delimiter.encode()) for line in itertools.islice(data.splitlines(), 1 + 100 * _MIN_QUOTED_ROWS)]
    columns = itertools.zip_longest(*cells[1:], fillvalue=b"")
    problems = [
        Problem(
            str(path),
            "every value in quotes, and no quotes around the column's name",
            "quotes around the name too, or around no value",
            1,
            name.decode(errors="replace"),
        )
        for name, values in zip(cells[0], columns, strict=False)
        if len(given := [value for value in values if value]) >= _MIN_QUOTED_ROWS
        and all(len(value) > 1 and value[:1] == value[-1:] == b'"' for value in given)
    ]
    if problems:
        raise DataError(problems)


def _first_line(data: bytes) -> bytes:
    end = data.find(b"\n")
    return (data[:end] if end >= 0 else data).split(b"\r", 1)[0]


def _header(path: Path, data: bytes, dialect: Dialect) -> list[str]:
    try:
        line = _first_line(data).decode()
    except UnicodeDecodeError:
        raise DataError(list(_byte_faults(path, data))) from None
    cells = _cells(line, dialect.delimiter, dialect.quoted)
    problems = list(_header_problems(path, line, cells, dialect))
    if problems or cells is None:
        raise DataError([*problems, *_byte_faults(path, data)])
    return cells


def _cells(line: str, delimiter: str, quoted: bool | None) -> list[str] | None:
    """Return the cells of a header, or None if its quotes are misplaced."""
    if not quoted:
        return [cell.strip() for cell in line.split(delimiter)]
    if not quotes.is_strict(line.encode(), delimiter):
        return None
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True), [""])]


def _header_problems(path: Path, line: str, cells: list[str] | None, dialect: Dialect) -> Iterator[Problem]:
    if cells is None or len(cells) == 1:
        for sign, name in _SEPARATORS.items():
            if sign != dialect.delimiter and len(_cells(line, sign, '"' in line) or ()) > 1:
                expected = f"columns separated by {_SEPARATORS.get(dialect.delimiter, repr(dialect.delimiter))}"
                yield Problem(str(path), f"columns separated by {name}", expected, 1)
                return
    if cells is None:
        fault = next(fault for _, fault in quotes.rows(line, dialect.delimiter) if isinstance(fault, quotes.Fault))
        yield Problem(str(path), fault.found, fault.expected, 1)
        return
    if len(cells) > MAX_COLUMNS:
        yield Problem(str(path), f"{len(cells):,} columns", f"at most {MAX_COLUMNS:,}", 1)
        return
    for number, cell in enumerate(cells, 1):
        if not cell:
            yield Problem(str(path), "a column without a name", "a name for every column", 1, f"column {number}")
    for cell, n in sorted(Counter(cells).items()):
        if cell and n > 1:
            yield Problem(str(path), "the column twice", "each column once", 1, cell)


def _without_stray_returns(path: Path, data: bytes, dialect: Dialect) -> tuple[bytes, tuple[Problem, ...]]:
    """Return the text with blanks for carriage returns in a file with other line ends, and a problem for each.

    Such a carriage return may belong to a value.
    """
    if data.count(b"\r") == data.count(b"\r\n") or b"\n" not in data:
        return data, ()
    text, ends = np.frombuffer(data, np.uint8).copy(), quotes.row_ends(data, bool(dialect.quoted))
    returns = ends[text[ends] == 13]
    if len(returns) == len(ends):
        return data, ()
    lines = np.searchsorted(np.flatnonzero(text == 10), returns) + 1
    found, expected = "a carriage return within a line", "one kind of line end, or the value in quotes"
    text[returns] = ord(" ")
    return text.tobytes(), tuple(Problem(str(path), found, expected, n) for n in lines[:MAX_PROBLEMS].tolist())


def _parse(data: bytes, header: list[str], n_header: int, dialect: Dialect) -> pa.Table:
    if not data or (n_header and b"\n" not in data and b"\r" not in data):
        return pa.table({name: pa.array([], pa.string()) for name in header})
    return pc_csv.read_csv(
        pa.BufferReader(data),
        # Threads gain nothing in a block, and Arrow may abort a process that exits right after (apache/arrow#34314).
        pc_csv.ReadOptions(
            use_threads=len(data) > _BLOCK_BYTES, column_names=header, skip_rows=n_header, block_size=_BLOCK_BYTES
        ),
        pc_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char='"' if dialect.quoted else False,
            newlines_in_values=dialect.quoted,
            ignore_empty_lines=False,
        ),
        pc_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _without_faults(path: Path, data: bytes, header: list[str], n_header: int, dialect: Dialect) -> TextTable:
    """Return the rows of a file without problems, and the problems of the others."""
    rows = list(_rows(data.decode(errors="replace"), dialect))
    problems: list[Problem] = []
    firsts, bad = np.array([line for line, _ in rows]), np.zeros(len(rows), dtype=bool)
    bad[:n_header] = True
    for problem in itertools.chain(_byte_faults(path, data), _row_faults(path, rows, len(header))):
        bad[np.searchsorted(firsts, problem.row or 0, "right") - 1] = True
        if len(problems) < MAX_PROBLEMS:
            problems.append(problem)
    lines, ends, good = data.splitlines(keepends=True), [*firsts[1:].tolist(), None], np.flatnonzero(~bad).tolist()
    text = b"".join(b"".join(lines[rows[i][0] - 1 : ends[i] and ends[i] - 1]) for i in good)
    table = _parse(text.rstrip(b"\r\n"), header, 0, dialect)
    return TextTable(path, table, (Origin(str(path), 1, len(good), rows=firsts[good]),), tuple(problems))


def _row_faults(path: Path, rows: list[tuple[int, int | quotes.Fault]], n_fields: int) -> Iterator[Problem]:
    for line, row in rows:
        if isinstance(row, quotes.Fault):
            yield Problem(str(path), row.found, row.expected, line)
        elif row != n_fields:
            yield Problem(str(path), _fields(row) if row else "a blank line", _fields(n_fields), line)


def _rows(text: str, dialect: Dialect) -> Iterator[tuple[int, int | quotes.Fault]]:
    """Yield the first line number of each row, and its number of values (0 for a blank line) or a misplaced quote."""
    if dialect.quoted:
        yield from quotes.rows(text, dialect.delimiter)
        return
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        yield number, line.count(dialect.delimiter) + 1 if line else 0


def _fields(number: int) -> str:
    return f"{number} field" if number == 1 else f"{number} fields"


def _byte_faults(path: Path, data: bytes) -> Iterator[Problem]:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            line.decode()
            at, what = line.find(b"\0"), "of no text"
        except UnicodeDecodeError as error:
            at, what = error.start, "which is not UTF-8"
        if at >= 0:
            found = f"byte 0x{line[at]:02x} at position {at + 1} of the line, {what}"
            yield Problem(str(path), found, "UTF-8 text; save the file as UTF-8", number)


def _origins(path: Path, data: bytes, n_rows: int, n_header: int, dialect: Dialect) -> tuple[Origin, ...]:
    if not dialect.quoted or data.count(b"\n") + 1 == n_rows + n_header:
        return (Origin(str(path), 1 + n_header, n_rows),)
    ends = np.searchsorted(quotes.row_ends(data, quoted=False), quotes.row_ends(data, quoted=True))
    firsts = np.concatenate([[1], ends + 2])[n_header:]
    return tuple(_stretches(str(path), firsts.tolist()))


def _stretches(where: str, firsts: Sequence[int]) -> Iterator[Origin]:
    """Yield one origin per range of rows on consecutive lines; a value that spans lines ends a range."""
    start = 0
    for index in range(1, len(firsts) + 1):
        if index == len(firsts) or firsts[index] != firsts[index - 1] + 1:
            yield Origin(where, firsts[start], index - start)
            start = index
