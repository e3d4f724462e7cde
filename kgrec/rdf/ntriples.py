"""N-Triples as Arrow: lines of bytes become numbered terms and back, without a Python object for a triple.

Terms are written as in N-Triples: `<iri>`, `"text"`, `"text"@en`, `"1"^^<datatype>`, `_:b`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.tables import IntArray

CHUNK: Final = 64 << 20
"""Bytes of text that are split at a time."""

_IRI: Final = r'<[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>"{}|^`\\]*>'
_BLANK: Final = r"_:[A-Za-z0-9][A-Za-z0-9_]*"
_LITERAL: Final = rf'"(?:[^"\\\r\n]|\\[tbnrf"\\])*"(?:\^\^{_IRI}|@[a-z]+(?:-[a-z0-9]+)*)?'
CANONICAL: Final = rf"^(?:{_IRI}|{_BLANK}) {_IRI} (?:{_IRI}|{_BLANK}|{_LITERAL}) \.$"
"""A line in the one spelling that needs no parser."""

_ESCAPES: Final = (("\\t", "\t"), ("\\n", "\n"), ("\\r", "\r"), ("\\b", "\b"), ("\\f", "\f"), ('\\"', '"'))
_BACKSLASH: Final = "\ufdd0"
"""Stands for a backslash while others are replaced; a code point that no text may hold."""


@dataclass(frozen=True)
class Triples:
    """Triples by term number.

    Attributes:
        terms: distinct terms.
        s, p, o: numbers of subject, predicate and object of each triple, int64 [n].
    """

    terms: pa.StringArray
    s: IntArray
    p: IntArray
    o: IntArray

    def __len__(self) -> int:
        return len(self.s)

    def code(self, term: str) -> int:
        """Return the number of a term, -1 if there is none."""
        return int(pc.index(self.terms, term).as_py())

    def codes(self, terms: Iterable[str]) -> IntArray:
        """Return the numbers of terms, -1 for those there are none of."""
        found = pc.index_in(pa.array(list(terms), pa.string()), value_set=self.terms)
        return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)

    def where(self, keep: IntArray) -> Triples:
        """Return the triples that a mask or numbers select, with the same terms."""
        return Triples(self.terms, self.s[keep], self.p[keep], self.o[keep])

    def lines(self) -> pa.ChunkedArray:
        """Return the triples as lines of N-Triples, without the line ends."""
        s, p, o = (self.terms.take(pa.array(codes)) for codes in (self.s, self.p, self.o))
        return pa.chunked_array([pc.binary_join_element_wise(s, p, pc.binary_join_element_wise(o, ".", " "), " ")])


def split(chunks: Iterable[bytes]) -> Triples:
    """Return the triples of canonical N-Triples: whole lines, a space between parts.

    Args:
        chunks: pieces of text, each of whole lines.
    """
    columns: list[list[pa.Array]] = [[], [], []]
    for chunk in chunks:
        if chunk:
            for column, part in zip(columns, _parts(chunk), strict=True):
                column.append(part)
    return _numbered(columns)


def chunked(data: bytes, size: int = CHUNK) -> Iterator[bytes]:
    """Yield pieces of whole lines of a text that ends with a line end."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", min(start + size, len(data)) - 1) + 1 or len(data)
        yield data[start:end]
        start = end


def to_lines(chunk: bytes) -> pa.StringArray:
    """Return the lines of a text that ends with a line end, without copying it."""
    ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == 10)
    starts = np.concatenate([[0], ends[:-1] + 1])
    return _pieces(chunk, starts, ends)


def text(value: str) -> str:
    """Return a plain literal."""
    return '"' + escaped(pa.array([value]))[0].as_py() + '"'


def escaped(texts: pa.Array) -> pa.Array:
    """Return texts [n] as they stand between the quotes of a literal."""
    if not _any(pc.match_substring_regex(texts, r'[\x00-\x1f\x7f"\\]')):
        return texts
    texts = pc.replace_substring(texts, "\\", "\\\\")
    for spelt, char in _ESCAPES:
        texts = pc.replace_substring(texts, char, spelt)
    for code in (*range(0x20), 0x7F):
        texts = pc.replace_substring(texts, chr(code), f"\\u{code:04X}")
    return texts


def unescaped(texts: pa.Array) -> pa.Array:
    """Return the texts [n] that stand between the quotes of literals."""
    if not _any(pc.match_substring(texts, "\\")):
        return texts
    texts = pc.replace_substring(texts, "\\\\", _BACKSLASH)
    for spelt, char in _ESCAPES:
        texts = pc.replace_substring(texts, spelt, char)
    for code in (*range(0x20), 0x7F):
        texts = pc.replace_substring(texts, f"\\u{code:04X}", chr(code))
    return pc.replace_substring(texts, _BACKSLASH, "\\")


def joined(lines: pa.Array | pa.ChunkedArray) -> bytes:
    """Return lines as text, each with a line end."""
    chunks = lines.chunks if isinstance(lines, pa.ChunkedArray) else [lines]
    return b"".join(_text(chunk) for chunk in chunks if len(chunk))


def _text(lines: pa.Array) -> bytes:
    ended = pa.concat_arrays([pc.binary_join_element_wise(lines.cast(pa.large_string()), "\n", "")])
    _, offsets, data = ended.buffers()
    first, last = (int(np.frombuffer(offsets, np.int64)[ended.offset + i]) for i in (0, len(ended)))
    return memoryview(data)[first:last].tobytes()


def _parts(chunk: bytes) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Find the first two spaces of every line: they stand before predicate and object."""
    data = np.frombuffer(chunk, np.uint8)
    ends = np.flatnonzero(data == 10)
    starts = np.concatenate([[0], ends[:-1] + 1])
    spaces = np.flatnonzero(data == 32)
    first = np.searchsorted(spaces, starts)
    one, two = spaces[first], spaces[first + 1]
    return (_pieces(chunk, starts, one), _pieces(chunk, one + 1, two), _pieces(chunk, two + 1, ends - 2))


def _pieces(chunk: bytes, starts: IntArray, ends: IntArray) -> pa.StringArray:
    """Return the pieces of a text: what lies between two of them is a piece too, and left out."""
    offsets = np.empty(2 * len(starts) + 1, np.int32)
    offsets[:-1:2], offsets[1::2] = starts, ends
    offsets[-1] = ends[-1] if len(ends) else 0
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(chunk)]
    both = pa.Array.from_buffers(pa.string(), 2 * len(starts), buffers)
    return both.take(pa.array(np.arange(0, 2 * len(starts), 2)))


def _numbered(columns: list[list[pa.Array]]) -> Triples:
    n = sum(map(len, columns[0]))
    if not n:
        empty = np.empty(0, np.int64)
        return Triples(pa.array([], pa.string()), empty, empty, empty)
    encoded = pc.dictionary_encode(pa.chunked_array([part for column in columns for part in column], pa.string()))
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int64)
    terms = encoded.chunks[-1].dictionary
    return Triples(terms, codes[:n], codes[n : 2 * n], codes[2 * n :])


def _any(mask: pa.Array) -> bool:
    return bool(pc.any(mask).as_py())
