"""How much each typed path counts: a softmax regression of what users did on the paths that lead there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, minimize

from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.histories import row_means
from kgrec.signals.graph.metapath_matrices import MetaPath

MAX_PAIR_PATHS: Final = 30

MAX_CANDIDATE_ITEMS: Final = 4_000
"""Up to this many items the softmax runs over all of them, above it over a sample."""
MAX_FEATURE_VALUES: Final = 20_000_000
"""Path values held at once (80 MB): users × candidates × paths."""

MAX_ITERATIONS: Final = 50

Feature = Callable[[IntArray], FloatArray]
"""User numbers [u] → values of one path to all items, float32 [u, n_items], as if each item were not in the history."""


def learn_weights(
    features: Sequence[Feature], interactions: sp.csr_matrix, regularization: float, seed: int
) -> FloatArray:
    """Fit one weight, 0 or more, for each feature, on a sample of users.

    The objective is convex: cross-entropy of a user's items under softmax(Σ weight · feature), plus
    regularization / 2 · Σ (weight · deviation of the feature)². With many items the sum over all of them is estimated
    from a sample, each weighted by how much too often it is drawn: Bengio & Senécal, "Adaptive importance sampling",
    IEEE TNN 2008. What gets no weight is left out, and the rest is learned again on the more users that then fit.

    Args:
        features: what to weigh.
        interactions: float32 CSR [n_users, n_items].
        regularization: strength of the ridge penalty.
        seed: makes the samples repeat.

    Returns:
        float32 [n features].
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
    # Features differ by orders of magnitude; unless they are scaled, the optimizer stops short of the optimum.
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
    optimum = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=Bounds(lb=0), options={"maxiter": MAX_ITERATIONS}
    )
    return np.asarray(optimum.x / deviation, dtype=np.float32)


def _softmax(logits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the logarithm of each row's sum of exponentials [n] and the softmax [n, c], both float32."""
    top = logits.max(axis=1, keepdims=True)
    exponential = np.exp(logits - top)
    total = exponential.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], exponential / total


def from_histories(path: MetaPath, history: sp.csr_matrix) -> Feature:
    """Return the mean relatedness of an item to the items of a user's history, less its mean over all users.

    Args:
        path: relates items.
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
    """Return each item's mean over all users of what `from_histories` measures, float32 [n_items]."""
    mean = np.asarray(history.mean(axis=0), dtype=np.float32).ravel()
    return np.asarray(path.right @ (path.left.T @ mean) - mean * path.itself)


def from_users(path: MetaPath, interactions: sp.csr_matrix) -> Feature:
    """Return the share of related users who chose an item."""
    chosen = path.right.T @ interactions

    def feature(users: IntArray) -> FloatArray:
        own = sp.diags(path.itself[users]) @ interactions[users]
        return np.asarray((path.left[users] @ chosen - own).toarray())

    return feature


def from_popularity(interactions: sp.csr_matrix) -> Feature:
    """Return the logarithm of one plus how many other users chose an item."""
    popularity = np.bincount(interactions.indices, minlength=interactions.shape[1]).astype(np.float32)

    def feature(users: IntArray) -> FloatArray:
        return np.asarray(np.log1p(popularity - interactions[users].toarray()))

    return feature


def _measure(
    features: Sequence[Feature], users: IntArray, candidates: IntArray, share: sp.csr_matrix
) -> tuple[FloatArray, DoubleArray]:
    """Return values at the candidates [features, users · candidates] and their means over what users did [features]."""
    values, wanted = [], []
    for feature in features:
        value = feature(users).astype(np.float32)
        values.append(value[:, candidates].ravel())
        wanted.append(float(share.multiply(value).sum()))
    return np.stack(values), np.array(wanted)


def _candidates(interactions: sp.csr_matrix, random: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Return item numbers [c] and the logarithm of how often each is expected among them [c]."""
    n_items = interactions.shape[1]
    if n_items <= MAX_CANDIDATE_ITEMS:
        return np.arange(n_items), np.zeros(n_items, np.float32)
    chance = np.bincount(interactions.indices, minlength=n_items) + 1.0
    chance /= chance.sum()
    chosen = random.choice(n_items, MAX_CANDIDATE_ITEMS, p=chance)
    return chosen, np.log(MAX_CANDIDATE_ITEMS * chance[chosen]).astype(np.float32)


def _users(interactions: sp.csr_matrix, values_of_one: int, random: np.random.Generator) -> IntArray:
    """Return as many random users with a history as fit in memory, int64 [u], sorted."""
    users = np.flatnonzero(np.diff(interactions.indptr))
    fit = max(1, MAX_FEATURE_VALUES // max(values_of_one, interactions.shape[1]))
    return np.sort(random.permutation(users)[:fit])


def _shares(history: sp.csr_matrix) -> sp.csr_matrix:
    """Return the weight of everything users did, summing to 1; a user of n behaviors counts √n."""
    counts = np.diff(history.indptr)
    weights = np.repeat(np.maximum(counts, 1) ** -0.5, counts)
    return sp.csr_matrix(
        ((weights / weights.sum()).astype(np.float32), history.indices, history.indptr), shape=history.shape
    )


def select_metapaths(paths: Sequence[MetaPath], interactions: sp.csr_matrix) -> IntArray:
    """Return which paths are worth a weight: all through one relationship, and of those through pairs the best.

    The best are those with the greatest χ² of relatedness within histories against that of a random history's
    items with another's. For paths between users the roles are exchanged: within the users of an item.

    Args:
        paths: what to choose from.
        interactions: float32 CSR [n_users, n_items].

    Returns:
        int64 [c], rising.
    """
    shares = {"items": row_means(interactions), "users": row_means(sp.csr_matrix(interactions.T))}
    pair = np.array([len(set(path.edge_types)) > 1 for path in paths], dtype=bool)
    gain = np.array([_gain(path, shares[path.side]) if two else np.inf for path, two in zip(paths, pair, strict=True)])
    best = np.argsort(-gain, kind="stable")[: MAX_PAIR_PATHS + int((~pair).sum())]
    return np.sort(best[gain[best] > 0])


def _gain(path: MetaPath, share: sp.csr_matrix) -> float:
    """Return the χ² of a path's relatedness within the rows of `share`, which sum to 1 or 0; 0 if below chance."""
    mean = np.asarray(share.mean(axis=0)).ravel()
    within = (share @ path.left).multiply(share @ path.right).sum() - share.power(2).sum(axis=0) @ path.itself
    chance = share.shape[0] * ((mean @ path.left) @ (mean @ path.right) - mean**2 @ path.itself)
    excess = float(np.ravel(within)[0]) - float(chance)
    return excess**2 / float(chance) if excess > 0 and chance > 0 else 0.0
