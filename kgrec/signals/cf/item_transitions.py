"""Transitions: what people chose after the items that a user chose last."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec.data.graph_delta import Growth
from kgrec.data.histories import has_times, history, sequences
from kgrec.data.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors
from kgrec.signals.base import Grid, Group, Ladder, Recent, Signal, SignalSettings
from kgrec.signals.layout import Layout, csr
from kgrec.signals.sparse import from_arrays, largest_of_columns, to_arrays

WINDOW: Final = 20
"""Steps in what a user did in a domain beyond which one item does not count as following another."""
MAX_FOLLOWERS: Final = 500
"""Items kept that an item follows."""


class TransitionsSettings(SignalSettings):
    """Settings of transitions."""

    fading: float = Field(0.5, ge=0, description="Power of the steps between two items that divides their link.")
    back: float = Field(0.2, ge=0, le=1, description="How much a link counts from the later item to the earlier.")
    source: float = Field(0.5, ge=0, le=1, description="Power of the known item's popularity that divides links.")
    target: float = Field(0.2, ge=0, le=1, description="The same for the scored item's popularity.")
    shrinkage: float = Field(1.0, ge=0, description="Links that a pair of items needs to be half believed.")
    recent: Recent = 1.0


class Transitions(Signal):
    """Sum of the links from a user's latest items: how often, and how soon, an item was chosen after each of them.

    A transition graph between items, as in Markov chains for the next basket (Rendle et al., "FPMC", WWW 2010) and
    its neighbourhood form (Garg et al., "STAN", SIGIR 2019), with the exponents of both popularities free.
    """

    name: ClassVar[str] = "transitions"
    group: ClassVar[Group] = "cf"
    Settings = TransitionsSettings
    scoring: ClassVar[frozenset[str]] = frozenset({"recent"})
    grid: ClassVar[Grid] = {
        "recent": Ladder(2.0, 0.2, 50),
        "target": (0.0, 0.5),
        "source": (0.3, 0.8),
        "back": (0.0, 0.6),
        "fading": (0.0, 1.0),
        "shrinkage": Ladder(5.0, 0.04, 1000),
    }

    _history: sp.csr_matrix
    _links: sp.csr_matrix

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether behaviours have an order."""
        return has_times(train)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Count what follows what."""
        settings: TransitionsSettings = self.settings
        following = _following(train, settings.fading)
        links = sp.coo_matrix(following + np.float32(settings.back) * following.T)
        count = np.bincount(train.interactions.indices, minlength=train.n_items).astype(np.float32)
        scale = count[links.row] ** settings.source * count[links.col] ** settings.target + settings.shrinkage
        values = np.where(links.row == links.col, 0, links.data / scale).astype(np.float32)
        scaled = sp.csc_matrix((values, (links.row, links.col)), shape=links.shape)
        return self._take(train, sp.csr_matrix(largest_of_columns(scaled, scaled.data, MAX_FOLLOWERS)))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return sums of links, float32 [n users, n_items]."""
        return np.asarray((self._history[user_nums] @ self._links).toarray())

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the links as the arrays of a CSR matrix [n_items, n_items]."""
        return to_arrays(self._links)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        return (csr(train.n_items),)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._take(train, from_arrays(state, train.n_items))

    def fold_in(self, growth: Growth) -> Self:
        """Place what was learnt in a graph that has grown; see `Signal`."""
        return type(self)(self.settings)._take(growth.new, growth.between_items(self._links))

    def _take(self, train: GraphSnapshot, links: sp.csr_matrix) -> Self:
        self._history, self._links = history(train, recent=self.settings.recent), links
        return self


def _following(train: GraphSnapshot, fading: float) -> sp.csr_matrix:
    """Sum over series of steps^-fading from an item (row) to a later one (column), float32 CSR [n_items, n_items]."""
    series, _, item_num, time = sequences(train)

    def at(step: int) -> sp.csr_matrix:
        later = (series[step:] == series[:-step]) & (time[step:] > time[:-step]) & np.isfinite(time[:-step])
        cells = (item_num[:-step][later], item_num[step:][later])
        values = np.full(len(cells[0]), step**-fading, dtype=np.float32)
        return sp.csr_matrix((values, cells), shape=(train.n_items, train.n_items))

    return reduce(add, map(at, range(1, WINDOW + 1)))
