"""Weights of meta-paths, learned from users some of whose items are withheld."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.histories import row_means
from kgrec.signals.graph.held_out_cases import Cases, draw_cases
from kgrec.signals.graph.metapath_matrices import MetaPath
from kgrec.signals.graph.sparse_softmax import MAX_LOG_ODDS
from kgrec.signals.graph.weight_options import best_weights

MAX_PAIR_PATHS: Final = 30
"""Meta-paths of two relationship types that get a weight, at most."""

MAX_FEATURE_VALUES: Final = 8_000_000
"""Nonzero feature values that features are screened on (64 MB), at most, about."""
MAX_LEARNED_VALUES: Final = 1_500_000
"""Nonzero values of the screened features that weights are learned from, at most."""
SMALLEST_SHARE: Final = 0.01
"""Values below this share of a feature's largest one count as 0."""
PILOT_CASES: Final = 32
"""Cases from which the number of cases that fit is estimated."""
PRIOR_USERS: Final = 1_000
"""Users whose related items are counted for weights that cannot be learned, at most."""
MIN_CASES: Final = 20
"""Minimum number of cases to learn weights from."""
MIN_SIGNAL_TO_NOISE: Final = 2.0
"""Features are left out whose values at withheld items exceed chance by fewer standard errors than this."""


@dataclass(frozen=True)
class Feature:
    """A feature of (user, item) pairs: a part that depends on the item alone, and what is added to it.

    Attributes:
        base: float32 [n_items].
        added: held-out cases [c] → float32 CSR [c, n_items]; no withheld item may add to its own value.
        needs_history: whether nothing is added for users without items.
    """

    base: FloatArray
    added: Callable[[Cases], sp.csr_matrix]
    needs_history: bool = False


@dataclass(frozen=True)
class PathWeights:
    """Weights of features.

    Attributes:
        values: float32 [n features], none negative.
        note: what replaced the learned weights and why; empty if nothing did.
    """

    values: FloatArray
    note: str = ""


def learn_weights(
    features: Sequence[Feature], interactions: sp.csr_matrix, regularization: float, seed: int
) -> PathWeights:
    """Return the weight of each feature; the last feature is popularity.

    The weights are learned from users some of whose items are withheld. A user with a single item teaches nothing about
    histories, since none is left. Features that tell the withheld items no better than chance get the weight 0. The
    weights of the others maximize the likelihood of the withheld items under softmax(Σ weight · feature) over all
    items, a convex objective with an L2 penalty; see `best_weights` for what they are compared with.

    Args:
        features: the features.
        interactions: float32 CSR [n_users, n_items].
        regularization: strength of the L2 penalty.
        seed: seed of the cases; the same seed gives the same weights.
    """
    cases, added = _draw(features, interactions, seed)
    if len(cases) < MIN_CASES:
        return _prior(features, interactions, seed)
    used = [*_informative(added[:-1], features[-1].base, cases), len(features) - 1]
    n_values = np.sum([np.diff(added[num].indptr) for num in used], axis=0)
    fits = np.arange(max(MIN_CASES, int((np.cumsum(n_values) <= MAX_LEARNED_VALUES).sum())))[: len(cases)]
    base = np.stack([features[num].base for num in used], axis=1).astype(np.float64)
    values, note = best_weights(base, [added[num][fits] for num in used], cases.take(fits), regularization)
    weights = np.zeros(len(features), np.float32)
    weights[used] = values
    return PathWeights(weights, note)


def _draw(features: Sequence[Feature], interactions: sp.csr_matrix, seed: int) -> tuple[Cases, list[sp.csr_matrix]]:
    """Return as many cases as fit in memory, and what each feature adds to its base in them."""
    least = 2 if any(feature.needs_history for feature in features) else 1
    cases = draw_cases(interactions, least, interactions.nnz, seed)
    pilot = cases.take(np.arange(min(PILOT_CASES, len(cases))))
    size = sum(feature.added(pilot).nnz for feature in features) / max(len(pilot), 1)
    cases = cases.take(np.arange(min(len(cases), max(PILOT_CASES, int(MAX_FEATURE_VALUES / max(size, 1))))))
    return cases, [_without_small(feature.added(cases)) for feature in features]


