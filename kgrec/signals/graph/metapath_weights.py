"""Weights of meta-paths, by a softmax regression of users' items on the values of the paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.histories import row_means
from kgrec.signals.graph.metapath_matrices import MetaPath

MAX_PAIR_PATHS: Final = 30
"""Meta-paths of two relationship types that get a weight, at most."""

MAX_CANDIDATE_ITEMS: Final = 4_000
"""With more items than this, the softmax is over a sample of items."""
MAX_FEATURE_VALUES: Final = 20_000_000
"""Feature values in memory (80 MB), at most: users × candidates × features."""

MAX_ITERATIONS: Final = 50
"""Iterations of L-BFGS-B, at most."""

Feature = Callable[[IntArray], FloatArray]
"""User numbers [u] → feature values of all items, float32 [u, n_items], each without that item in the history."""


def learn_weights(
    features: Sequence[Feature], interactions: sp.csr_matrix, regularization: float, seed: int
) -> FloatArray:
    """Return the learned weight of each feature, float32 [n features], none negative.

    The objective is convex: the cross-entropy of a sample of users' items under softmax(Σ weight · feature), plus
    regularization / 2 · Σ (weight · standard deviation of the feature)². With many items the softmax denominator is
    estimated by importance sampling (Bengio & Senécal, "Adaptive importance sampling", IEEE TNN 2008). A second fit
    leaves out the features with weight 0, so that more users fit in memory.

    Args:
        features: the features.
        interactions: float32 CSR [n_users, n_items].
        regularization: strength of the L2 penalty.
        seed: seed of the samples; the same seed gives the same weights.
    """
    weights = _learn(features, interactions, regularization, seed)
    used = np.flatnonzero(weights)
    if 0 < len(used) < len(features):
        weights[used] = _learn([features[num] for num in used.tolist()], interactions, regularization, seed)
    return weights


def _learn(features: Sequence[Feature], interactions: sp.csr_matrix, regularization: float, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    candidates, correction = _candidates(interactions, random)
    users = _users(interactions, len(features) * len(candidates), random)
    share = _shares(interactions[users])
    values, wanted = _measure(features, users, candidates, share)
    deviation = values.std(axis=1)
    deviation[deviation == 0] = 1
    # Features differ by orders of magnitude; without scaling the optimizer stops before the optimum.
    values /= deviation[:, None]
    wanted /= deviation
    user_share = np.asarray(share.sum(axis=1)).ravel()

    def objective(weights: DoubleArray) -> tuple[float, DoubleArray]:
        logits = (weights.astype(np.float32) @ values).reshape(len(users), -1) - correction
        normalizer, chance = _softmax(logits)
        expected = values @ (chance * user_share[:, None]).ravel()
        loss = user_share @ normalizer - weights @ wanted + regularization * weights @ weights / 2
        return float(loss), expected - wanted + regularization * weights

    start = np.full(len(features), 0.01)
    from scipy.optimize import Bounds, minimize

    optimum = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=Bounds(lb=0), options={"maxiter": MAX_ITERATIONS}
    )
    return np.asarray(optimum.x / deviation, dtype=np.float32)


def _softmax(logits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the log-sum-exp of each row [n] and the softmax [n, c], both float32."""
    top = logits.max(axis=1, keepdims=True)
    exponential = np.exp(logits - top)
    total = exponential.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], exponential / total


def from_histories(path: MetaPath, history: sp.csr_matrix) -> Feature:
    """Return the feature of an item path: mean relatedness of an item to the user's items, minus its mean over users.

    Args:
        path: a path of the side "items".
        history: float32 CSR [n_users, n_items] whose rows sum to 1 or 0.
    """
    mean = path_offset(path, history)

    def feature(users: IntArray) -> FloatArray:
        rows = history[users]
        related = (path.right @ (rows @ path.left).T.toarray()).T
        own = rows @ sp.diags(path.itself)
        return np.asarray(related - own.toarray() - mean)

    return feature


def path_offset(path: MetaPath, history: sp.csr_matrix) -> FloatArray:
    """Return each item's mean relatedness to histories over all users, float32 [n_items]; see `from_histories`."""
    mean = np.asarray(history.mean(axis=0), dtype=np.float32).ravel()
    return np.asarray(path.right @ (path.left.T @ mean) - mean * path.itself)


def from_users(path: MetaPath, interactions: sp.csr_matrix) -> Feature:
    """Return the feature of a user path: the share of related users who chose an item."""
    chosen = path.right.T @ interactions

    def feature(users: IntArray) -> FloatArray:
        own = sp.diags(path.itself[users]) @ interactions[users]
        return np.asarray((path.left[users] @ chosen - own).toarray())

    return feature


