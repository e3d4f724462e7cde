"""Columns of triples, parsed from N-Triples text by byte positions without a Python object per triple."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import IntArray
from kgrec.errors import MissingExtra

if TYPE_CHECKING:
    import pyoxigraph

_NEWLINE, _SPACE = 10, 32
_PIECES = 6
"""Subject, space, predicate, space, object, ` .` and newline."""


@dataclass(frozen=True)
class Triples:
    """Triples [n] as columns of text; a term is `<iri>`, `_:blank` or a literal.

    Attributes:
        subjects: string [n].
        predicates: dictionary-encoded string [n].
        objects: string [n].
        where: sources as (name, number of rows), in row order.
        lines: line numbers in the source, int64 [n], negative if unknown; None if all are unknown.
    """

    subjects: pa.ChunkedArray
    predicates: pa.DictionaryArray
    objects: pa.ChunkedArray
    where: tuple[tuple[str, int], ...] = ()
    lines: IntArray | None = None

    def __len__(self) -> int:
        return len(self.subjects)

    @cached_property
    def _by_predicate(self) -> tuple[IntArray, IntArray]:
        codes = self.predicates.indices.to_numpy()
        return np.argsort(codes, kind="stable"), np.bincount(codes, minlength=len(self.predicates.dictionary))

    def rows(self, predicate: str) -> IntArray:
        """Return the row numbers of the triples with a predicate."""
        code = self.predicates.dictionary.index(f"<{predicate}>").as_py()
        if code < 0:
            return np.empty(0, np.int64)
        order, counts = self._by_predicate
        start = int(counts[:code].sum())
        return order[start : start + int(counts[code])]

    def place(self, row: int) -> tuple[str, int | None]:
        """Return (source, line) of a row; line None if it is unknown."""
        line = None if self.lines is None or self.lines[row] < 0 else int(self.lines[row])
        for name, n in self.where:
            if row < n:
                return name, line
            row -= n
        return "the graph", line

    def counts(self) -> dict[str, int]:
        """Return predicate → number of its triples."""
        names = self.predicates.dictionary.to_pylist()
        return {name[1:-1]: int(n) for name, n in zip(names, self._by_predicate[1], strict=True)}


def parse(parts: Iterable[bytes | pa.Buffer]) -> Triples:
    """Return the triples of N-Triples text with lines `subject predicate object .`, separated by single spaces.

    Args:
        parts: pieces of the text; each ends at the end of a line.
    """
    with ThreadPoolExecutor() as pool:
        cut = list(pool.map(_cut, filter(len, parts)))
    subjects, predicates, objects = (pa.chunked_array([piece[i] for piece in cut], pa.large_string()) for i in range(3))
    return Triples(subjects, pc.dictionary_encode(predicates).combine_chunks(), objects)


def _cut(part: bytes | pa.Buffer) -> tuple[pa.Array, pa.Array, pa.Array]:
    data = np.frombuffer(part, dtype=np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    spaces = np.flatnonzero(data == _SPACE)
    at = np.searchsorted(spaces, starts)
    first, second = spaces[at], spaces[at + 1]
    bounds = np.column_stack([starts, first, first + 1, second, second + 1, ends - 2]).ravel()
    offsets = np.append(bounds, len(data)).astype(np.int64)
    pieces = pa.LargeStringArray.from_buffers(len(bounds), pa.py_buffer(offsets), pa.py_buffer(part))
    subject, predicate, object_ = (pieces.take(pa.array(np.arange(i, len(bounds), _PIECES))) for i in (0, 2, 4))
    return subject, predicate, object_


def oxigraph() -> type[pyoxigraph.Store]:
    """Return pyoxigraph's store class.

    Raises:
        MissingExtra: pyoxigraph is not installed.
    """
    try:
        import pyoxigraph
    except ImportError:
        raise MissingExtra('RDF needs packages that are not installed; run: pip install "kgrec[rdf]"') from None
    return pyoxigraph.Store