def _without_small(values: sp.csr_matrix) -> sp.csr_matrix:
    """Return values without those that are negligible beside the largest one."""
    largest = np.abs(values.data).max(initial=0)
    values.data[np.abs(values.data) < SMALLEST_SHARE * largest] = 0
    values.eliminate_zeros()
    return values


def _informative(added: Sequence[sp.csr_matrix], popularity: FloatArray, cases: Cases) -> list[int]:
    """Return the numbers of the features that are larger at withheld items than by chance, by popularity."""
    chance = _chance(popularity)
    rest = chance.sum() - cases.seen @ chance
    n_wanted = np.diff(cases.wanted.indptr)
    found = []
    for num, values in enumerate(added):
        expected = (values @ chance - values.multiply(cases.seen) @ chance) / rest
        excess = np.asarray(values.multiply(cases.wanted).sum(axis=1)).ravel() - n_wanted * expected
        if excess.sum() > MIN_SIGNAL_TO_NOISE * np.sqrt((excess**2).sum()):
            found.append(num)
    return found


def _prior(features: Sequence[Feature], interactions: sp.csr_matrix, seed: int) -> PathWeights:
    """Return weights as if each path explained the same share of the next items, for lack of users to learn from."""
    users = np.random.default_rng(seed).permutation(np.flatnonzero(np.diff(interactions.indptr)))[:PRIOR_USERS]
    seen = interactions[users]
    cases = Cases(users, seen, seen * 0)
    chance = _chance(features[-1].base)
    reached = [(feature.added(cases) @ chance).mean() / chance.sum() for feature in features[:-1]]
    odds = 1 / (len(features) * np.maximum(reached, 1e-12))
    weights = np.append(np.where(np.array(reached) > 0, np.minimum(np.log1p(odds), MAX_LOG_ODDS), 0), 1)
    note = f"all paths count for equal shares of the next items: fewer than {MIN_CASES} cases to learn weights from"
    return PathWeights(weights.astype(np.float32), note)


def _chance(popularity: FloatArray) -> DoubleArray:
    """Return the relative chance of each item by the base of the popularity feature, float64 [n_items]."""
    return np.asarray(np.expm1(popularity.astype(np.float64)) + 1e-3)


def from_histories(path: MetaPath, history: sp.csr_matrix) -> Feature:
    """Return the feature of an item path: relatedness to the user's n items over √n, minus its mean over users.

    An item like one of two deserves nearly the rank of an item like the only one: a mean over the history would halve
    the value, and weights learned from users with an item less would be too small for all.

    Args:
        path: a path of the side "items".
        history: float32 CSR [n_users, n_items], 1 / √n for each of the n items of a row.
    """
    right = path.right.T.tocsr()
    return Feature(-path_offset(path, history), lambda cases: (cases.history @ path.left) @ right, needs_history=True)


def path_offset(path: MetaPath, history: sp.csr_matrix) -> FloatArray:
    """Return each item's mean relatedness to the histories of all users, float32 [n_items]; see `from_histories`."""
    mean = np.asarray(history.mean(axis=0), dtype=np.float32).ravel()
    return np.asarray(path.right @ (path.left.T @ mean) - mean * path.itself)


def from_users(path: MetaPath, interactions: sp.csr_matrix) -> Feature:
    """Return the feature of a user path: the share of related users who chose an item."""
    chosen, itself = path.right.T @ interactions, path.itself

    def added(cases: Cases) -> sp.csr_matrix:
        own = sp.diags(itself[cases.user_num]) @ interactions[cases.user_num]
        return sp.csr_matrix(path.left[cases.user_num] @ chosen - own)

    return Feature(np.zeros(interactions.shape[1], np.float32), added)


def from_popularity(interactions: sp.csr_matrix) -> Feature:
    """Return the popularity feature: log(1 + number of other users who chose an item)."""
    popularity = np.bincount(interactions.indices, minlength=interactions.shape[1]).astype(np.float32)
    logs = np.log1p(popularity)
    without = np.log1p(np.maximum(popularity - 1, 0)) - logs
    return Feature(logs, lambda cases: (cases.wanted @ sp.diags(without)).tocsr())


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
