"""One delimited text file as an Arrow table of strings.

A well-formed file is parsed by Arrow. Only a file that Arrow refuses is read a second time, line by line, to name
every fault in it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc_csv

from kgrec.errors import DataError, Problem
from kgrec.tables import Origin

_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 4 << 20
_SEPARATORS = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar"}


@dataclass(frozen=True)
class Dialect:
    """How a file separates its values.

    Attributes:
        delimiter: one character.
        quoted: whether a value may stand in double quotes; without, a quote is a character like any other.
        encoding: of the text.
    """

    delimiter: str
    quoted: bool = True
    encoding: str = "utf-8"


CSV = Dialect(",")
TSV = Dialect("\t")
UNQUOTED_TSV = Dialect("\t", quoted=False)


@dataclass(frozen=True)
class TextTable:
    """What a file holds.

    Attributes:
        path: the file.
        table: n rows of string columns; an empty value is null.
        origins: the lines the rows came from.
    """

    path: Path
    table: pa.Table
    origins: tuple[Origin, ...]


def read_delimited(path: Path, dialect: Dialect, names: Sequence[str] | None = None) -> TextTable:
    """Read a file whose first line names its columns, or whose columns are `names`.

    A byte-order mark, Windows line ends and blank lines at the end are accepted.

    Raises:
        DataError: with every problem of the file: missing, empty, header wrong, bytes that are not UTF-8, ragged rows.
    """
    data = _content(path, dialect)
    header = list(names) if names else _header(path, data, dialect)
    n_header = 0 if names else 1
    try:
        table = _parse(data, header, n_header, dialect)
        origins = _origins(path, data, table.num_rows, n_header, dialect)
    except (pa.ArrowInvalid, csv.Error) as error:
        problems = list(_faults(path, data, len(header), dialect))
        raise DataError(problems or [Problem(str(path), str(error), "delimited text")]) from None
    return TextTable(path, table, origins)


def _content(path: Path, dialect: Dialect) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError([Problem(str(path), (error.strerror or str(error)).lower(), "a readable file")]) from None
    data = data.removeprefix(_BOM)
    if not data.strip():
        raise DataError([Problem(str(path), "an empty file", "a header and rows")])
    if dialect.encoding != "utf-8":
        data = data.decode(dialect.encoding).encode()
    return data.rstrip(b"\r\n")


def _header(path: Path, data: bytes, dialect: Dialect) -> list[str]:
    line = data[: data.find(b"\n") if b"\n" in data else len(data)]
    try:
        cells = next(_records([line.splitlines()[0].decode()], dialect))[1] if line.strip() else [""]
    except UnicodeDecodeError:
        raise DataError(list(_utf8_faults(path, data.splitlines()))) from None
    except csv.Error as error:
        raise DataError([_open_quote(path, error)]) from None
    cells = [cell.strip() for cell in cells]
    problems = [
        Problem(str(path), "a column without a name", "a name for every column", 1, f"column {number}")
        for number, cell in enumerate(cells, 1)
        if not cell
    ]
    other = next((name for sign, name in _SEPARATORS.items() if sign != dialect.delimiter and sign in cells[0]), None)
    if other and len(cells) == 1:
        expected = f"columns separated by {_SEPARATORS.get(dialect.delimiter, repr(dialect.delimiter))}"
        problems.append(Problem(str(path), f"columns separated by {other}", expected, 1))
    twice = sorted({cell for cell in cells if cell and cells.count(cell) > 1})
    problems += [Problem(str(path), "the column twice", "each column once", 1, cell) for cell in twice]
    if problems:
        raise DataError(problems)
    return cells


def _parse(data: bytes, header: list[str], n_header: int, dialect: Dialect) -> pa.Table:
    if n_header and b"\n" not in data and b"\r" not in data:
        return pa.table({name: pa.array([], pa.string()) for name in header})
    return pc_csv.read_csv(
        pa.BufferReader(data),
        # Within a block threads gain nothing, and Arrow may abort a process that ends right after (apache/arrow#34314).
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


def _faults(path: Path, data: bytes, n_fields: int, dialect: Dialect) -> Iterator[Problem]:
    lines = data.splitlines(keepends=True)
    yield from _utf8_faults(path, lines)
    try:
        for line, fields in _records([line.decode(errors="replace") for line in lines], dialect):
            if len(fields) != n_fields:
                found = "a blank line" if not any(fields) else _fields(len(fields))
                yield Problem(str(path), found, _fields(n_fields), line)
    except csv.Error as error:
        yield _open_quote(path, error)


def _open_quote(path: Path, error: csv.Error) -> Problem:
    line, reason = error.args
    return Problem(str(path), f"a row with unbalanced quotes ({reason})", "a closing quote for every opening one", line)


def _fields(number: int) -> str:
    return f"{number} field" if number == 1 else f"{number} fields"


def _utf8_faults(path: Path, lines: Sequence[bytes]) -> Iterator[Problem]:
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            found = f"byte 0x{line[error.start]:02x} at position {error.start + 1} of the line, which is not UTF-8"
            yield Problem(str(path), found, "UTF-8 text; save the file as UTF-8", number)


def _records(lines: Sequence[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, fields) of every record; a `csv.Error` has the line and the reason."""
    if not dialect.quoted:
        for number, line in enumerate(lines, 1):
            yield number, line.rstrip("\r\n").split(dialect.delimiter)
        return
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    first = 1
    try:
        for fields in reader:
            yield first, fields
            first = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(first, str(error)) from None


def _origins(path: Path, data: bytes, n_rows: int, n_header: int, dialect: Dialect) -> tuple[Origin, ...]:
    n_lines = data.count(b"\n") + 1
    if not dialect.quoted or n_lines == n_rows + n_header:
        return (Origin(str(path), 1 + n_header, n_rows),)
    lines = [line.decode() for line in data.splitlines(keepends=True)]
    firsts = [first for first, _ in _records(lines, dialect)][n_header:]
    return tuple(_stretches(str(path), firsts))


def _stretches(where: str, firsts: Sequence[int]) -> Iterator[Origin]:
    """Join rows on consecutive lines; a value that spans lines ends a stretch."""
    start = 0
    for index in range(1, len(firsts) + 1):
        if index == len(firsts) or firsts[index] != firsts[index - 1] + 1:
            yield Origin(where, firsts[start], index - start)
            start = index
