"""Reader of JSON lines (one object per line) that reports every invalid line with its number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from kgrec._util.files import reason
from kgrec._util.types import IntArray
from kgrec.errors import DataError, Problem
from loaders.delimited import MAX_COLUMNS, MAX_PROBLEMS

MAX_CELLS: Final = 200_000_000
"""Maximum number of cells (rows times keys) if there are more than `MANY_KEYS` keys: absent cells need memory too."""

MANY_KEYS: Final = 1_000

_HALF_PAIR: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class JsonLines(NamedTuple):
    """The objects [n] of a file, their line numbers [n], and the problems of the other lines."""

    rows: list[dict[str, Any]]
    lines: IntArray
    problems: list[Problem]


def objects(path: Path) -> JsonLines:
    """Return the objects of a file, one per line; a line that is no object or has a duplicate key is a problem.

    Raises:
        DataError: too many keys, or a file that cannot be read or is empty.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError([Problem(str(path), reason(error), "a readable file")]) from None
    lines = data.removeprefix(b"\xef\xbb\xbf").rstrip().splitlines()
    if not lines:
        raise DataError([Problem(str(path), "an empty file", "one JSON object per line")])
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_object(line))
            numbers.append(number)
        except ValueError as error:
            problems.append(Problem(str(path), str(error), "one JSON object per line", number))
            if len(problems) == MAX_PROBLEMS:
                break
    n_keys = len({key for row in rows for key in row})
    if n_keys > MAX_COLUMNS or (n_keys > MANY_KEYS and n_keys * len(rows) > MAX_CELLS):
        expected = f"at most {MAX_COLUMNS:,}, fewer in a file of many lines"
        raise DataError([*problems, Problem(str(path), f"{n_keys:,} keys in {len(lines):,} lines", expected)])
    return JsonLines(rows, np.array(numbers, dtype=np.int64), problems)


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"byte 0x{line[error.start]:02x} at position {error.start + 1}, which is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"text that is not JSON ({error.msg} at position {error.colno})") from None
    except ValueError as error:
        long = "Exceeds the limit" in str(error)
        raise ValueError("a number of thousands of digits" if long else str(error)) from None
    except RecursionError:
        raise ValueError("values nested too deep to be read") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}")
    if _HALF_PAIR.search(line):
        for key, part in value.items():
            _check_text(key, part)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in value if keys.count(key) > 1)!r} twice")
    return value


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_keys)


def _check_text(key: str, value: Any) -> None:
    """Raise a ValueError with the key of a text that has a lone surrogate, such as one cut within a character."""
    text = json.dumps([key, value], ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])[1:-1]
        raise ValueError(f"a lone surrogate ({half}) in {key!a}, which is not valid text") from None
