"""iALS: matrix factorization of implicit feedback by alternating least squares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from kgrec._util.array_layout import Array, Layout
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta, remap_rows
from kgrec.data.histories import mean_count, strengths, user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import FeedbackWeight, Grid, HalfLifeItems, LogRange, OutOfDomainWeight, Signal, SignalSettings
from kgrec.signals.domain_weighting import DomainHistories


class IALSSettings(SignalSettings):
    """Settings of iALS."""

    factors: int = Field(64, ge=1, description="Dimensions of the user and item vectors.")
    alpha: float = Field(
        500.0, gt=0, description="Confidence in all behaviors of a mean row together, relative to 1 for a missing one."
    )
    regularization: float = Field(0.1, gt=0, description="L2 penalty, as a multiple of alpha.")
    iterations: int = Field(15, ge=1, description="Iterations; each solves for the users, then for the items.")
    half_life_items: HalfLifeItems = None
    out_of_domain_weight: OutOfDomainWeight = 0.3
    feedback_weight: FeedbackWeight = 1.0


class IALS(Signal):
    """Dot products of user and item vectors (Hu, Koren & Volinsky, ICDM 2008), solved by the package implicit.

    Confidence and regularization are relative to the data's density, because the best absolute values differ by a
    factor of ten and of a hundred between sparse and dense data (Rendle et al., "Revisiting the Performance of iALS",
    RecSys 2022).
    """

    name: ClassVar[str] = "ials"
    group: ClassVar[Group] = "cf"
    tuning_order: ClassVar[int] = 50
    Settings = IALSSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items", "out_of_domain_weight"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(4.0, 0.5, 64),
        "out_of_domain_weight": (0.1, 0.0, 1.0),
        "regularization": LogRange(1.6, 0.005, 1),
        "alpha": LogRange(2.0, 25, 6400),
        "factors": LogRange(2.0, 16, 256),
        "feedback_weight": (0.0, 2.0),
    }

    _train: GraphSnapshot
    _users: FloatArray
    _items: FloatArray
    _histories: DomainHistories
    _learned: FloatArray
    _by_domain: list[tuple[IntArray, FloatArray]]
    """Items of each domain and the user vectors for it; empty if one user vector serves all domains."""

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate duration of a fit, in seconds; see `Signal`."""
        rows = train.n_users + train.n_items
        return float(0.1 + settings.factors / 64 * (train.interactions.nnz / 500_000 + rows / 40_000))

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Solve for the user and item vectors."""
        settings: IALSSettings = self.settings
        strength = strengths(train, settings.feedback_weight)
        users, items = _solve(strength, mean_count(strength), settings, settings.iterations, seed)
        return self._bind(train, users, items)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return dot products, float32 [n users, n_items]."""
        if not self._by_domain:
            return np.asarray(self._users[user_nums] @ self._items.T)
        scores = np.empty((len(user_nums), len(self._items)), dtype=np.float32)
        for of_domain, users in self._by_domain:
            scores[:, of_domain] = users[user_nums] @ self._items[of_domain].T
        return scores

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users, whose vectors are solved for given the item vectors."""
        history = user_histories(users, self.settings.feedback_weight, self.settings.half_life_items)
        if not self._by_domain:
            return np.asarray(self._vectors_of(history) @ self._items.T)
        scores = np.empty(history.shape, dtype=np.float32)
        for of_domain, own in replace(self._histories, profiles=history).by_domain():
            scores[:, of_domain] = self._vectors_of(own) @ self._items[of_domain].T
        return scores

    def _vectors_of(self, history: sp.csr_matrix) -> FloatArray:
        """Return the user vectors of histories, CSR [n, n_items], given the item vectors; float32 [n, factors]."""
        return np.asarray(self._solver.recalculate_user(np.arange(history.shape[0]), history))

    @cached_property
    def _solver(self) -> Any:
        """The solver for vectors of a few users, on one core: starting threads would take longer than solving."""
        faded = user_histories(self._train, self.settings.feedback_weight, self.settings.half_life_items)
        model = _model(mean_count(faded), self.settings)
        model.item_factors, model.num_threads = self._items, 1
        return model

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the user and item vectors: float32 [n_users, factors] and [n_items, factors]."""
        return {"users": self._learned, "items": self._items}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        d = self.settings.factors
        return ({"users": Array((train.n_users, d)), "items": Array((train.n_items, d))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, state["users"], state["items"])

    @property
    def user_vectors(self) -> FloatArray:
        """Vectors of users, float32 [n_users, factors]."""
        return self._users

    @property
    def item_vectors(self) -> FloatArray:
        """Vectors of items, float32 [n_items, factors]."""
        return self._items

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        train, settings = delta.new, self.settings
        users, items = remap_rows(self._learned, delta.users), remap_rows(self._items, delta.items)
        changed = np.flatnonzero(delta.changed_users)
        if len(changed):
            users[changed] = _users_of(strengths(train, settings.feedback_weight), changed, items, settings)
        return type(self)(settings)._bind(train, users, items)

    def _bind(self, train: GraphSnapshot, users: FloatArray, items: FloatArray) -> Self:
        self._learned = self._users = users
        self._train, self._items = train, items
        vars(self).pop("_solver", None)  # of an earlier fit
        settings: IALSSettings = self.settings
        past = DomainHistories.from_snapshot(
            train, settings.half_life_items, settings.out_of_domain_weight, settings.feedback_weight
        )
        self._histories, mean = past, mean_count(past.profiles)
        solved = partial(_solve, mean=mean, settings=settings, rounds=1, seed=0, start=(users, items))
        if past.fades:
            self._users, _ = solved(past.profiles)
        self._by_domain = (
            [(of_domain, solved(own)[0]) for of_domain, own in past.by_domain()] if past.differ_by_domain else []
        )
        return self


def _solve(
    strength: sp.csr_matrix,
    mean: float,
    settings: IALSSettings,
    rounds: int,
    seed: int,
    start: tuple[FloatArray, FloatArray] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return user and item vectors, float32 [n_users or n_items, factors], after `rounds` iterations.

    Args:
        strength: user histories, CSR [n_users, n_items].
        mean: mean number of interactions of a row or column; the confidence in each is relative to it.
        settings: `IALSSettings`.
        rounds: iterations; each solves for the users, then for the items.
        seed: seed of the initial vectors.
        start: initial vectors. One round from them gives the user vectors for the given item vectors.
    """
    # implicit distributes rows over threads; a second thread pool inside BLAS makes it several times slower.
    with threadpool_limits(1, "blas"):
        model = _model(mean, settings, rounds, seed)
        if start:
            model.user_factors, model.item_factors = (part.copy() for part in start)
        model.fit(strength, show_progress=False)
    return model.user_factors, model.item_factors


def _users_of(strength: sp.csr_matrix, users: IntArray, items: FloatArray, settings: IALSSettings) -> FloatArray:
    """Return the vectors of some users [n] given the item vectors, float32 [n, factors]."""
    with threadpool_limits(1, "blas"):
        model = _model(mean_count(strength), settings)
        model.item_factors = items
        return np.asarray(model.recalculate_user(users, strength[users]))


def _model(mean: float, settings: IALSSettings, rounds: int = 0, seed: int = 0) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(
        factors=settings.factors,
        alpha=settings.alpha / mean,
        regularization=settings.regularization * settings.alpha,
        iterations=rounds,
        num_threads=_usable_cores(),
        random_state=seed,
    )


def _usable_cores() -> int:
    """Return the number of cores this process may use; in a container it can be lower than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
