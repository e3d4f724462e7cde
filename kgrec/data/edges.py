"""Relationships and behaviors of a snapshot as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.data.columns import column_numbers, flat, is_datetime


@dataclass(frozen=True)
class Edges:
    """Relationships of one edge type, sorted by source, target and properties.

    Attributes:
        src_num: int64 [n], number of the source within its label.
        dst_num: int64 [n], number of the target within its label.
        table: properties, n rows.
        confidence: float32 [n], 0 … 1, weight of each in training; None is 1 for all.
    """

    src_num: IntArray
    dst_num: IntArray
    table: pa.Table
    confidence: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.src_num)

    def where(self, keep: BoolArray) -> Edges:
        """Return only the relationships that `keep` [n] marks."""
        table = self.table.filter(pa.array(keep)) if self.table.num_columns else self.table
        confidence = None if self.confidence is None else self.confidence[keep]
        return Edges(self.src_num[keep], self.dst_num[keep], table, confidence)


@dataclass(frozen=True)
class Behaviors:
    """Behaviors (interactions) of users, one row per relationship.

    Attributes:
        user_num, item_num: int64 [n].
        weight: float32 [n]; 1 if the schema declares no weight.
        time: float64 [n]; NaN if the schema declares no time.
        type_num: int64 [n], index into the schema's behaviors.
        split: object [n] of "train", "valid", "test"; empty strings if the schema declares no split.
        confidence: float32 [n], 0 … 1, weight of each in training; 1 unless `noise=weigh` lowers it.
    """

    user_num: IntArray
    item_num: IntArray
    weight: FloatArray
    time: DoubleArray
    type_num: IntArray
    split: npt.NDArray[np.object_]
    confidence: FloatArray

    def __len__(self) -> int:
        return len(self.user_num)

    def where(self, keep: npt.NDArray[Any]) -> Behaviors:
        """Return only the rows that `keep` (a mask or row numbers) selects."""
        return Behaviors(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def pairs(self, n_users: int, n_items: int) -> sp.csr_matrix:
        """Return the interaction matrix, float32 CSR [n_users, n_items].

        The value of a (user, item) pair is the largest confidence of its behaviors, which is 1 unless noise is weighed.
        """
        ones, cells = np.ones(len(self), dtype=np.float32), (self.user_num, self.item_num)
        matrix = sp.csr_matrix((ones, cells), shape=(n_users, n_items), dtype=np.float32)
        matrix.sum_duplicates()
        matrix.data[:] = 1
        if (self.confidence < 1).any():
            of_row = np.repeat(np.arange(n_users), np.diff(matrix.indptr)) * n_items + matrix.indices
            at = np.searchsorted(of_row, self.user_num * n_items + self.item_num)
            matrix.data[:] = 0
            np.maximum.at(matrix.data, at, self.confidence)
        return matrix

    def and_also(self, others: Behaviors) -> Behaviors:
        """Return these rows followed by the others."""
        names = self.__dataclass_fields__
        return Behaviors(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in names))


def numbered(table: pa.Table, sources: pa.ChunkedArray, targets: pa.ChunkedArray) -> Edges:
    """Return relationships as sorted edges.

    Args:
        table: columns `src` and `dst` (keys of the ends) and the properties.
        sources, targets: keys of the nodes of both labels, ordered by number.
    """
    src = np.asarray(pc.index_in(table.column("src"), value_set=sources).to_numpy(), dtype=np.int64)
    dst = np.asarray(pc.index_in(table.column("dst"), value_set=targets).to_numpy(), dtype=np.int64)
    properties = table.drop_columns(["src", "dst"])
    codes = [_order_codes(properties.column(name)) for name in properties.column_names]
    order = np.lexsort([*codes[::-1], dst, src])
    return Edges(src[order], dst[order], properties.take(pa.array(order)).combine_chunks())


def _order_codes(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    if pa.types.is_list(column.type):
        column = pc.binary_join(column, "\x1f")
    if is_datetime(column):
        column = column.cast(pa.int64())
    if pa.types.is_string(column.type) or pa.types.is_integer(column.type):
        return np.asarray(pc.rank(flat(column), tiebreaker="dense").to_numpy())
    return column_numbers(column)
