"""Batches of tokenized texts: texts of similar length go together, to reduce padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from kgrec._util.types import BoolArray, IntArray


@dataclass(frozen=True)
class Tokens:
    """Concatenated token ids of texts, and the number of tokens of each text."""

    ids: IntArray
    lengths: IntArray

    @classmethod
    def from_lists(cls, ids: Sequence[Sequence[int]]) -> Tokens:
        """Concatenate the token ids of texts."""
        return cls(np.fromiter(chain.from_iterable(ids), np.int64), np.array([len(x) for x in ids]))

    @cached_property
    def starts(self) -> IntArray:
        """Offset of each text in `ids`."""
        return np.cumsum(self.lengths) - self.lengths

    def padded(self, rows: IntArray, pad: int) -> tuple[IntArray, BoolArray]:
        """Return the ids of some texts [rows, longest], padded on the right, and a mask that is false for padding."""
        within = np.arange(self.lengths[rows].max())
        mask = within < self.lengths[rows, None]
        return np.where(mask, self.ids[np.minimum(self.starts[rows, None] + within, len(self.ids) - 1)], pad), mask


def n_fitting(lengths: IntArray, budget: int) -> int:
    """Return the number of texts, shortest first, that fit into a batch of `budget` tokens, padding included."""
    lengths = lengths[:budget]
    padded = lengths * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(padded, budget, side="right")))


def batches(lengths: IntArray, budget: int) -> Iterator[IntArray]:
    """Yield the rows of texts of given lengths [n], shortest first, in batches of `budget` tokens, padding included."""
    order, start = np.argsort(lengths, kind="stable"), 0
    while start < len(order):
        stop = start + n_fitting(lengths[order[start:]], budget)
        yield order[start:stop]
        start = stop
