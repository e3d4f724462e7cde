"""Double quotes in delimited text, as RFC 4180 has them: around a whole value, and doubled within it.

Parsers are lenient: a quote in the wrong place merges rows or vanishes without a word. Here every quote is looked at,
by its byte position: quotes open and close in turn, so its neighbors tell whether each stands where it may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from kgrec._util.types import IntArray

_QUOTE: Final = b'"'
_DOUBLED: Final = 'quotes around a whole value, and "" for a quote within it'
_UNCLOSED_SHOWN: Final = 20
"""Quotes without an end that are told of a file: each is searched to the file's end."""


class Fault(NamedTuple):
    """A quote in the wrong place: its line, what is there, and what should be."""

    line: int
    found: str
    expected: str


def quotes_of(data: bytes) -> IntArray:
    """Return the byte positions of all double quotes."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == ord(_QUOTE))


def is_strict(data: bytes, delimiter: str) -> bool:
    """Say whether every quote opens a value, closes one, or is one of a doubled pair within it."""
    at = quotes_of(data)
    if len(at) % 2:
        return False
    text = np.frombuffer(data, np.uint8)
    ends = np.frombuffer(f'{delimiter}\r\n"'.encode(), np.uint8)
    opening, closing = at[::2], at[1::2]
    before, after = text[opening[opening > 0] - 1], text[closing[closing < len(text) - 1] + 1]
    # A quote after a closing one is the second of a pair, so it is an opening one, and was looked at as such.
    return bool(np.isin(before, ends).all() and np.isin(after, ends).all())


def has_pairs(data: bytes) -> bool:
    """Say whether quotes stand doubled within a value of text that is strict."""
    at = quotes_of(data)
    return bool((at[2::2] == at[1:-1:2] + 1).any())


def with_pairs(data: bytes) -> bytes:
    """Return text with each backslash and quote replaced by two quotes, and each two backslashes by one."""
    return re.sub(rb'\\(["\\])', lambda match: b'""' if match[1] == _QUOTE else match[1], data)


def row_ends(data: bytes, quoted: bool) -> IntArray:
    """Return the byte positions of the line ends (\\n, or \\r without one) that end a row of strict text."""
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text == 10)
    if b"\r" in data:
        returns = np.flatnonzero(text[:-1] == 13)
        ends = np.union1d(ends, returns[text[returns + 1] != 10])
    return ends[np.searchsorted(quotes_of(data), ends) % 2 == 0] if quoted else ends


def is_rectangular(data: bytes, delimiter: str) -> bool:
    """Say whether all lines have as many delimiters, whatever is in quotes."""
    text = np.frombuffer(data, np.uint8)
    ends = np.append(row_ends(data, quoted=False), len(text))
    counts = np.diff(np.searchsorted(np.flatnonzero(text == ord(delimiter)), ends), prepend=0)
    return bool((counts == counts[0]).all())


def rows(text: str, delimiter: str) -> Iterator[tuple[int, int | Fault]]:
    """Yield the first line of each row, and its number of values (0 of a blank line) or a misplaced quote in it.

    After a misplaced quote the next line begins a row.
    """
    separator = re.escape(delimiter)
    quoted, plain = re.compile(r'"(?:[^"]++|"")*+"'), re.compile(rf"[^{separator}\r\n]*+")
    end_of_line = re.compile(r"\r\n|\n|\r")
    start, line, unclosed = 0, 1, 0
    while start < len(text):
        at, n_values, fault = start, 0, None
        while fault is None:
            is_quoted = text.startswith('"', at)
            found = (quoted if is_quoted else plain).match(text, at)
            if found is None:
                fault, unclosed = Fault(line, "a quote that is never closed", "a closing quote"), unclosed + 1
                break
            at, n_values = found.end(), n_values + 1
            if not is_quoted and '"' in found[0]:
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
