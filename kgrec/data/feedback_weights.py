"""Feedback weights: how much each behavior counts, learned from how well its type and weight predict other choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from scipy.special import expit

from kgrec._util.array_layout import Array, check_arrays
from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.data.edges import Behaviors

FeedbackCurves = Mapping[int, tuple[FloatArray, FloatArray]]
"""Behavior type → its distinct weights in ascending order, and the feedback weight of each."""

MAX_FEEDBACK_BEHAVIORS: Final = 200_000
"""Behaviors that the weights are fitted on, from a sample of whole user histories; there are only a few parameters."""
HELD_OUT_PAIR_SHARE: Final = 0.2
"""Share of the sampled (user, item) pairs that are held out and predicted from the others."""
NEGATIVES_PER_ITEM: Final = 4
"""Random negative items per held-out item."""
PRIOR_DEVIATION: Final = 1.0
"""Prior standard deviation of the feedback weights, relative to their mean."""
BLOCK_USERS: Final = 128
"""Users scored per batch."""


def feedback_weights(behaviors: Behaviors, n_items: int) -> FloatArray:
    """Return the feedback weight of every behavior, float32 [n behaviors], with a mean square of 1.

    Each behavior type has a base weight, which the rank of a behavior's own weight within its type raises or lowers.
    Ranks make stars, seconds and counts comparable and bound the effect of one huge count. A behavior that predicts
    against similar items, such as a low rating, gets a negative weight. The weights are fitted so that the cosine
    similarity of items (Deshpande & Karypis, TOIS 2004) to a user's other items ranks held-out items above random ones
    (pairwise, as Rendle et al., "BPR", UAI 2009). All weights are 1 if behaviors do not differ, or if similarity does
    not predict the held-out items. The result is deterministic.
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
    # A wide prior, but a finite one: without it the fit diverges if similarity separates the pairs perfectly.
    general = _fit(evidence @ is_type[:, None], np.full((1, 1), 0.01))[0]
    if general <= 0:
        return alike
    apart = np.eye(len(is_type)) - np.outer(is_type, is_type) / is_type.sum()
    values = traits @ _fit(evidence, apart / (PRIOR_DEVIATION * general) ** 2)
    return np.asarray(values / np.sqrt(np.mean(values**2)), dtype=np.float32)


def feedback_curves(behaviors: Behaviors, values: FloatArray) -> FeedbackCurves:
    """Return for each behavior type its distinct weights in ascending order and the feedback weight of each.

    Args:
        behaviors: n rows.
        values: their feedback weights, float32 [n].
    """
    curves: dict[int, tuple[FloatArray, FloatArray]] = {}
    for type_ in np.unique(behaviors.type_num).tolist():
        rows = behaviors.type_num == type_
        weights, first = np.unique(behaviors.weight[rows], return_index=True)
        curves[type_] = (weights, values[rows][first])
    return curves


def weights_by_curve(behaviors: Behaviors, curves: FeedbackCurves) -> FloatArray:
    """Return the feedback weights of behaviors outside the graph, float32 [n], from the graph's `feedback_curves`.

    A weight that the graph does not have is interpolated between the nearest ones.
    """
    weights = np.ones(len(behaviors), np.float32)
    for type_ in np.unique(behaviors.type_num).tolist():
        if type_ in curves:
            rows = behaviors.type_num == type_
            weights[rows] = np.interp(behaviors.weight[rows], *curves[type_])
    return weights


def curve_arrays(curves: FeedbackCurves) -> dict[str, npt.NDArray[Any]]:
    """Return curves as arrays for a run: the "type", "weight" and "value" of each point, [points] each."""
    types = [np.full(len(weights), type_) for type_, (weights, _) in curves.items()]
    columns = zip(*curves.values(), strict=True) if curves else ([], [])
    weight, value = (np.concatenate([np.empty(0, np.float32), *column]) for column in columns)
    return {"type": np.concatenate([np.empty(0, np.int64), *types]), "weight": weight, "value": value}


def curves_from(arrays: Mapping[str, npt.NDArray[Any]]) -> FeedbackCurves:
    """Return the curves of `curve_arrays`.

    Raises:
        ValueError: an array has another name, type or length, or the points are not in ascending order.
    """
    numbers = Array(("points",), ("float32", "float64"))
    check_arrays(arrays, [{"type": Array(("points",), ("int64",)), "weight": numbers, "value": numbers}])
    types, weight = arrays["type"], arrays["weight"]
    ascending = (np.diff(types) > 0) | ((np.diff(types) == 0) & (np.diff(weight) > 0))
    if not ascending.all():
        raise ValueError("the points are not in ascending order of 'type' and 'weight'")
    return {type_: (weight[types == type_], arrays["value"][types == type_]) for type_ in np.unique(types).tolist()}


