"""Lists in columns: written as text with a separator, as JSON or as Python writes them, or in some rows only."""

from __future__ import annotations

import ast
import json
import re
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray
from kgrec.data.columns import ARROW_TYPES, as_type, list_lengths, split, to_mask, trim, trim_parts

MIXED: Final = pa.struct([("text", pa.string()), ("nested", pa.bool_())])
"""A column whose values are lists or objects in some rows only: those as JSON, the others as text."""

LIST: Final = 'a list such as ["a", "b"], or values with a separator and without brackets'

_WRITTEN = r"(?s)^(\[.*\]|\{.*\}|\(\s*['\"].*\))$"
WRITTEN_TEXTS: Final = r"""(?s)^\s*\[\s*(['"].*['"]\s*)\]\s*$"""
"""What a list of texts in JSON or in Python's form looks like."""

_NO_COMMA = re.compile(r"""['"]\s+['"]""")


@dataclass(frozen=True)
class CandidateLists:
    """A column of lists.

    Attributes:
        parts: the lists [n] of trimmed text; null where the value is missing or wrong.
        wrong: rows [n] whose value is no list, or a list that holds more than text and numbers.
        plain: rows [n] whose value is text without brackets.
    """

    parts: pa.ChunkedArray
    wrong: BoolArray
    plain: BoolArray


def is_list(column: pa.ChunkedArray) -> bool:
    """Say whether a column holds lists in all rows, in Arrow's type."""
    kind = column.type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a mixed column as text, its lists as JSON; another column as it is."""
    return pc.struct_field(column, "text") if column.type == MIXED else column


def as_lists(column: pa.ChunkedArray, separator: str | None) -> CandidateLists:
    """Return a column of lists or of text as lists.

    Args:
        column: lists of text or numbers, text, or a mixed column.
        separator: what separates the parts of a text without brackets; such a text is one part without it.
    """
    if is_list(column):
        lists, wrong = as_type(column, "strings")
        return CandidateLists(trim_parts(lists), wrong, np.zeros(len(column), dtype=bool))
    text = as_text(column)
    written = to_mask(pc.match_substring_regex(pc.utf8_trim_whitespace(text), _WRITTEN))
    if column.type == MIXED:
        written |= to_mask(pc.struct_field(column, "nested"))
    plain = to_mask(text.is_valid()) & ~written
    words = pc.if_else(pa.array(plain), text, None)
    parts = split(words, separator) if separator else _single(words)
    if not written.any():
        return CandidateLists(parts, written, plain)
    read, wrong = _read(text, np.flatnonzero(written))
    rows = np.arange(len(text))
    rows[written] = len(text) + np.arange(int(written.sum()))
    return CandidateLists(pa.chunked_array([*parts.chunks, read]).take(pa.array(rows)), wrong, plain)


def only_parts(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray, BoolArray]:
    """Return a text property's column with lists in it as text: a list of one part is that part, an empty one missing.

    Args:
        column: lists, or a mixed column.

    Returns:
        The texts [n], a mask [n] of the lists that were read as their only part, and one of values that are no text.
    """
    lists = as_lists(column, None) if is_list(column) else _nested_alone(column)
    lengths = list_lengths(lists.parts)
    first = pc.list_element(pc.if_else(pa.array(lengths == 1), lists.parts, pa.scalar([None], lists.parts.type)), 0)
    listed = to_mask(lists.parts.is_valid())
    text = first if is_list(column) else pc.if_else(pa.array(listed), first, _texts(column))
    return text, listed & (lengths == 1), lists.wrong | (lengths > 1)


def _nested_alone(column: pa.ChunkedArray) -> CandidateLists:
    nested = pc.if_else(pc.struct_field(column, "nested"), pc.struct_field(column, "text"), None)
    read, wrong = _read(nested, np.arange(len(column)))
    return CandidateLists(
        pa.chunked_array([read]), wrong & to_mask(nested.is_valid()), np.zeros(len(column), dtype=bool)
    )


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.struct_field(column, "nested"), None, pc.struct_field(column, "text"))


def _single(text: pa.ChunkedArray) -> pa.ChunkedArray:
    one = trim(text).combine_chunks()
    given = np.asarray(one.is_valid())
    offsets = pa.array(np.concatenate([[0], np.cumsum(given)]), pa.int32())
    return pa.chunked_array(
        [pa.ListArray.from_arrays(offsets, one.drop_null(), mask=pc.is_null(text.combine_chunks()))]
    )


def _read(text: pa.ChunkedArray, rows: Any) -> tuple[pa.Array, BoolArray]:
    """Read the lists that some rows hold as text; return the lists of these rows, and a mask [n] of what is none."""
    codes = text.take(pa.array(rows)).combine_chunks().dictionary_encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # Python's, of escapes in a text that is no list
        values = [_list(written) for written in codes.dictionary.to_pylist()]
    lists = pa.array(values, ARROW_TYPES["strings"]).take(codes.indices)
    wrong = np.zeros(len(text), dtype=bool)
    wrong[rows] = np.asarray(lists.is_null())
    return trim_parts(pa.chunked_array([lists])).combine_chunks(), wrong


def _list(written: str) -> list[str] | None:
    """Return the parts of a list in JSON or in Python's form, None if it is none or has other parts."""
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        value = None if _NO_COMMA.search(written) else _literal(written)
    if isinstance(value, set):
        value = sorted(value, key=str)
    if not isinstance(value, list | tuple) or not all(isinstance(part, str | int | float) for part in value):
        return None
    return [part if isinstance(part, str) else json.dumps(part) for part in value]


def _literal(written: str) -> Any:
    try:
        return ast.literal_eval(written.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
