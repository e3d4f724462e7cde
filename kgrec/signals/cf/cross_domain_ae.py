"""Cross-domain autoencoder: recommendations for cold-start users of a domain, from their history in other domains."""

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
from kgrec.data.histories import over_root_length
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, LogRange, Signal, SignalSettings
from kgrec.signals.domain_weighting import cold_start_users, items_by_domain
from kgrec.signals.step_limits import MAX_BATCH_USERS


class CrossDomainAESettings(SignalSettings):
    """Settings of the cross-domain autoencoder."""

    dim: int = Field(128, ge=2, description="Dimensions of the item vectors.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of a user's input items dropped in a training step.")
    steps: int = Field(120, ge=1, description="Training steps.")


class CrossDomainAE(Signal):
    """Dot product of a cold-start user's history in other domains with the vector of an item, plus an item bias.

    A low-rank linear autoencoder from the items of other domains to those of one domain, trained on users of both with
    a softmax over the domain's items and dropout of the input (Liang et al., "Variational Autoencoders for
    Collaborative Filtering", WWW 2018: Mult-DAE). Other signals are trained on complete histories, whereas a cold-start
    user has the input side only. Users with interactions in the domain have the score 0.
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
        """Return whether a domain has cold-start users, and users it shares with another domain to learn from."""
        return bool(_entered(train))

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate duration of a fit, in seconds; see `Signal`."""
        items = sum(len(items_by_domain(train)[domain]) for domain in _entered(train))
        return float(settings.steps * min(train.n_users, MAX_BATCH_USERS) * items * (1e-8 + 1.2e-10 * settings.dim))

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Train on the users with interactions in the domain and in others."""
        from kgrec.signals.cf.cross_domain_ae_training import train_cross_domain_ae

        return self._bind(train, train_cross_domain_ae(train, _entered(train), self.settings, seed))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return scores, float32 [n users, n_items]: 0 for items of domains in which the user has interactions."""
        return self._scores(self._history[user_nums], self._new[user_nums])

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users; see `Signal`."""
        rows = users.interactions
        new = np.stack([rows[:, items].getnnz(axis=1) == 0 for items in self._domains], axis=1)
        return self._scores(rows, new)

    def _scores(self, rows: sp.csr_matrix, new: BoolArray) -> FloatArray:
        """Return scores, float32 [n, n_items], for histories, CSR [n, n_items].

        Args:
            rows: the histories.
            new: bool [n, domains], True for domains without interactions of the user, whose items are scored.
        """
        scores = np.zeros((len(new), len(self._learned["bias"])), dtype=np.float32)
        history = over_root_length(rows)
        for items, is_new in zip(self._domains, new.T, strict=True):
            users = np.asarray(history[is_new] @ self._learned["source"])
            scores[np.ix_(is_new, items)] = users @ self._learned["target"][items].T + self._learned["bias"][items]
        return scores

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the item vectors as input (`source`) and as output (`target`), and the item biases (`bias`).

        float32 [n_items, dim], [n_items, dim] and [n_items].
        """
        return dict(self._learned)

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        of_items = Array((train.n_items, self.settings.dim))
        return ({"source": of_items, "target": of_items, "bias": Array((train.n_items,))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, dict(state))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        learned = {name: remap_rows(rows, delta.items) for name, rows in self._learned.items()}
        return type(self)(self.settings)._bind(delta.new, learned)

    def _bind(self, train: GraphSnapshot, learned: dict[str, FloatArray]) -> Self:
        self._learned, self._history = learned, train.interactions
        self._domains, self._new = items_by_domain(train), train.user_domains[0] == 0
        return self


def _entered(train: GraphSnapshot) -> list[int]:
    """Return the indices of the domains with both cold-start users and users active in other domains too."""
    here = train.user_domains[0] > 0
    both = (here & (here.sum(axis=1, keepdims=True) > 1)).any(axis=0)
    return np.flatnonzero(cold_start_users(train).any(axis=0) & both).tolist()
