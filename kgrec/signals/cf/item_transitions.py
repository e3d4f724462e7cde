"""Item transitions: items that users chose after the latest items of a user."""

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
from kgrec.signals.sparse import columns_of, factor, from_arrays, largest_of_columns, product, rows_of, to_arrays

WINDOW_STEPS: Final = 20
"""Largest distance, in items of a user's history in a domain, at which one item counts as following another."""
BLOCK_ITEMS: Final = 1024
"""Items whose transitions are weighted at a time."""
MAX_FOLLOWERS: Final = 500
"""Predecessors kept for each item, at most."""


class ItemTransitionsSettings(SignalSettings):
    """Settings of item transitions."""

    distance_exponent: float = Field(
        0.5, ge=0, description="Exponent of the distance between two items that divides their transition weight."
    )
    backward_weight: float = Field(
        0.2, ge=0, le=1, description="Weight of transitions from the later item to the earlier one."
    )
    source_exponent: float = Field(
        0.5, ge=0, le=1, description="Exponent of the history item's popularity that divides transition weights."
    )
    target_exponent: float = Field(
        0.2, ge=0, le=1, description="Exponent of the scored item's popularity that divides transition weights."
    )
    shrinkage: float = Field(1.0, ge=0, description="Constant added to the divisor, which shrinks rare transitions.")
    half_life_items: HalfLifeItems = 1.0


class ItemTransitions(Signal):
    """Sum of transition weights from a user's latest items: how often, and how soon, an item was chosen after them.

    An item-to-item transition graph, as in Markov chains for next-basket recommendation (Rendle et al., "FPMC", WWW
    2010) and in session kNN (Garg et al., "STAN", SIGIR 2019), with free exponents for both popularities.
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
    _factor: sp.csr_matrix | FloatArray

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Return whether behaviors have times: the order of items matters where a user's next items are predicted."""
        return has_times(train)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Count the transitions between items."""
        settings: ItemTransitionsSettings = self.settings
        following = _following(train, settings.distance_exponent)
        preceding, followed = following.T, following.tocsc()
        count = np.bincount(train.interactions.indices, minlength=train.n_items).astype(np.float32)
        blocks = []
        for first in range(0, train.n_items, BLOCK_ITEMS):
            block = slice(first, first + BLOCK_ITEMS)
            links = followed[:, block] + np.float32(settings.backward_weight) * preceding[:, block]
            blocks.append(_scaled(sp.csc_matrix(links), count, first, settings))
        return self._bind(train, sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32)))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return sums of transition weights, float32 [n users, n_items]."""
        return product(rows_of(self._history, user_nums), self._factor)

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users; see `Signal`."""
        rows = user_histories(users, half_life_items=self.settings.half_life_items)
        return product(rows, self._factor)

    def item_similarity(self, item_nums: IntArray) -> FloatArray:
        """Return the transition weights from items to all items, float32 [n, n_items]."""
        return np.asarray(self._links[item_nums].toarray(), dtype=np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the transition weights as the arrays of a CSR matrix [n_items, n_items]."""
        return to_arrays(self._links)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return (csr(train.n_items),)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, from_arrays(state, train.n_items))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        return type(self)(self.settings)._bind(delta.new, delta.between_items(self._links))

    def _bind(self, train: GraphSnapshot, links: sp.csr_matrix) -> Self:
        self._history = user_histories(train, half_life_items=self.settings.half_life_items)
        self._links, self._factor = links, factor(links)
        return self


def _scaled(links: sp.csc_matrix, count: FloatArray, first: int, settings: ItemTransitionsSettings) -> sp.csc_matrix:
    """Return the largest transition weights of each column, from the links to a block of items.

    Args:
        links: summed transitions, CSC [n_items, items of the block].
        count: users of each item, float32 [n_items].
        first: number of the block's first item.
        settings: `ItemTransitionsSettings`.
    """
    row, column = links.indices, first + columns_of(links)
    scale = count[row] ** settings.source_exponent * count[column] ** settings.target_exponent + settings.shrinkage
    links.data = np.where(row == column, 0, links.data / scale).astype(np.float32)
    return largest_of_columns(links, links.data, MAX_FOLLOWERS)


def _following(train: GraphSnapshot, distance_exponent: float) -> sp.csr_matrix:
    """Return the summed distance^-distance_exponent from items to later items, float32 CSR [n_items, n_items].

    The sum is over all histories of users in a domain; rows are the earlier items, columns the later ones.
    """
    series, _, item_num, time = sequences(train)

    def at(step: int) -> sp.csr_matrix:
        later = (series[step:] == series[:-step]) & (time[step:] > time[:-step]) & np.isfinite(time[:-step])
        cells = (item_num[:-step][later], item_num[step:][later])
        values = np.full(len(cells[0]), step**-distance_exponent, dtype=np.float32)
        return sp.csr_matrix((values, cells), shape=(train.n_items, train.n_items))

    return reduce(add, map(at, range(1, WINDOW_STEPS + 1)))
