"""What a behavior is worth: learned from how well its type and its weight tell what else a user chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.data.edges import Behaviors

MAX_FEEDBACK_BEHAVIORS: Final = 200_000
"""Worth is learned from all behaviors of as many users as have this many together: it is a few numbers."""
HELD_OUT_PAIR_SHARE: Final = 0.2
"""Share of the sampled pairs that the rest have to tell."""
NEGATIVES_PER_ITEM: Final = 4
"""Items drawn at random beside each held-out one."""
PRIOR_DEVIATION: Final = 1.0
"""How much worth differs before data says so: standard deviation, as a share of what all behaviors are worth."""
BLOCK_USERS: Final = 128
"""Users whose items are scored at a time."""


def feedback_weights(behaviors: Behaviors, n_items: int) -> FloatArray:
    """Return what every behavior is worth, float32 [n behaviors], with a mean square of 1.

    A type has a worth, and each of its behaviors more or less than that by the rank of its weight, so stars, seconds
    and counts are all read alike and one huge count outweighs nothing. Behaviors that speak against like items, as a
    low rating may, get less than 0. Learned from the cosine similarity of items (Deshpande & Karypis, TOIS 2004) to a
    user's other items, which is to tell held-out items from drawn ones (pairwise, as Rendle et al., "BPR", UAI 2009).
    All are worth 1 where nothing tells them apart; the result repeats.
    """
    traits, is_type = _traits(behaviors)
    alike = np.ones(len(traits), np.float32)
    if traits.shape[1] < 2:
        return alike
    evidence = _evidence(behaviors, n_items, traits)
    together = evidence @ is_type
    size = np.sqrt(np.mean(together**2)) if len(together) else 0.0
    if not size:
        return alike
    evidence /= size
    # Wide, but not without end: it is what keeps a fit finite where similarity tells everything.
    general = _fit(evidence @ is_type[:, None], np.full((1, 1), 0.01))[0]
    if general <= 0:
        return alike
    apart = np.eye(len(is_type)) - np.outer(is_type, is_type) / is_type.sum()
    values = traits @ _fit(evidence, apart / (PRIOR_DEVIATION * general) ** 2)
    return np.asarray(values / np.sqrt(np.mean(values**2)), dtype=np.float32)


def feedback_curves(behaviors: Behaviors, values: FloatArray) -> dict[int, tuple[FloatArray, FloatArray]]:
    """Return for each type of behavior its weights, rising, and the feedback weight of each.

    Args:
        behaviors: n rows.
        values: their feedback weights, float32 [n].
    """
    curves = {}
    for type_ in np.unique(behaviors.type_num).tolist():
        rows = behaviors.type_num == type_
        weights, first = np.unique(behaviors.weight[rows], return_index=True)
        curves[type_] = (weights, values[rows][first])
    return curves


def worth_of(behaviors: Behaviors, curves: Mapping[int, tuple[FloatArray, FloatArray]]) -> FloatArray:
    """Return the feedback weights of behaviors that a graph does not hold, float32 [n], by its `feedback_curves`.

    A weight that the graph does not hold either is worth what is between the nearest ones.
    """
    found = np.ones(len(behaviors), np.float32)
    for type_ in np.unique(behaviors.type_num).tolist():
        if type_ in curves:
            rows = behaviors.type_num == type_
            found[rows] = np.interp(behaviors.weight[rows], *curves[type_])
    return found


def pair_shares(behaviors: Behaviors) -> DoubleArray:
    """Return each behavior's share of its (user, item) pair [n]: the pair's types have equal shares, then the rows."""
    pair = behaviors.user_num * (behaviors.item_num.max(initial=0) + 1) + behaviors.item_num
    n_types = behaviors.type_num.max(initial=0) + 1
    kind, cell, rows = np.unique(pair * n_types + behaviors.type_num, return_inverse=True, return_counts=True)
    _, of_pair, types = np.unique(kind // n_types, return_inverse=True, return_counts=True)
    share: DoubleArray = 1 / (rows * types[of_pair])
    return share[cell]


def _traits(behaviors: Behaviors) -> tuple[DoubleArray, DoubleArray]:
    """Return what may make worth differ, [n, traits]: of each type, that a behavior is of it, and its weight's rank.

    Ranks are from -1 to 1. Also returns which traits are types, ones and zeros [traits].
    """
    columns, is_type = [], []
    for type_ in np.unique(behaviors.type_num):
        rows = behaviors.type_num == type_
        columns.append(rows.astype(np.float64))
        rank = np.zeros(len(rows))
        rank[rows] = (2 * rankdata(behaviors.weight[rows]) - 1) / rows.sum() - 1
        columns.append(rank)
        is_type += [1.0, 0.0]
    traits = np.stack(columns, axis=1)
    used = traits.any(axis=0)
    return traits[:, used], np.asarray(is_type)[used]


def _evidence(behaviors: Behaviors, n_items: int, traits: DoubleArray) -> DoubleArray:
    """Return how much nearer a held-out item is than a drawn one to its user's other items, [questions, traits]."""
    rng = np.random.default_rng(0)
    sampled = _sample(behaviors.user_num, rng)
    behaviors, traits = behaviors.where(sampled), traits[sampled]
    _, user_num = np.unique(behaviors.user_num, return_inverse=True)
    cells, shape = (user_num, behaviors.item_num), (user_num.max() + 1, n_items)
    share = pair_shares(behaviors)
    chosen = sp.csr_matrix((share, cells), shape=shape)
    kept, user, right = _hold_out(chosen, rng)
    if not len(user):
        return np.empty((0, traits.shape[1]))
    user, right = np.repeat(user, NEGATIVES_PER_ITEM), np.repeat(right, NEGATIVES_PER_ITEM)
    drawn = rng.integers(0, n_items, len(user))
    new = np.asarray(chosen[user, drawn]).ravel() == 0
    user, right, drawn = user[new], right[new], drawn[new]
    histories = [sp.csr_matrix((trait * share, cells), shape=shape).multiply(kept).tocsr() for trait in traits.T]
    length = np.maximum(np.diff(kept.indptr), 1)[user]
    unit = sp.csr_matrix(kept @ sp.diags(1 / np.sqrt(np.maximum(kept.getnnz(axis=0), 1))))
    nearer = [_nearer(history, unit, user, right, drawn) for history in histories]
    return np.asarray(np.stack(nearer, axis=1) / np.sqrt(length)[:, None])


