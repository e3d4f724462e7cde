"""The bridge: what newcomers to a domain take, told from what they did in others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Array, Layout
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta, remap_rows
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, LogRange, Signal, SignalSettings
from kgrec.signals.cf.cross_domain_ae_training import MAX_BATCH_USERS, over_root_length
from kgrec.signals.domain_weighting import cold_start_users, items_by_domain


class CrossDomainAESettings(SignalSettings):
    """Settings of the bridge."""

    dim: int = Field(128, ge=2, description="Length of an item's vector.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of what a user did elsewhere left out in a step.")
    steps: int = Field(120, ge=1, description="Training steps.")


class CrossDomainAE(Signal):
    """Dot product of the vectors of what a newcomer did elsewhere with an item's, plus how likely the item is at all.

    A linear autoencoder of low rank from items to those of another domain, learned from users of both under a softmax
    over the domain's items, with dropout of the input (Liang et al., "Variational Autoencoders for Collaborative
    Filtering", WWW 2018: Mult-DAE). Other signals learn what goes with what in one another's presence; of a newcomer
    there is one side alone. Nothing is said of users who have something in the domain.
    """

    name: ClassVar[str] = "cross_domain_ae"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 110
    Settings = CrossDomainAESettings
    grid: ClassVar[Grid] = {"steps": LogRange(1.6, 10, 1000), "dropout": (0.7, 0.3)}

    _learned: dict[str, FloatArray]
    _history: sp.csr_matrix
    _domains: list[IntArray]
    _new: BoolArray

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether users are new to a domain that others share with another."""
        return bool(_entered(train))

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return roughly how many seconds a fit takes; see `Signal`."""
        items = sum(len(items_by_domain(train)[domain]) for domain in _entered(train))
        return float(settings.steps * min(train.n_users, MAX_BATCH_USERS) * items * (1e-8 + 1.2e-10 * settings.dim))

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Learn from users who have something in the domain and elsewhere."""
        from kgrec.signals.cf.cross_domain_ae_training import train_cross_domain_ae

        return self._bind(train, train_cross_domain_ae(train, _entered(train), self.settings, seed))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return scores of the items of domains that users are new to, 0 of others; float32 [n users, n_items]."""
        return self._scores(self._history[user_nums], self._new[user_nums])

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores for people who are no users of the graph; see `Signal`."""
        rows = users.interactions
        new = np.stack([rows[:, items].getnnz(axis=1) == 0 for items in self._domains], axis=1)
        return self._scores(rows, new)

    def _scores(self, rows: sp.csr_matrix, new: BoolArray) -> FloatArray:
        """Score items for histories, CSR [n, n_items], and what domains they lack, bool [n, domains]."""
        found = np.zeros((len(new), len(self._learned["bias"])), dtype=np.float32)
        history = over_root_length(rows)
        for items, is_new in zip(self._domains, new.T, strict=True):
            towards = np.asarray(history[is_new] @ self._learned["source"])
            found[np.ix_(is_new, items)] = towards @ self._learned["target"][items].T + self._learned["bias"][items]
        return found

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return items' vectors as what was done and as what is to be told, `source` and `target`, and their `bias`.

        float32 [n_items, dim], [n_items, dim], [n_items].
        """
        return dict(self._learned)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        of_items = Array((train.n_items, self.settings.dim))
        return ({"source": of_items, "target": of_items, "bias": Array((train.n_items,))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._bind(train, dict(state))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Place what was learned in a graph that has grown; see `Signal`."""
        learned = {name: remap_rows(rows, delta.items) for name, rows in self._learned.items()}
        return type(self)(self.settings)._bind(delta.new, learned)

    def _bind(self, train: GraphSnapshot, learned: dict[str, FloatArray]) -> Self:
        self._learned, self._history = learned, train.interactions
        self._domains, self._new = items_by_domain(train), train.user_domains[0] == 0
        return self


def _entered(train: GraphSnapshot) -> list[int]:
    """Return the domains, by their place among the names, that users of others are new to and some have both."""
    here = train.user_domains[0] > 0
    both = (here & (here.sum(axis=1, keepdims=True) > 1)).any(axis=0)
    return np.flatnonzero(cold_start_users(train).any(axis=0) & both).tolist()
