"""Literals of N-Triples as columns of property types."""

from __future__ import annotations

import io
import json
import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from kgrec.columns import ARROW_TYPES, BoolArray, as_type, to_mask
from kgrec.rdf.terms import DATATYPES

_LITERAL: Final = r'(?s)^"(?P<text>.*)"(?:\^\^<(?P<datatype>[^>]*)>|@(?P<language>[A-Za-z0-9-]+))?$'
_UNESCAPES: Final = (
    ("\\\\", "\\!"),
    ('\\"', '"'),
    ("\\n", "\n"),
    ("\\r", "\r"),
    ("\\t", "\t"),
    ("\\b", "\b"),
    ("\\f", "\f"),
)
_CODED: Final = r"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})"
ACCEPTED: Final[dict[str, tuple[str, ...]]] = {
    "string": (),
    "int": ("integer", "int", "long", "short", "byte", "gYear", "nonNegativeInteger", "positiveInteger", "string"),
    "float": ("double", "float", "decimal", "integer", "int", "long", "string"),
    "bool": ("boolean", "string"),
    "datetime": ("dateTime", "date", "dateTimeStamp", "string"),
    "strings": (),
    "vector": (),
}
"""Property type → the datatypes of XSD that are read as it; none given means any."""


def split(objects: pa.ChunkedArray) -> pa.Table:
    """Return the parts of literals [n]: text (unescaped), datatype (IRI or empty), language (or empty).

    An object that is not a literal has no text.
    """
    coded = pc.dictionary_encode(objects.cast(pa.large_string())).combine_chunks()
    found = pc.extract_regex(coded.dictionary, pattern=_LITERAL)
    text = pc.struct_field(found, 0)
    if pc.any(pc.match_substring(text, "\\")).as_py():
        text = _unescaped(text)
    parts = pa.table({"text": text, "datatype": pc.struct_field(found, 1), "language": pc.struct_field(found, 2)})
    return parts.take(coded.indices)


def values(parts: pa.Table, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return literals as a property type's column [n], and a mask [n] of those that are not of the type.

    Args:
        parts: of `split`; missing ones stay missing.
        kind: a property type other than "strings" and "vector".
    """
    text = parts.column("text").cast(pa.string())
    column, wrong = _converted(text, kind)
    if ACCEPTED[kind]:
        xsd = DATATYPES["string"].removesuffix("string")
        accepted = pa.array(["", *(xsd + name for name in ACCEPTED[kind])], pa.large_string())
        datatype = pc.fill_null(parts.column("datatype").cast(pa.large_string()), "")
        wrong |= ~to_mask(pc.is_in(datatype, value_set=accepted)) & to_mask(pc.is_valid(text))
    return column, wrong


def json_lists(text: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return JSON arrays [n] as lists, and a mask [n] of those that are none; missing ones stay missing.

    Args:
        text: the JSON.
        kind: "strings" or "vector", which says what the arrays hold.
    """
    try:
        lists, wrong = _json_lists(text, kind), np.zeros(len(text), dtype=bool)
    except pa.ArrowInvalid:
        wrong = np.array([not _is_list(value, kind) for value in text.to_pylist()], dtype=bool)
        lists = _json_lists(pc.if_else(pa.array(wrong), None, text), kind)
    return lists, wrong | as_type(lists, kind)[1]


def _is_list(text: str | None, kind: str) -> bool:
    try:
        value = [] if text is None else json.loads(text)
    except ValueError:
        return False
    part = str if kind == "strings" else int | float
    return isinstance(value, list) and all(isinstance(x, part) and not isinstance(x, bool) for x in value)


def _json_lists(text: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    rows = pc.binary_join_element_wise('{"v":', pc.fill_null(text, "null"), "}\n", "")
    joined = "".join(rows.to_pylist()).encode()
    if not joined:
        return pa.chunked_array([], ARROW_TYPES[kind])
    options = pa.json.ParseOptions(explicit_schema=pa.schema([("v", ARROW_TYPES[kind])]))
    block = pa.json.ReadOptions(block_size=max(1 << 20, max(map(len, joined.split(b"\n"))) + 2))
    return pa.json.read_json(io.BytesIO(joined), block, options).column("v")


def _unescaped(text: pa.Array) -> pa.Array:
    for old, new in _UNESCAPES:
        text = pc.replace_substring(text, old, new)
    coded = pc.match_substring_regex(text, _CODED)
    if pc.any(coded).as_py():
        plain = [re.sub(_CODED, _character, value) for value in text.filter(coded).to_pylist()]
        text = pc.replace_with_mask(text, pc.fill_null(coded, False), pa.array(plain, text.type))
    return pc.replace_substring(text, "\\!", "\\")


def _character(match: re.Match[str]) -> str:
    character = chr(int(match[1] or match[2], 16))
    return "\\!" if character == "\\" else character


def _converted(text: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    try:
        return text.cast(ARROW_TYPES[kind]), np.zeros(len(text), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return as_type(text, kind)