def _sample(user_num: IntArray, rng: np.random.Generator) -> BoolArray:
    """Mark all behaviors [n] of at least one user, and of as many random ones as `MAX_FEEDBACK_BEHAVIORS` allows."""
    counts = np.bincount(user_num)
    users = rng.permutation(len(counts))
    before = np.cumsum(counts[users]) - counts[users]
    return np.isin(user_num, users[before + counts[users] <= max(MAX_FEEDBACK_BEHAVIORS, counts[users[0]])])


def _hold_out(chosen: sp.csr_matrix, rng: np.random.Generator) -> tuple[sp.csr_matrix, IntArray, IntArray]:
    """Return the kept pairs, CSR of ones, and users and items of the held-out ones, by user."""
    user, item = chosen.nonzero()
    out = rng.random(len(user)) < HELD_OUT_PAIR_SHARE
    kept = sp.csr_matrix((np.ones((~out).sum(), np.float32), (user[~out], item[~out])), shape=chosen.shape)
    return kept, user[out].astype(np.int64), item[out].astype(np.int64)


def _nearer(
    history: sp.csr_matrix, unit: sp.csr_matrix, user: IntArray, right: IntArray, drawn: IntArray
) -> DoubleArray:
    """Return similarity to the history of `right` less that of `drawn` items, for users in ascending order [n].

    Args:
        history: CSR [users, n_items].
        unit: CSR [users, n_items] with columns of length 1, whose products are the similarities.
        user, right, drawn: int64 [n].
    """
    parts = [np.empty(0)]
    for first in range(0, history.shape[0], BLOCK_USERS):
        # By way of the sampled users, since similarities of all items to all would not fit into memory.
        scores = history[first : first + BLOCK_USERS] @ unit.T @ unit
        rows = slice(*np.searchsorted(user, [first, first + BLOCK_USERS]))
        own = user[rows] - first
        if not len(own):
            continue
        parts.append(np.asarray(scores[own, right[rows]] - scores[own, drawn[rows]]).ravel())
    return np.concatenate(parts)


def _fit(evidence: DoubleArray, penalty: DoubleArray) -> DoubleArray:
    """Return coefficients [traits] that make the evidence positive: logistic regression with a quadratic penalty."""

    def loss(values: DoubleArray) -> tuple[float, DoubleArray]:
        margin, pull = evidence @ values, penalty @ values
        return np.logaddexp(0, -margin).sum() + values @ pull / 2, pull - evidence.T @ expit(-margin)

    return np.asarray(minimize(loss, np.zeros(evidence.shape[1]), jac=True, method="BFGS").x)
