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

from kgrec._util.array_layout import Layout, csr
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import has_times, sequences, user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, HalfLifeItems, LogRange, Signal, SignalSettings
from kgrec.signals.sparse import from_arrays, largest_of_columns, to_arrays

WINDOW_STEPS: Final = 20
"""Steps in what a user did in a domain beyond which one item does not count as following another."""
MAX_FOLLOWERS: Final = 500
"""Items kept that an item follows."""


class ItemTransitionsSettings(SignalSettings):
    """Settings of transitions."""

    distance_exponent: float = Field(
        0.5, ge=0, description="Power of the steps between two items that divides their link."
    )
    backward_weight: float = Field(
        0.2, ge=0, le=1, description="How much a link counts from the later item to the earlier."
    )
    source_exponent: float = Field(
        0.5, ge=0, le=1, description="Power of the known item's popularity that divides links."
    )
    target_exponent: float = Field(0.2, ge=0, le=1, description="The same for the scored item's popularity.")
    shrinkage: float = Field(1.0, ge=0, description="Links that a pair of items needs to be half believed.")
    half_life_items: HalfLifeItems = 1.0


class ItemTransitions(Signal):
    """Sum of the links from a user's latest items: how often, and how soon, an item was chosen after each of them.

    A transition graph between items, as in Markov chains for the next basket (Rendle et al., "FPMC", WWW 2010) and
    its neighborhood form (Garg et al., "STAN", SIGIR 2019), with the exponents of both popularities free.
    """

    name: ClassVar[str] = "item_transitions"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 30
    Settings = ItemTransitionsSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(2.0, 0.2, 50),
        "target_exponent": (0.0, 0.5),
        "source_exponent": (0.3, 0.8),
        "backward_weight": (0.0, 0.6),
        "distance_exponent": (0.0, 1.0),
        "shrinkage": LogRange(5.0, 0.04, 1000),
    }

    _history: sp.csr_matrix
    _links: sp.csr_matrix

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether behaviors have an order."""
        return has_times(train)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Count what follows what."""
        settings: ItemTransitionsSettings = self.settings
        following = _following(train, settings.distance_exponent)
        links = sp.coo_matrix(following + np.float32(settings.backward_weight) * following.T)
        count = np.bincount(train.interactions.indices, minlength=train.n_items).astype(np.float32)
        scale = (
            count[links.row] ** settings.source_exponent * count[links.col] ** settings.target_exponent
            + settings.shrinkage
        )
        values = np.where(links.row == links.col, 0, links.data / scale).astype(np.float32)
        scaled = sp.csc_matrix((values, (links.row, links.col)), shape=links.shape)
        return self._bind(train, sp.csr_matrix(largest_of_columns(scaled, scaled.data, MAX_FOLLOWERS)))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return sums of links, float32 [n users, n_items]."""
        return np.asarray((self._history[user_nums] @ self._links).toarray())

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores for people who are no users of the graph; see `Signal`."""
        rows = user_histories(users, half_life_items=self.settings.half_life_items)
        return np.asarray((rows @ self._links).toarray())

    def item_similarity(self, item_nums: IntArray) -> FloatArray:
        """Return the links from items to all others, float32 [n, n_items]."""
        return np.asarray(self._links[item_nums].toarray(), dtype=np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the links as the arrays of a CSR matrix [n_items, n_items]."""
        return to_arrays(self._links)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        return (csr(train.n_items),)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._bind(train, from_arrays(state, train.n_items))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Place what was learned in a graph that has grown; see `Signal`."""
        return type(self)(self.settings)._bind(delta.new, delta.between_items(self._links))

    def _bind(self, train: GraphSnapshot, links: sp.csr_matrix) -> Self:
        self._history, self._links = user_histories(train, half_life_items=self.settings.half_life_items), links
        return self


def _following(train: GraphSnapshot, distance_exponent: float) -> sp.csr_matrix:
    """Sum over series of steps^-fading from an item (row) to a later one (column), float32 CSR [n_items, n_items]."""
    series, _, item_num, time = sequences(train)

    def at(step: int) -> sp.csr_matrix:
        later = (series[step:] == series[:-step]) & (time[step:] > time[:-step]) & np.isfinite(time[:-step])
        cells = (item_num[:-step][later], item_num[step:][later])
        values = np.full(len(cells[0]), step**-distance_exponent, dtype=np.float32)
        return sp.csr_matrix((values, cells), shape=(train.n_items, train.n_items))

    return reduce(add, map(at, range(1, WINDOW_STEPS + 1)))
