"""Selection of a source's rows by a mapping, and expansion of cells with several ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import BoolArray, IntArray
from kgrec.data.columns import as_ids, as_type, list_lengths, to_mask
from kgrec.data.tables import Origin, taken
from loaders.sources import Source

TYPE_COLUMN: Final = ":TYPE"
LABEL_COLUMN: Final = ":LABEL"
"""Columns of Neo4j import files with the relationship type and the node labels."""

LABEL_SEPARATOR: Final = ";"
MAX_SHOWN_VALUES: Final = 5
"""Maximum number of values of a column in a message."""


@dataclass(frozen=True)
class Selection:
    """Selected rows of a source.

    Attributes:
        table: the rows [n].
        origins: sources of the rows.
        rows: row numbers in the source [n], from 0.
    """

    table: pa.Table
    origins: tuple[Origin, ...]
    rows: IntArray

    @classmethod
    def of(cls, source: Source) -> Selection:
        """Return a selection of all rows of a source."""
        return cls(*source, np.arange(source[0].num_rows))

    @property
    def where(self) -> str:
        """Name of the source."""
        return self.origins[0].where if self.origins else "the source"

    def keep(self, mask: BoolArray) -> Selection:
        """Return the rows that a mask [n] marks."""
        if mask.all():
            return self
        return self.take(np.flatnonzero(mask))

    def take(self, rows: IntArray) -> Selection:
        """Return the rows with ascending numbers `rows`; a row may be repeated."""
        return Selection(self.table.take(pa.array(rows)), taken(self.origins, rows), self.rows[rows])


def matches(column: pa.ChunkedArray, value: object) -> BoolArray:
    """Return a mask [n] of the rows equal to a value; a number or boolean also matches its notations, such as `5.0`."""
    if isinstance(value, bool):
        return to_mask(pc.equal(as_type(column, "bool")[0], value))
    cells = as_ids(column)[0]
    if isinstance(value, int | float):
        return to_mask(pc.equal(_without_zeros(cells), str(int(value) if value == value // 1 else value)))
    return to_mask(pc.equal(cells, str(value).strip()))


def _without_zeros(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts, with trailing decimal zeros removed from numbers."""
    return pc.replace_substring_regex(texts, r"^([+-]?[0-9]+)(?:\.0*|(\.[0-9]*[1-9])0+)$", r"\1\2")


def has_label(column: pa.ChunkedArray, label: str) -> BoolArray:
    """Return a mask [n] of the rows of a label column that have a label."""
    labels = pc.split_pattern(as_ids(column)[0], LABEL_SEPARATOR)
    lengths = list_lengths(labels)
    rows = np.repeat(np.arange(len(column)), lengths)
    hit = to_mask(pc.equal(pc.utf8_trim_whitespace(pc.list_flatten(labels)), label))
    return np.bincount(rows[hit], minlength=len(column)) > 0


def some_values(column: pa.ChunkedArray) -> str:
    """Return a few values of a column, the most frequent first, for a message."""
    counts = pc.value_counts(as_ids(column)[0].drop_null())
    order = np.argsort(-np.asarray(counts.field("counts")), kind="stable")[:MAX_SHOWN_VALUES]
    values = counts.field("values").take(pa.array(order)).to_pylist()
    return ", ".join(map(repr, values)) + (", …" if len(counts) > MAX_SHOWN_VALUES else "") or "nothing"


def spread(lists: pa.ChunkedArray) -> tuple[pa.ChunkedArray, IntArray]:
    """Return the parts of a list column [n] as values, and the row of each; an empty list becomes one null."""
    lengths = list_lengths(lists)
    counts = np.maximum(lengths, 1)
    rows = np.repeat(np.arange(len(lists)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    index = np.repeat(np.cumsum(lengths) - lengths, counts) + within
    values = pc.list_flatten(lists).take(pa.array(index, mask=lengths[rows] == 0))
    return values, rows


def repeated(uses: Mapping[Any, list[tuple[str, IntArray]]]) -> Iterator[tuple[Any, list[str], int]]:
    """Yield each source that is used more than once, the relationship types that use it, and the number of shared rows.

    Args:
        uses: source and end columns → relationship types, each with the rows that it uses.
    """
    for key, users in uses.items():
        if len(users) > 1:
            n = int(np.count_nonzero(np.bincount(np.concatenate([np.unique(rows) for _, rows in users])) > 1))
            if n:
                yield key, [name for name, _ in users], n
