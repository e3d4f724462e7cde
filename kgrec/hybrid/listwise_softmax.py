"""Listwise softmax: blend weights that maximize the likelihood of the relevant items of candidate lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, CandidateLists, FeatureKind

RIDGE_PENALTY: Final = 1.0
"""Ridge penalty on weights of standardized features, relative to the summed log-likelihood of the users."""
OPTIONS: Final[Any] = {"maxiter": 80, "ftol": 1e-7}
"""Limits of the optimizer: its steps, and the relative gain at which it stops, above the rounding of the features."""
TINY: Final = 1e-30
"""Probability that stands for 0 in a logarithm."""
CURVATURE_USERS: Final = 128
"""Users whose scaled features are held at a time: they stay in the cache."""


class ListwiseSoftmax:
    """A softmax over each user's list, with one weight for each feature of a signal.

    The loss is the listwise cross-entropy (ListNet, Cao et al., ICML 2007) with a ridge penalty; each user counts once.
    """

    def __init__(self, lists: CandidateLists, feature_kinds: Sequence[FeatureKind]) -> None:
        """Standardize the features of the lists, once for all fits.

        Args:
            lists: candidate lists of the validation users.
            feature_kinds: the kinds of features that get weights.
        """
        self._kinds = [FEATURE_KINDS.index(feature_kind) for feature_kind in feature_kinds]
        features = np.concatenate([lists.features_of(feature_kind) for feature_kind in feature_kinds])
        self._deviation = np.ones(len(features))
        for number, feature in enumerate(features):
            feature[~lists.listed] = 0
            mean = feature.sum(dtype=np.float64) / lists.listed.sum()
            np.subtract(feature, mean, out=feature, where=lists.listed)
            deviation = np.sqrt(np.square(feature).sum(dtype=np.float64) / lists.listed.sum())
            # Constant but for rounding: not informative.
            self._deviation[number] = deviation if deviation >= 1e-9 else 1
            feature /= np.float32(self._deviation[number])
        self._listed = lists.listed
        self._loss = _ListLoss(features, lists.sampling, lists.relevant, lists.n_relevant)

    def weights(self) -> DoubleArray:
        """Return the weights learned from all users, float64 [feature kinds, signals]."""
        return self._by_kind(self._fitted)

    def positive_weights(self) -> DoubleArray:
        """Return the weights learned from all users and bounded below by 0, float64 [feature kinds, signals]."""
        return self._by_kind(_minimum(self._loss, positive=True))

    def weights_of(self, users: BoolArray) -> DoubleArray:
        """Return the weights learned from the users in a mask [n], float64 [feature kinds, signals].

        The search starts at the weights of all users, from which a few steps lead to the unique minimum.
        """
        return self._by_kind(self._minimum_of(self._loss.of_users(users)))

    def with_inverse(self, users: BoolArray) -> tuple[DoubleArray, DoubleArray]:
        """Return the weights of standardized features learned from some users, and the inverse curvature there.

        float64 [f] and [f, f]; a feature is numbered by its kind, then by its signal.
        """
        loss = self._loss.of_users(users)
        weights = self._minimum_of(loss)
        return weights, np.asarray(np.linalg.inv(loss.curvature(weights)), np.float64)

    def scores(self, weights: DoubleArray, users: BoolArray) -> FloatArray:
        """Return the scores by weights of standardized features [f] for the users in a mask; -inf for padding."""
        scores = (weights.astype(np.float32) @ self._loss.flat).reshape(self._listed.shape)[users]
        scores[~self._listed[users]] = -np.inf
        return np.asarray(scores)

    def _minimum_of(self, loss: _ListLoss) -> DoubleArray:
        """Return the weights that minimize the loss of some users, in coordinates in which that of all is round."""
        start, axes = self._fitted, self._axes

        def rotated(x: DoubleArray) -> tuple[float, DoubleArray]:
            value, gradient = loss(start + axes @ x)
            return value, axes.T @ gradient

        from scipy.optimize import minimize

        found = minimize(rotated, np.zeros(len(start)), jac=True, method="L-BFGS-B", options=OPTIONS)
        return np.asarray(start + axes @ found.x)

    @cached_property
    def _fitted(self) -> DoubleArray:
        return _minimum(self._loss)

    @cached_property
    def _axes(self) -> DoubleArray:
        """Axes in which the curvature of the loss of all users is 1 at its minimum, float64 [f, f]."""
        factor = cholesky(self._loss.curvature(self._fitted), lower=True)
        return np.asarray(solve_triangular(factor, np.eye(len(factor)), lower=True).T)

    def _by_kind(self, weights: DoubleArray) -> DoubleArray:
        """Return weights of standardized features [f] as weights of the features, [feature kinds, signals]."""
        by_kind = np.zeros((len(FEATURE_KINDS), len(weights) // len(self._kinds)))
        by_kind[self._kinds] = (weights / self._deviation).reshape(len(self._kinds), -1)
        return by_kind


def softmax_weights(
    features: npt.NDArray[Any], sampling: npt.NDArray[Any], relevant: BoolArray, n_relevant: IntArray, positive: bool
) -> DoubleArray:
    """Return the weights [f] that maximize the likelihood of the relevant items under a softmax over each user's list.

    Args:
        features: [f, n, m], finite.
        sampling: [n, m], logarithm of the number of items that each item represents; -inf for padding.
        relevant: bool [n, m].
        n_relevant: int64 [n], number of relevant items of each user.
        positive: whether weights are bounded below by 0.
    """
    return _minimum(_ListLoss(features, sampling, relevant, n_relevant), positive)


def _minimum(loss: _ListLoss, positive: bool = False) -> DoubleArray:
    bounds = [(0 if positive else None, None)] * loss.n_features
    from scipy.optimize import minimize

    found = minimize(loss, np.zeros(loss.n_features), jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS)
    return np.asarray(found.x)


class _ListLoss:
    """Listwise cross-entropy with a ridge penalty, as a function of the weights; arguments as in `softmax_weights`."""

    def __init__(
        self, features: npt.NDArray[Any], sampling: npt.NDArray[Any], relevant: BoolArray, n_relevant: IntArray
    ) -> None:
        self.features = np.ascontiguousarray(features, dtype=np.float32)
        self.flat = self.features.reshape(len(features), -1)
        self._sampling, self._relevant, self._n_relevant = np.asarray(sampling, np.float32), relevant, n_relevant
        self._weigh(np.ones(len(relevant), dtype=bool))

    @property
    def n_features(self) -> int:
        return len(self.features)

    def of_users(self, users: BoolArray) -> _ListLoss:
        """Return the loss of the users in a mask [n]."""
        loss = _ListLoss.__new__(_ListLoss)
        vars(loss).update(vars(self))
        loss._weigh(users)
        return loss

    def _weigh(self, users: BoolArray) -> None:
        n = max(int(users.sum()), 1)
        self._row, self._column = np.nonzero(self._relevant & users[:, None])
        self._share = (1 / np.maximum(self._n_relevant, 1) / n).astype(np.float32)[self._row]
        share = np.bincount(self._row, self._share, len(users)).astype(np.float32)
        self._user_share, self._ridge = share[:, None], RIDGE_PENALTY / n

    def __call__(self, weights: DoubleArray) -> tuple[float, DoubleArray]:
        """Return the loss and its gradient, float64 [f]."""
        p = self._probabilities(weights)
        log_p = np.log(np.maximum(p[self._row, self._column], TINY), dtype=np.float64)
        likelihood = float(self._share @ log_p)
        p *= self._user_share
        p[self._row, self._column] -= self._share
        gradient = np.asarray(self.flat @ p.ravel(), np.float64) + self._ridge * weights
        return float(self._ridge / 2 * weights @ weights) - likelihood, gradient

    def curvature(self, weights: DoubleArray) -> DoubleArray:
        """Return the matrix of second derivatives, float64 [f, f]."""
        p = self._probabilities(weights)
        matrix = self._ridge * np.eye(len(weights))
        for first in range(0, len(p), CURVATURE_USERS):
            users = slice(first, first + CURVATURE_USERS)
            block, share = self.features[:, users], self._user_share[users]
            means = np.einsum("fnm,nm->fn", block, p[users]) * np.sqrt(share[:, 0])
            scaled = (block * np.sqrt(p[users] * share)).reshape(len(weights), -1)
            matrix += scaled @ scaled.T - means @ means.T
        return matrix

    def _probabilities(self, weights: DoubleArray) -> FloatArray:
        """Return the probability of each item of each list, float32 [n, m]."""
        p = (weights.astype(np.float32) @ self.flat).reshape(self._sampling.shape)
        p += self._sampling
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        return np.asarray(p)
