"""IRIs of labels, relationship types, properties, nodes and statement nodes."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.schema import Schema
from kgrec.data.schema_checks import PREFIXES

RDF: Final = PREFIXES["rdf"]
TYPE: Final = RDF + "type"
SUBJECT: Final = RDF + "subject"
PREDICATE: Final = RDF + "predicate"
OBJECT: Final = RDF + "object"
SUBCLASS: Final = PREFIXES["rdfs"] + "subClassOf"
LABEL: Final = PREFIXES["rdfs"] + "label"
SCHEMA: Final = PREFIXES["kgrec"] + "schema"
DATATYPES: Final[dict[str, str]] = {
    "string": PREFIXES["xsd"] + "string",
    "int": PREFIXES["xsd"] + "integer",
    "float": PREFIXES["xsd"] + "double",
    "bool": PREFIXES["xsd"] + "boolean",
    "datetime": PREFIXES["xsd"] + "dateTime",
    "strings": RDF + "JSON",
    "vector": RDF + "JSON",
}
"""Property type → datatype of its literals."""

_STRANGE: Final = (
    r"\x{7f}-\x{9f}\x{e000}-\x{f8ff}\x{fdd0}-\x{fdef}\x{fff0}-\x{ffff}\x{1fffe}-\x{1ffff}\x{2fffe}-\x{10ffff}"
)
"""Control, private-use and unassigned characters, which IRIs cannot contain."""

_CHARACTER: Final = rf"(?:[^\x00-\x20<>\"{{}}|\\^`\[\]%?#{_STRANGE}]|%[0-9A-Fa-f]{{2}})"
_TAIL: Final = rf"(?:\?(?:{_CHARACTER}|\?)*)?(?:#(?:{_CHARACTER}|\?)*)?"
IRI: Final = (
    rf"^(?:https?://[A-Za-z0-9._~-]+(?::[0-9]+)?(?:/{_CHARACTER}*)?|urn:[A-Za-z0-9][A-Za-z0-9-]*:{_CHARACTER}+){_TAIL}$"
)
"""Pattern of keys that are IRIs."""

_UNSAFE: Final = rf"[\x00-\x20<>\"{{}}|\\^`\[\]%/?#{_STRANGE}]"
"""Characters that IRIs cannot contain or that have a meaning in IRIs."""


def prefixes(schema: Schema) -> dict[str, str]:
    """Return prefix → IRI: the well-known prefixes, the schema's, and the empty prefix for the schema's base."""
    return {**PREFIXES, **schema.rdf.prefixes, "": schema.rdf.base}


def term(schema: Schema, name: str, owner: str | None = None) -> str:
    """Return the IRI of a label or relationship type, or of a property of the label or type `owner`."""
    given = schema.rdf.terms.get(f"{owner}.{name}") or schema.rdf.terms.get(name)
    if given is None:
        return schema.rdf.base + name
    prefix, _, local = given.partition(":")
    known = {**PREFIXES, **schema.rdf.prefixes}
    return known[prefix] + local if prefix in known else given


def node_iris(schema: Schema, label: str, keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the IRIs of nodes with the keys [n]."""
    minted = pc.binary_join_element_wise(f"{schema.rdf.base}{label}/", escaped(keys), "")
    labels = "|".join(schema.nodes)
    ours = pc.match_substring_regex(keys, f"^{re.escape(schema.rdf.base)}(?:{labels})/")
    return pc.if_else(pc.and_not(pc.match_substring_regex(keys, IRI), ours), keys, minted)


def escaped(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return strings percent-encoded, so that each can be a segment of an IRI's path."""
    unsafe = pc.match_substring_regex(values, _UNSAFE)
    if not pc.any(unsafe).as_py():
        return values
    coded = pc.dictionary_encode(pc.if_else(unsafe, values, "")).combine_chunks()
    texts, characters = coded.dictionary, set("".join(coded.dictionary.to_pylist()))
    for character in sorted(filter(_is_unsafe, characters), key=lambda c: c != "%"):
        texts = pc.replace_substring(texts, character, quote(character, safe=""))
    return pc.if_else(unsafe, texts.take(coded.indices), values)


def readable(iris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return readable names from the last part of IRIs [n]: `…/Joseph_F._Biroc` → `Joseph F. Biroc`.

    The last part follows the last `/` or `#` (in a URN, `:`). It is percent-decoded if the result is printable.
    """
    last = pc.replace_substring_regex(pc.utf8_rtrim(iris, "/#"), r"(?s)^.*[/#]", "")
    last = pc.replace_substring_regex(last, r"(?s)^urn:.*:", "")
    coded = pc.match_substring(last, "%")
    if pc.any(coded).as_py():
        texts = pc.dictionary_encode(pc.if_else(coded, last, "")).combine_chunks()
        plain = pa.array([_unquoted(text) for text in texts.dictionary.to_pylist()], iris.type)
        last = pc.if_else(coded, plain.take(texts.indices), last)
    return pc.utf8_trim_whitespace(pc.replace_substring(last, "_", " "))


def _unquoted(text: str) -> str:
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
    return plain if plain.isprintable() else text


def _is_unsafe(character: str) -> bool:
    return bool(pc.match_substring_regex(character, _UNSAFE).as_py())


def statement_iris(schema: Schema, type_: str, parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Return the IRIs of statement nodes, made of the parts that identify the relationships (labels, keys, time)."""
    steps = [escaped(part.cast(pa.string()).fill_null("")) for part in parts]
    return pc.binary_join_element_wise(f"{schema.rdf.base}{type_}", *steps, "/")