def pair_shares(behaviors: Behaviors) -> DoubleArray:
    """Return each behavior's share of its (user, item) pair [n]: equal per type, then equal per row of the type."""
    pair = behaviors.user_num * (behaviors.item_num.max(initial=0) + 1) + behaviors.item_num
    n_types = behaviors.type_num.max(initial=0) + 1
    kind, cell, rows = np.unique(pair * n_types + behaviors.type_num, return_inverse=True, return_counts=True)
    _, of_pair, types = np.unique(kind // n_types, return_inverse=True, return_counts=True)
    share: DoubleArray = 1 / (rows * types[of_pair])
    return share[cell]


def _traits(behaviors: Behaviors) -> tuple[DoubleArray, DoubleArray]:
    """Return the features that feedback weights depend on, [n, traits], and which of them are types, 0 or 1 [traits].

    For each behavior type the features are an indicator of the type and the rank of the weight in it, from -1 to 1.
    """
    columns, is_type = [], []
    for type_ in np.unique(behaviors.type_num):
        rows = behaviors.type_num == type_
        columns.append(rows.astype(np.float64))
        rank = np.zeros(len(rows))
        rank[rows] = (2 * pd.Series(behaviors.weight[rows]).rank() - 1) / rows.sum() - 1
        columns.append(rank)
        is_type += [1.0, 0.0]
    traits = np.stack(columns, axis=1)
    used = traits.any(axis=0)
    return traits[:, used], np.asarray(is_type)[used]


def _evidence(behaviors: Behaviors, n_items: int, traits: DoubleArray) -> DoubleArray:
    """Return by how much the similarity of held-out items to the history exceeds that of negatives, [pairs, traits]."""
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
    """Mark all behaviors [n] of random users, at least one user and at most `MAX_FEEDBACK_BEHAVIORS` behaviors."""
    counts = np.bincount(user_num)
    users = rng.permutation(len(counts))
    before = np.cumsum(counts[users]) - counts[users]
    return np.isin(user_num, users[before + counts[users] <= max(MAX_FEEDBACK_BEHAVIORS, counts[users[0]])])


def _hold_out(chosen: sp.csr_matrix, rng: np.random.Generator) -> tuple[sp.csr_matrix, IntArray, IntArray]:
    """Return the kept pairs, CSR of ones, and the users and items of the held-out pairs, sorted by user."""
    user, item = chosen.nonzero()
    out = rng.random(len(user)) < HELD_OUT_PAIR_SHARE
    kept = sp.csr_matrix((np.ones((~out).sum(), np.float32), (user[~out], item[~out])), shape=chosen.shape)
    return kept, user[out].astype(np.int64), item[out].astype(np.int64)


def _nearer(
    history: sp.csr_matrix, unit: sp.csr_matrix, user: IntArray, right: IntArray, drawn: IntArray
) -> DoubleArray:
    """Return the similarity to the history of `right` items minus that of `drawn` items, for sorted users [n].

    Args:
        history: CSR [users, n_items].
        unit: CSR [users, n_items] with columns of length 1, whose products are the similarities.
        user, right, drawn: int64 [n].
    """
    parts = [np.empty(0)]
    for first in range(0, history.shape[0], BLOCK_USERS):
        # Multiply through the sampled users: the full item-item similarity matrix would not fit into memory.
        scores = history[first : first + BLOCK_USERS] @ unit.T @ unit
        rows = slice(*np.searchsorted(user, [first, first + BLOCK_USERS]))
        own = user[rows] - first
        if not len(own):
            continue
        parts.append(np.asarray(scores[own, right[rows]] - scores[own, drawn[rows]]).ravel())
    return np.concatenate(parts)


def _fit(evidence: DoubleArray, penalty: DoubleArray) -> DoubleArray:
    """Return coefficients [traits] fitted by L2-regularized logistic regression so that the evidence is positive."""

    def loss(values: DoubleArray) -> tuple[float, DoubleArray]:
        margin, pull = evidence @ values, penalty @ values
        return np.logaddexp(0, -margin).sum() + values @ pull / 2, pull - evidence.T @ expit(-margin)

    from scipy.optimize import minimize

    return np.asarray(minimize(loss, np.zeros(evidence.shape[1]), jac=True, method="BFGS").x)
