"""Conversion of N-Triples literals to columns of property types."""

from __future__ import annotations

import io
import json
import re
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from kgrec._util.types import BoolArray, IntArray
from kgrec.data.columns import ARROW_TYPES, as_type, to_mask
from kgrec.rdf.iris import DATATYPES

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
FOREIGN: Final = 1000
"""Rank of the first language other than English in `preference`; larger than the number of English variants."""

_FROM_0: Final = ("nonNegativeInteger", "unsignedByte", "unsignedShort", "unsignedInt", "unsignedLong")
_INTEGERS: Final = ("integer", "int", "long", "short", "byte", *_FROM_0, "positiveInteger")

ACCEPTED: Final[dict[str, tuple[str, ...]]] = {
    "string": (),
    "int": (*_INTEGERS, "gYear", "string"),
    "float": ("double", "float", "decimal", *_INTEGERS, "string"),
    "bool": ("boolean", "string"),
    "datetime": ("dateTime", "date", "dateTimeStamp", "string"),
    "strings": (),
    "vector": (),
}
"""Property type → XSD datatypes that are read as this type; an empty tuple accepts any datatype."""

_INTEGER: Final = r"[+-]?[0-9]+"
_NUMBER: Final = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_FLOAT: Final = rf"(?:{_NUMBER}(?:[eE][+-]?[0-9]+)?|[+-]?INF|NaN)"
_ZONE: Final = r"(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
_DAY: Final = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_MOMENT: Final = rf"{_DAY}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
_LEXICAL: Final[dict[str, str]] = {
    **dict.fromkeys(("integer", "int", "long", "short", "byte"), _INTEGER),
    **dict.fromkeys(_FROM_0, r"(?:\+?[0-9]+|-0+)"),
    "positiveInteger": r"\+?0*[1-9][0-9]*",
    "gYear": "-?[0-9]{4,}",
    "decimal": _NUMBER,
    "double": _FLOAT,
    "float": _FLOAT,
    "boolean": "(?:true|false|1|0)",
    "date": rf"{_DAY}{_ZONE}?",
    "dateTime": rf"{_MOMENT}{_ZONE}?",
    "dateTimeStamp": rf"{_MOMENT}{_ZONE}",
}
"""XSD datatype → pattern of its literals; times are limited to the years 1 to 9999."""

_RANGES: Final = {
    **{name: (-(2 ** (bits - 1)), 2 ** (bits - 1)) for name, bits in (("byte", 8), ("short", 16), ("int", 32))},
    **{name: (0, 2**bits) for name, bits in (("unsignedByte", 8), ("unsignedShort", 16), ("unsignedInt", 32))},
}
_BLANKS: Final = " \t\n\r"
"""Characters that XSD strips around a literal of these datatypes."""


def split(objects: pa.ChunkedArray) -> pa.Table:
    """Return the parts of literals [n]: text (unescaped), datatype (IRI or empty), language (or empty).

    An object that is not a literal has no text.
    """
    coded = pc.dictionary_encode(objects.cast(pa.large_string())).combine_chunks()
    groups = pc.extract_regex(coded.dictionary, pattern=_LITERAL)
    text = pc.struct_field(groups, 0)
    if pc.any(pc.match_substring(text, "\\")).as_py():
        text = _unescaped(text)
    parts = pa.table({"text": text, "datatype": pc.struct_field(groups, 1), "language": pc.struct_field(groups, 2)})
    return parts.take(coded.indices)


def values(parts: pa.Table, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return literals as a column of a property type [n], and a mask of the invalid ones, bool [n].

    Args:
        parts: result of `split`; missing literals stay missing.
        kind: a property type other than "strings" and "vector".
    """
    text = parts.column("text").cast(pa.string())
    column, wrong = as_type(_days(text) if kind == "datetime" else text, kind)
    if ACCEPTED[kind]:
        xsd = DATATYPES["string"].removesuffix("string")
        accepted = pa.array(["", *(xsd + name for name in ACCEPTED[kind])], pa.large_string())
        datatype = pc.fill_null(parts.column("datatype").cast(pa.large_string()), "")
        wrong |= ~to_mask(pc.is_in(datatype, value_set=accepted)) & to_mask(pc.is_valid(text))
        for name in (iri.removeprefix(xsd) for iri in pc.unique(datatype).to_pylist()):
            if name in _LEXICAL:
                sound = pc.match_substring_regex(pc.utf8_trim(text, _BLANKS), f"^{_LEXICAL[name]}$")
                if name in _RANGES:
                    low, high = _RANGES[name]
                    sound = pc.and_(sound, pc.and_(pc.greater_equal(column, low), pc.less(column, high)))
                wrong |= to_mask(pc.equal(datatype, xsd + name)) & ~to_mask(sound)
    return column, wrong


def _days(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return dates without the time zone that XSD allows after them; other texts stay."""
    return pc.replace_substring_regex(text, rf"^\s*({_DAY}){_ZONE}\s*$", r"\1")


def preference(parts: pa.Table) -> tuple[IntArray, IntArray]:
    """Return the rank of each literal [n] for a property with a single value, and an order to break ties.

    English ranks first, then regional English (`en-GB`), then literals without a language, then from `FOREIGN` on other
    languages by tag. Ties are broken by the order of the texts. Both are independent of the order of rows.
    """
    tags = pc.dictionary_encode(pc.utf8_lower(pc.fill_null(parts.column("language"), ""))).combine_chunks()
    known = tags.dictionary.to_pylist()
    english = sorted(tag for tag in known if tag.startswith("en-"))
    foreign = sorted(tag for tag in known if tag not in ("", "en", *english))
    ranks = {"en": 0, **{tag: 1 + i for i, tag in enumerate(english)}, "": FOREIGN - 1}
    ranks |= {tag: FOREIGN + i for i, tag in enumerate(foreign)}
    rank = np.array([*map(ranks.__getitem__, known), 0], np.int64)[tags.indices.to_numpy()]
    texts = pc.dictionary_encode(parts.column("text")).combine_chunks()
    place = np.argsort(pc.array_sort_indices(texts.dictionary).to_numpy())
    codes = texts.indices.fill_null(-1).to_numpy()
    return rank, np.append(place, -1).astype(np.int64)[codes]


def json_lists(text: pa.ChunkedArray, kind: str) -> tuple[pa.ChunkedArray, BoolArray]:
    """Return JSON arrays [n] as lists, and a mask of the invalid ones, bool [n]; missing arrays stay missing.

    Args:
        text: JSON arrays as text.
        kind: type of the elements: "strings" or "vector".
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
