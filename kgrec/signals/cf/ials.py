"""iALS: matrix factorisation of implicit behaviours by alternating least squares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from kgrec.data.graph_delta import Growth, moved
from kgrec.data.histories import has_times, history, mean_count, strengths
from kgrec.data.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors
from kgrec.signals.base import Elsewhere, Grid, Group, Ladder, Recent, Signal, SignalSettings, WeightInfluence
from kgrec.signals.domain_weighting import at_home, items_by_domain
from kgrec.signals.layout import Array, Layout


class IALSSettings(SignalSettings):
    """Settings of iALS."""

    factors: int = Field(64, ge=1, description="Dimensions of the vectors of users and items.")
    alpha: float = Field(5.0, gt=0, description="Confidence in a behaviour, where one in its absence is 1.")
    regularization: float = Field(
        0.1, gt=0, description="Pull of vectors towards zero, as a share of alpha times the mean behaviours of a row."
    )
    iterations: int = Field(15, ge=1, description="Rounds of solving users, then items.")
    recent: Recent = None
    elsewhere: Elsewhere = 0.3
    weight_influence: WeightInfluence = 1.0


class IALS(Signal):
    """Dot products of vectors of users and items (Hu, Koren & Volinsky, ICDM 2008), solved by the package implicit.

    Regularisation is relative to the data's density, because what is best in absolute terms differs a hundredfold
    between sparse and dense data (Rendle et al., "Revisiting the Performance of iALS", RecSys 2022).
    """

    name: ClassVar[str] = "ials"
    group: ClassVar[Group] = "cf"
    Settings = IALSSettings
    scoring: ClassVar[frozenset[str]] = frozenset({"recent", "elsewhere"})
    grid: ClassVar[Grid] = {
        "recent": Ladder(4.0, 0.5, 64),
        "elsewhere": (0.1, 0.0, 1.0),
        "alpha": Ladder(2.0, 0.3, 100),
        "regularization": Ladder(1.6, 0.005, 1),
        "factors": Ladder(2.0, 16, 256),
        "weight_influence": (0.0, 2.0),
    }

    _users: FloatArray
    _items: FloatArray
    _by_domain: list[tuple[IntArray, FloatArray]]
    """Items of each domain and the users' vectors that score them, where domains do not share these."""

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return roughly how many seconds a fit takes; see `Signal`."""
        rows = train.n_users + train.n_items
        return float(0.1 + settings.factors / 64 * (train.interactions.nnz / 500_000 + rows / 40_000))

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Solve for the vectors of users and items."""
        settings: IALSSettings = self.settings
        strength = strengths(train, settings.weight_influence)
        users, items = _solve(strength, mean_count(strength), settings, settings.iterations, seed)
        return self._take(train, users, items)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return dot products, float32 [n users, n_items]."""
        if not self._by_domain:
            return np.asarray(self._users[user_nums] @ self._items.T)
        scores = np.empty((len(user_nums), len(self._items)), dtype=np.float32)
        for of_domain, users in self._by_domain:
            scores[:, of_domain] = users[user_nums] @ self._items[of_domain].T
        return scores

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the vectors of users and items."""
        return {"users": self._learnt, "items": self._items}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        d = self.settings.factors
        return ({"users": Array((train.n_users, d)), "items": Array((train.n_items, d))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._take(train, state["users"], state["items"])

    @property
    def user_vectors(self) -> FloatArray:
        """Vectors of users, float32 [n_users, factors]."""
        return self._users

    @property
    def item_vectors(self) -> FloatArray:
        """Vectors of items, float32 [n_items, factors]."""
        return self._items

    def fold_in(self, growth: Growth) -> Self:
        """Place what was learnt in a graph that has grown; see `Signal`."""
        train, settings = growth.new, self.settings
        users, items = moved(self._learnt, growth.users), moved(self._items, growth.items)
        changed = np.flatnonzero(growth.changed_users)
        if len(changed):
            users[changed] = _users_of(strengths(train, settings.weight_influence), changed, items, settings)
        return type(self)(settings)._take(train, users, items)

    def _take(self, train: GraphSnapshot, users: FloatArray, items: FloatArray) -> Self:
        self._learnt = self._users = users
        self._items = items
        domains, elsewhere = items_by_domain(train), self.settings.elsewhere
        fading, apart = self.settings.recent and has_times(train), len(domains) > 1 and elsewhere < 1
        self._by_domain = []
        if fading or apart:
            faded = history(train, self.settings.weight_influence, self.settings.recent)
            mean = mean_count(faded)
            solved = partial(_solve, mean=mean, settings=self.settings, rounds=1, seed=0, start=(users, items))
            if fading:
                self._users, _ = solved(faded)
            if apart:
                histories = [at_home(faded, of_domain, elsewhere) for of_domain in domains]
                self._by_domain = [(d, solved(own)[0]) for d, own in zip(domains, histories, strict=True)]
        return self


def _solve(
    strength: sp.csr_matrix,
    mean: float,
    settings: IALSSettings,
    rounds: int,
    seed: int,
    start: tuple[FloatArray, FloatArray] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Solve users, then items, `rounds` times, and return their vectors, float32 [n_users or n_items, factors].

    Regularisation is relative to `mean`, the mean number of behaviours of a row or column. One round from a start gives
    the users' vectors for the items' as they are.
    """
    # implicit spreads rows over threads itself; a second pool inside BLAS makes it several times slower
    with threadpool_limits(1, "blas"):
        model = _model(mean, settings, rounds, seed)
        if start:
            model.user_factors, model.item_factors = (part.copy() for part in start)
        model.fit(strength, show_progress=False)
    return model.user_factors, model.item_factors


def _users_of(strength: sp.csr_matrix, users: IntArray, items: FloatArray, settings: IALSSettings) -> FloatArray:
    """Return the vectors of some users [n] for the items' as they are, float32 [n, factors]."""
    with threadpool_limits(1, "blas"):
        model = _model(mean_count(strength), settings)
        model.item_factors = items
        return np.asarray(model.recalculate_user(users, strength[users]))


def _model(mean: float, settings: IALSSettings, rounds: int = 0, seed: int = 0) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(
        factors=settings.factors,
        alpha=settings.alpha,
        regularization=settings.regularization * settings.alpha * mean,
        iterations=rounds,
        num_threads=_usable_cores(),
        random_state=seed,
    )


def _usable_cores() -> int:
    """Return how many cores this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
