"""Rows of a source: those that a mapping takes, and one for each id where a cell holds several."""

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
"""Columns of files for Neo4j's import, which say the type of a relationship and the labels of a node."""

LABEL_SEPARATOR: Final = ";"
MAX_SHOWN_VALUES: Final = 5
"""Values of a column that a message names."""


@dataclass(frozen=True)
class Selection:
    """Rows of a source.

    Attributes:
        table: the rows [n].
        origins: where they came from.
        rows: their numbers in the source [n], from 0.
    """

    table: pa.Table
    origins: tuple[Origin, ...]
    rows: IntArray

    @classmethod
    def of(cls, source: Source) -> Selection:
        """Select all rows of a source."""
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
        """Return the rows of these numbers, in order; a row may come more than once."""
        return Selection(self.table.take(pa.array(rows)), taken(self.origins, rows), self.rows[rows])


def matches(column: pa.ChunkedArray, value: object) -> BoolArray:
    """Say which rows [n] of a column hold a value: text as it is, `True` and `5.0` as the values that they spell."""
    if isinstance(value, bool):
        return to_mask(pc.equal(as_type(column, "bool")[0], value))
    cells = as_ids(column)[0]
    if isinstance(value, int | float):
        return to_mask(pc.equal(_without_zeros(cells), str(int(value) if value == value // 1 else value)))
    return to_mask(pc.equal(cells, str(value).strip()))


def _without_zeros(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts, those of a number without the zeros that end its decimals."""
    return pc.replace_substring_regex(texts, r"^([+-]?[0-9]+)(?:\.0*|(\.[0-9]*[1-9])0+)$", r"\1\2")


def has_label(column: pa.ChunkedArray, label: str) -> BoolArray:
    """Say which rows [n] of a column of labels have a label among theirs."""
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
    """Return each part of a column of lists [n] as a value, and the row that it is of; a row without parts is null."""
    lengths = list_lengths(lists)
    counts = np.maximum(lengths, 1)
    rows = np.repeat(np.arange(len(lists)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    index = np.repeat(np.cumsum(lengths) - lengths, counts) + within
    values = pc.list_flatten(lists).take(pa.array(index, mask=lengths[rows] == 0))
    return values, rows


def repeated(uses: Mapping[Any, list[tuple[str, IntArray]]]) -> Iterator[tuple[Any, list[str], int]]:
    """Yield what is used more than once, by whom, and the number of rows that several take.

    Args:
        uses: source and ends → users, each with the rows that it takes.
    """
    for key, users in uses.items():
        if len(users) > 1:
            n = int(np.count_nonzero(np.bincount(np.concatenate([np.unique(rows) for _, rows in users])) > 1))
            if n:
                yield key, [name for name, _ in users], n
