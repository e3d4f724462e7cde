"""Popularity: the number of interactions of an item, the same for every user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kgrec._util.array_layout import Array, Layout
from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.edges import Behaviors
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import has_times
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, Signal, SignalSettings
from kgrec.signals.relevance import RelevantIf


class PopularitySettings(SignalSettings):
    """Settings of popularity."""

    half_life: Annotated[float | None, RelevantIf(has_times)] = Field(
        None, gt=0, description="Half-life of a behavior, as a share of the data's time span; none: no decay."
    )


class Popularity(Signal):
    """Logarithm of an item's number of interactions, optionally with time decay."""

    name: ClassVar[str] = "popularity"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 10
    personalized: ClassVar[bool] = False
    Settings = PopularitySettings
    grid: ClassVar[Grid] = {"half_life": (0.02, 0.1, 0.3)}

    _item_scores: FloatArray

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Count the behaviors of every item."""
        weight = _recency(train.behaviors, self.settings.half_life) * train.behaviors.confidence
        count = np.bincount(train.behaviors.item_num, weight, minlength=train.n_items)
        self._item_scores = np.log1p(count).astype(np.float32)
        return self

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return the same scores for every user, float32 [n users, n_items]."""
        return np.tile(self._item_scores, (len(user_nums), 1))

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users; see `Signal`."""
        return np.tile(self._item_scores, (users.n_users, 1))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the scores of the items, float32 [n_items]."""
        return {"item_scores": self._item_scores}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return ({"item_scores": Array((train.n_items,))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        self._item_scores = state["item_scores"]
        return self

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal with the counts of the updated graph."""
        return type(self)(self.settings).fit(delta.new, delta.vectors)


def _recency(behaviors: Behaviors, half_life: float | None) -> DoubleArray:
    """Return the decayed weight of each behavior, 1 for the latest; one without a time counts as the oldest."""
    known = np.isfinite(behaviors.time)
    if half_life is None or not known.any():
        return np.ones(len(behaviors))
    first, last = behaviors.time[known].min(), behaviors.time[known].max()
    age = (last - np.where(known, behaviors.time, first)) / max(last - first, 1e-9)
    return np.asarray(0.5 ** (age / half_life))
