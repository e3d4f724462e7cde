"""Validation of double quotes in delimited text by RFC 4180: around a complete value, and doubled within it.

CSV parsers are lenient: they silently merge rows or drop a quote if one is misplaced. Here the byte position of every
quote is checked: opening and closing quotes alternate, so the adjacent bytes show whether a quote is valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from kgrec._util.types import IntArray

_QUOTE: Final = b'"'
_DOUBLED: Final = 'quotes around the complete value, and "" for a quote within it'
_UNCLOSED_SHOWN: Final = 20
"""Maximum number of unclosed quotes reported per file; each one is searched to the end of the file."""


class Fault(NamedTuple):
    """A misplaced quote: its line, the text found, and the text expected."""

    line: int
    found: str
    expected: str


def quotes_of(data: bytes) -> IntArray:
    """Return the byte positions of all double quotes."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == ord(_QUOTE))


def is_strict(data: bytes, delimiter: str) -> bool:
    """Return whether every quote opens a value, closes one, or is part of a doubled pair within one."""
    at = quotes_of(data)
    if len(at) % 2:
        return False
    text = np.frombuffer(data, np.uint8)
    ends = np.frombuffer(f'{delimiter}\r\n"'.encode(), np.uint8)
    opening, closing = at[::2], at[1::2]
    before, after = text[opening[opening > 0] - 1], text[closing[closing < len(text) - 1] + 1]
    # A quote after a closing one is the second of a doubled pair; it counts as an opening one and is checked as such.
    return bool(np.isin(before, ends).all() and np.isin(after, ends).all())


def has_pairs(data: bytes) -> bool:
    """Return whether a value contains doubled quotes, for text with valid quotes (`is_strict`)."""
    at = quotes_of(data)
    return bool((at[2::2] == at[1:-1:2] + 1).any())


def with_doubled_quotes(data: bytes) -> bytes:
    """Return text with each escaped quote (backslash and quote) doubled instead, and each double backslash halved."""
    return re.sub(rb'\\(["\\])', lambda match: b'""' if match[1] == _QUOTE else match[1], data)


def row_ends(data: bytes, quoted: bool) -> IntArray:
    """Return the byte positions of the line ends (\\n, or \\r without \\n) that end a row, not those within quotes."""
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text == 10)
    if b"\r" in data:
        returns = np.flatnonzero(text[:-1] == 13)
        ends = np.union1d(ends, returns[text[returns + 1] != 10])
    return ends[np.searchsorted(quotes_of(data), ends) % 2 == 0] if quoted else ends


def is_rectangular(data: bytes, delimiter: str) -> bool:
    """Return whether all lines have the same number of delimiters, including those within quotes."""
    text = np.frombuffer(data, np.uint8)
    ends = np.append(row_ends(data, quoted=False), len(text))
    counts = np.diff(np.searchsorted(np.flatnonzero(text == ord(delimiter)), ends), prepend=0)
    return bool((counts == counts[0]).all())


def rows(text: str, delimiter: str) -> Iterator[tuple[int, int | Fault]]:
    """Yield the first line number of each row, and its number of values (0 for a blank line) or a misplaced quote.

    After a misplaced quote, the next line starts a new row.
    """
    separator = re.escape(delimiter)
    quoted, plain = re.compile(r'"(?:[^"]++|"")*+"'), re.compile(rf"[^{separator}\r\n]*+")
    end_of_line = re.compile(r"\r\n|\n|\r")
    start, line, unclosed = 0, 1, 0
    while start < len(text):
        at, n_values, fault = start, 0, None
        while fault is None:
            is_quoted = text.startswith('"', at)
            match = (quoted if is_quoted else plain).match(text, at)
            if match is None:
                fault, unclosed = Fault(line, "a quote that is never closed", "a closing quote"), unclosed + 1
                break
            at, n_values = match.end(), n_values + 1
            if not is_quoted and '"' in match[0]:
                fault = Fault(line, "a quote within a value that has none around it", _DOUBLED)
            elif at == len(text) or text[at] in "\r\n":
                n_values = 0 if at == start else n_values
                break
            elif text[at] != delimiter:
                fault = Fault(line, "text after a closing quote", _DOUBLED)
            else:
                at += 1
        yield line, fault or n_values
        if unclosed == _UNCLOSED_SHOWN:
            return
        ending = end_of_line.search(text, start if fault else at)
        following = ending.end() if ending else len(text)
        line += len(end_of_line.findall(text, start, following))
        start = following
