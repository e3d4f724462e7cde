"""GraphDelta: the correspondence between the training graph and an updated snapshot of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.compute as pc
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.snapshot import GraphSnapshot, Vectors


@dataclass(frozen=True)
class GraphDelta:
    """The training graph and the updated graph to recommend in.

    Nodes may also have been removed; their learned parameters are dropped.

    Attributes:
        old: the training graph.
        new: the graph to recommend in, without validation and test behaviors.
        vectors: text vectors of `new`, label → float32 [nodes of the label, d].
    """

    old: GraphSnapshot
    new: GraphSnapshot
    vectors: Vectors

    @cached_property
    def users(self) -> IntArray:
        """Old number of every user, int64 [n_users]; -1 for a new one."""
        return self.old.users.nums(self.new.users.ids)

    @cached_property
    def items(self) -> IntArray:
        """Old number of every item, int64 [n_items]; -1 for a new one."""
        return self.old.items.nums(self.new.items.ids)

    @cached_property
    def nodes(self) -> IntArray:
        """Old graph-wide number of every node, int64 [n_nodes]; -1 for a new one."""
        parts = [np.empty(0, np.int64)]
        for label in self.new.nodes:
            number = self.of_label(label)
            parts.append(np.where(number >= 0, number + self.old.offsets.get(label, 0), -1))
        return np.concatenate(parts)

    def of_label(self, label: str) -> IntArray:
        """Return the old number within the label of every node of a label, int64 [nodes]; -1 for a new one."""
        if label not in self.old.nodes:
            return np.full(self.new.nodes[label].num_rows, -1)
        old_num = pc.index_in(self.new.ids(label), value_set=self.old.ids(label)).fill_null(-1)
        return np.asarray(old_num.to_numpy(), dtype=np.int64)

    @cached_property
    def known_pairs(self) -> sp.csr_matrix:
        """Interactions of the old graph with the new numbers, float32 CSR [n_users, n_items] of ones."""
        return remap(self.old.interactions, self.users, self.items)

    @cached_property
    def changed_users(self) -> BoolArray:
        """Mask of users who are new or whose set of items changed, bool [n_users]."""
        gone_or_new = sp.csr_matrix(self.new.interactions - self.known_pairs)
        return np.asarray((self.users < 0) | (abs(gone_or_new).sum(axis=1).A1 > 0))

    def between_items(self, weights: sp.csr_matrix) -> sp.csr_matrix:
        """Return item-item weights with the new numbers, float32 CSR [n_items, n_items]; new items have none."""
        return remap(weights, self.items, self.items)


def remap_rows(rows: FloatArray, old_num: IntArray) -> FloatArray:
    """Return rows [old n, …] in the new numbering, float32 [n, …]; zeros where `old_num` [n] is -1."""
    remapped = rows[old_num]
    remapped[old_num < 0] = 0
    return remapped


def remap(matrix: sp.csr_matrix, row_num: IntArray, column_num: IntArray) -> sp.csr_matrix:
    """Return a matrix with its rows and columns renumbered, CSR [len(row_num), len(column_num)].

    Args:
        matrix: in the old numbers.
        row_num: old row of each new row, -1 for none.
        column_num: old column of each new column, -1 for none.
    """
    entries = matrix.tocoo()
    row, column = (
        _new_numbers(old_num, n)[old]
        for old_num, n, old in zip((row_num, column_num), matrix.shape, (entries.row, entries.col), strict=True)
    )
    kept = (row >= 0) & (column >= 0)
    return sp.csr_matrix((entries.data[kept], (row[kept], column[kept])), shape=(len(row_num), len(column_num)))


def _new_numbers(old_num: IntArray, n_old: int) -> IntArray:
    number = np.full(n_old, -1)
    known = np.flatnonzero(old_num >= 0)
    number[old_num[known]] = known
    return number
