"""Parsing of list columns: text with a separator, JSON or Python lists, and columns with lists in some rows only."""

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
"""Type of a column with lists or objects in some rows only: those rows hold JSON, the others text."""

LIST: Final = 'a list such as ["a", "b"], or values with a separator and without brackets'

_WRITTEN = r"(?s)^(\[.*\]|\{.*\}|\(\s*['\"].*\))$"
WRITTEN_TEXTS: Final = r"""(?s)^\s*\[\s*(['"].*['"]\s*)\]\s*$"""
"""Pattern of a list of texts in JSON or Python notation."""

_NO_COMMA = re.compile(r"""['"]\s+['"]""")


@dataclass(frozen=True)
class ListColumn:
    """A column of lists.

    Attributes:
        parts: lists [n] of trimmed text; null if the value is missing or invalid.
        wrong: mask [n] of values that are not a list of text and numbers.
        plain: mask [n] of values that are text without brackets.
    """

    parts: pa.ChunkedArray
    wrong: BoolArray
    plain: BoolArray


def is_list(column: pa.ChunkedArray) -> bool:
    """Return whether a column has an Arrow list type."""
    kind = column.type
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a mixed column as text, with its lists as JSON; other columns unchanged."""
    return pc.struct_field(column, "text") if column.type == MIXED else column


def as_lists(column: pa.ChunkedArray, separator: str | None) -> ListColumn:
    """Return a column of lists or of text as lists.

    Args:
        column: lists of text or numbers, text, or a mixed column.
        separator: separator of the parts of a text without brackets; None makes such a text a single part.
    """
    if is_list(column):
        lists, wrong = as_type(column, "strings")
        return ListColumn(trim_parts(lists), wrong, np.zeros(len(column), dtype=bool))
    text = as_text(column)
    written = to_mask(pc.match_substring_regex(pc.utf8_trim_whitespace(text), _WRITTEN))
    if column.type == MIXED:
        written |= to_mask(pc.struct_field(column, "nested"))
    plain = to_mask(text.is_valid()) & ~written
    words = pc.if_else(pa.array(plain), text, None)
    parts = split(words, separator) if separator else _single(words)
    if not written.any():
        return ListColumn(parts, written, plain)
    read, wrong = _read(text, np.flatnonzero(written))
    rows = np.arange(len(text))
    rows[written] = len(text) + np.arange(int(written.sum()))
    return ListColumn(pa.chunked_array([*parts.chunks, read]).take(pa.array(rows)), wrong, plain)


def only_parts(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, BoolArray, BoolArray]:
    """Return a column of a text property with its lists as text: a list with one part is that part, an empty one null.

    Args:
        column: lists, or a mixed column.

    Returns:
        The texts [n], a mask [n] of the lists with one part, and a mask [n] of the values that are not text.
    """
    lists = as_lists(column, None) if is_list(column) else _nested_alone(column)
    lengths = list_lengths(lists.parts)
    first = pc.list_element(pc.if_else(pa.array(lengths == 1), lists.parts, pa.scalar([None], lists.parts.type)), 0)
    listed = to_mask(lists.parts.is_valid())
    text = first if is_list(column) else pc.if_else(pa.array(listed), first, texts(column))
    return text, listed & (lengths == 1), lists.wrong | (lengths > 1)


def _nested_alone(column: pa.ChunkedArray) -> ListColumn:
    nested = pc.if_else(pc.struct_field(column, "nested"), pc.struct_field(column, "text"), None)
    read, wrong = _read(nested, np.arange(len(column)))
    return ListColumn(pa.chunked_array([read]), wrong & to_mask(nested.is_valid()), np.zeros(len(column), dtype=bool))


def texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a mixed column as text, null where it has lists or objects."""
    return pc.if_else(pc.struct_field(column, "nested"), None, pc.struct_field(column, "text"))


def _single(text: pa.ChunkedArray) -> pa.ChunkedArray:
    one = trim(text).combine_chunks()
    given = np.asarray(one.is_valid())
    offsets = pa.array(np.concatenate([[0], np.cumsum(given)]), pa.int32())
    return pa.chunked_array(
        [pa.ListArray.from_arrays(offsets, one.drop_null(), mask=pc.is_null(text.combine_chunks()))]
    )


def _read(text: pa.ChunkedArray, rows: Any) -> tuple[pa.Array, BoolArray]:
    """Return the lists parsed from the text of some rows, and a mask [n] of the values that are not lists."""
    codes = text.take(pa.array(rows)).combine_chunks().dictionary_encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # for invalid escapes in text that is not a list
        values = [_list(written) for written in codes.dictionary.to_pylist()]
    lists = pa.array(values, ARROW_TYPES["strings"]).take(codes.indices)
    wrong = np.zeros(len(text), dtype=bool)
    wrong[rows] = np.asarray(lists.is_null())
    return trim_parts(pa.chunked_array([lists])).combine_chunks(), wrong


def _list(written: str) -> list[str] | None:
    """Return the parts of a list in JSON or Python notation; None if it is not a list of text and numbers."""
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
