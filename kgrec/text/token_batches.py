"""Batches of tokenized texts: texts of similar length together, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from kgrec._util.types import BoolArray, IntArray


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, one text after the other, and the number of tokens of each."""

    ids: IntArray
    lengths: IntArray

    @classmethod
    def from_lists(cls, ids: Sequence[Sequence[int]]) -> Tokens:
        """Put the token ids of texts one after the other."""
        return cls(np.fromiter(chain.from_iterable(ids), np.int64), np.array([len(x) for x in ids]))

    @cached_property
    def starts(self) -> IntArray:
        """Where each text begins."""
        return np.cumsum(self.lengths) - self.lengths

    def padded(self, rows: IntArray, pad: int) -> tuple[IntArray, BoolArray]:
        """Return the ids of some texts as a matrix [rows, longest], padded on the right, and where it is no padding."""
        within = np.arange(self.lengths[rows].max())
        mask = within < self.lengths[rows, None]
        return np.where(mask, self.ids[np.minimum(self.starts[rows, None] + within, len(self.ids) - 1)], pad), mask


def n_fitting(lengths: IntArray, budget: int) -> int:
    """Return how many of the first texts, shortest first, fit into a batch of `budget` tokens, padding included."""
    lengths = lengths[:budget]
    padded = lengths * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(padded, budget, side="right")))


def batches(lengths: IntArray, budget: int) -> Iterator[IntArray]:
    """Yield the rows of texts of some lengths [n], shortest first, in batches of `budget` tokens, padding included."""
    order, start = np.argsort(lengths, kind="stable"), 0
    while start < len(order):
        stop = start + n_fitting(lengths[order[start:]], budget)
        yield order[start:stop]
        start = stop
