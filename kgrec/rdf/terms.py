"""The IRIs of a schema's labels, types and properties, and of nodes."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.schema import PREFIXES, Schema

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
}
"""Property type → datatype of its literals."""

IRI: Final = r"^(https?://|urn:)[^\x00-\x20<>\"{}|\\^`]+$"
"""Keys that are IRIs as they stand."""

_UNSAFE: Final = "%" + "".join(map(chr, range(33))) + '<>"{}|\\^`/?#'
"""Characters that an IRI cannot hold, or that mean something in one; the escape character first."""

_ANY_UNSAFE: Final = r"[%\x00-\x20<>\"{}|\\^`/?#]"


def prefixes(schema: Schema) -> dict[str, str]:
    """Return prefix → IRI: the well-known ones, the schema's, and the empty one for the schema's base."""
    return {**PREFIXES, **schema.rdf.prefixes, "": schema.rdf.base}


def term(schema: Schema, name: str, owner: str | None = None) -> str:
    """Return the IRI of a label or a type, or of a property of the label or type `owner`."""
    given = schema.rdf.terms.get(f"{owner}.{name}") or schema.rdf.terms.get(name)
    if given is None:
        return schema.rdf.base + name
    prefix, _, local = given.partition(":")
    known = {**PREFIXES, **schema.rdf.prefixes}
    return known[prefix] + local if prefix in known else given


def node_iris(schema: Schema, label: str, keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the IRIs of nodes, by their keys [n]."""
    minted = pc.binary_join_element_wise(f"{schema.rdf.base}{label}/", escaped(keys), "")
    return pc.if_else(pc.match_substring_regex(keys, IRI), keys, minted)


def escaped(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return strings percent-encoded, so that each can be one step of an IRI's path."""
    if not pc.any(pc.match_substring_regex(values, _ANY_UNSAFE)).as_py():
        return values
    for character in _UNSAFE:
        if pc.any(pc.match_substring(values, character)).as_py():
            values = pc.replace_substring(values, character, f"%{ord(character):02X}")
    return values


def statement_iris(schema: Schema, type_: str, parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Return the IRIs of relationships that are nodes of their own, by what identifies them (keys, time)."""
    steps = [escaped(part.cast(pa.string()).fill_null("")) for part in parts]
    return pc.binary_join_element_wise(f"{schema.rdf.base}{type_}", *steps, "/")