def from_popularity(interactions: sp.csr_matrix) -> Feature:
    """Return the popularity feature: log(1 + number of other users who chose an item)."""
    popularity = np.bincount(interactions.indices, minlength=interactions.shape[1]).astype(np.float32)

    def feature(users: IntArray) -> FloatArray:
        return np.asarray(np.log1p(popularity - interactions[users].toarray()))

    return feature


def _measure(
    features: Sequence[Feature], users: IntArray, candidates: IntArray, share: sp.csr_matrix
) -> tuple[FloatArray, DoubleArray]:
    """Return feature values.

    Args:
        features: the features.
        users: the users [u].
        candidates: the candidate items [c].
        share: weights of the users' interactions, CSR [u, n_items]; see `_shares`.

    Returns:
        The values at the candidates, float32 [features, u · c], and their weighted sums over the users' interactions,
        float64 [features].
    """
    values, wanted = [], []
    for feature in features:
        value = feature(users).astype(np.float32)
        values.append(value[:, candidates].ravel())
        wanted.append(float(share.multiply(value).sum()))
    return np.stack(values), np.array(wanted)


def _candidates(interactions: sp.csr_matrix, random: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Return candidate items [c] of the softmax and the log of their expected count in the sample [c]."""
    n_items = interactions.shape[1]
    if n_items <= MAX_CANDIDATE_ITEMS:
        return np.arange(n_items), np.zeros(n_items, np.float32)
    chance = np.bincount(interactions.indices, minlength=n_items) + 1.0
    chance /= chance.sum()
    chosen = random.choice(n_items, MAX_CANDIDATE_ITEMS, p=chance)
    return chosen, np.log(MAX_CANDIDATE_ITEMS * chance[chosen]).astype(np.float32)


def _users(interactions: sp.csr_matrix, values_of_one: int, random: np.random.Generator) -> IntArray:
    """Return a random sample of users with a history whose feature values fit in memory, int64 [u], sorted."""
    users = np.flatnonzero(np.diff(interactions.indptr))
    fit = max(1, MAX_FEATURE_VALUES // max(values_of_one, interactions.shape[1]))
    return np.sort(random.permutation(users)[:fit])


def _shares(history: sp.csr_matrix) -> sp.csr_matrix:
    """Return the weights of interactions, which sum to 1; those of a user with n interactions to ∝ √n."""
    counts = np.diff(history.indptr)
    weights = np.repeat(np.maximum(counts, 1) ** -0.5, counts)
    return sp.csr_matrix(
        ((weights / weights.sum()).astype(np.float32), history.indices, history.indptr), shape=history.shape
    )


def select_metapaths(paths: Sequence[MetaPath], interactions: sp.csr_matrix) -> IntArray:
    """Return the paths that get a weight: all of a single relationship type, and the best of pairs of types.

    The best paths have the largest χ² of the relatedness of items within histories, against that of items of two random
    histories. For user paths, items and users are exchanged.

    Args:
        paths: the paths to choose from.
        interactions: float32 CSR [n_users, n_items].

    Returns:
        Indices of the selected paths, int64 [c], ascending.
    """
    shares = {"items": row_means(interactions), "users": row_means(sp.csr_matrix(interactions.T))}
    pair = np.array([len(set(path.edge_types)) > 1 for path in paths], dtype=bool)
    gain = np.array([_gain(path, shares[path.side]) if two else np.inf for path, two in zip(paths, pair, strict=True)])
    best = np.argsort(-gain, kind="stable")[: MAX_PAIR_PATHS + int((~pair).sum())]
    return np.sort(best[gain[best] > 0])


def _gain(path: MetaPath, share: sp.csr_matrix) -> float:
    """Return the χ² of a path's relatedness within rows of `share` against chance; 0 if it is below chance.

    Args:
        path: the path.
        share: float32 CSR [n, members] whose rows sum to 1 or 0.
    """
    mean = np.asarray(share.mean(axis=0)).ravel()
    within = (share @ path.left).multiply(share @ path.right).sum() - share.power(2).sum(axis=0) @ path.itself
    chance = share.shape[0] * ((mean @ path.left) @ (mean @ path.right) - mean**2 @ path.itself)
    excess = float(np.ravel(within)[0]) - float(chance)
    return excess**2 / float(chance) if excess > 0 and chance > 0 else 0.0
