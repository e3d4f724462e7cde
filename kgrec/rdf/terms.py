"""The IRIs of a schema's names, and of the nodes of a graph."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.columns import BoolArray, to_mask
from kgrec.schema import PREFIXES, Rdf, Schema

RDF: Final = PREFIXES["rdf"]
RDFS: Final = PREFIXES["rdfs"]
XSD: Final = PREFIXES["xsd"]
KGREC: Final = PREFIXES["kgrec"]
TYPE: Final = f"<{RDF}type>"
STATEMENT: Final = f"<{RDF}Statement>"
SUBJECT, PREDICATE, OBJECT = (f"<{RDF}{end}>" for end in ("subject", "predicate", "object"))
SUBCLASS: Final = f"<{RDFS}subClassOf>"
LABEL: Final = f"<{RDFS}label>"
GRAPH_CLASS: Final = f"<{KGREC}Graph>"
GRAPH_SCHEMA: Final = f"<{KGREC}schema>"
RECOMMENDATIONS: Final = f"{KGREC}recommendations"
DATATYPES: Final = {
    "string": "",
    "int": f"^^<{XSD}integer>",
    "float": f"^^<{XSD}double>",
    "bool": f"^^<{XSD}boolean>",
    "datetime": f"^^<{XSD}dateTime>",
    "strings": f"^^<{RDF}JSON>",
}
"""Property type → what follows the text of its literals."""

_ABSOLUTE: Final = r'^(?:[A-Za-z][A-Za-z0-9+.-]*://|urn:)[^\x00-\x20<>"{}|^`\\]+$'
_PLAIN: Final = r"^[A-Za-z0-9._~-]*$"


class Terms:
    """The IRIs of a schema's names, in the `<…>` of N-Triples."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rdf = schema.rdf or Rdf()

    @property
    def base(self) -> str:
        """Start of every IRI that has no other one."""
        return self.rdf.base

    @cached_property
    def prefixes(self) -> dict[str, str]:
        """Short names of vocabularies, the empty one for `base`."""
        return {**PREFIXES, **self.rdf.prefixes, "": self.base}

    def name(self, name: str) -> str:
        """Return the IRI of a label or a relationship type."""
        return f"<{self._given(name) or self.base + name}>"

    def property(self, owner: str, name: str) -> str:
        """Return the predicate of a property of a label or a type."""
        return f"<{self._given(f'{owner}.{name}') or self._given(name) or self.base + name}>"

    def has_term(self, owner: str, name: str) -> bool:
        """Say whether the schema names the predicate of a property."""
        return bool(self._given(f"{owner}.{name}") or self._given(name))

    @property
    def graph(self) -> str:
        """IRI of the graph itself, which holds the schema."""
        return f"<{self.base}graph>"

    def _given(self, name: str) -> str | None:
        term = self.rdf.terms.get(name)
        return self.rdf.resolve(term) if term else None


def absolute(keys: pa.Array) -> BoolArray:
    """Say which keys [n] are absolute IRIs."""
    return to_mask(pc.match_substring_regex(keys, _ABSOLUTE))


def node_iris(terms: Terms, keys: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Return the IRI, in `<…>`, of each key [n] of each label.

    A key that is an absolute IRI is the IRI, in the first label of the schema that has it; any other key is
    percent-encoded below the base and the label.
    """
    taken, iris = pa.array([], pa.string()), {}
    for label in terms.schema.nodes:
        if label not in keys:
            continue
        own = keys[label]
        is_iri = absolute(own)
        if is_iri.any():
            is_iri &= ~to_mask(pc.is_in(own, value_set=taken))
            taken = pa.concat_arrays([taken, own.filter(pa.array(is_iri))])
        minted = pc.binary_join_element_wise(f"{terms.base}{label}/", percent_encoded(own), "")
        iris[label] = pc.binary_join_element_wise("<", pc.if_else(pa.array(is_iri), own, minted), ">", "")
    return iris


def percent_encoded(texts: pa.Array) -> pa.Array:
    """Return texts [n] with every byte but letters, digits and `._~-` as %XX."""
    plain = to_mask(pc.match_substring_regex(texts, _PLAIN))
    if plain.all():
        return texts
    odd = texts.filter(pa.array(~plain))
    encoded = _percent_encoded(odd)
    places = np.where(plain, 0, np.cumsum(~plain) - 1)
    return pc.if_else(pa.array(plain), texts, encoded.take(pa.array(places)))


def _percent_encoded(texts: pa.Array) -> pa.Array:
    """Three bytes for each byte that needs it, one for any other; ends of texts follow from the sums."""
    binary = pa.concat_arrays([texts.cast(pa.large_binary())])
    _, offsets_buffer, data_buffer = binary.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[binary.offset : binary.offset + len(binary) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[offsets[0] : offsets[-1]]
    keep = np.isin(data, np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-", np.uint8))
    ends = np.concatenate([[0], np.cumsum(np.where(keep, 1, 3))])
    out = np.empty(ends[-1], np.uint8)
    out[ends[:-1][keep]] = data[keep]
    at, digits, escaped = ends[:-1][~keep], np.frombuffer(b"0123456789ABCDEF", np.uint8), data[~keep]
    out[at], out[at + 1], out[at + 2] = ord("%"), digits[escaped >> 4], digits[escaped & 15]
    buffers = [None, pa.py_buffer(ends[offsets - offsets[0]].astype(np.int64).tobytes()), pa.py_buffer(out.tobytes())]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers).cast(pa.string())
