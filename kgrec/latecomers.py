"""Latecomers: items that came after the fit, of which only some signals know anything.

A blend was learnt from items that everybody could have chosen. Its weights, and the 0 of signals that know behaviours
alone, would hold against an item that it is new. So a latecomer gets the place among the user's other items that it
has by the signals that know it, best by its text, or where it has none by its attributes and relationships.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.hybrid import Blend
from kgrec.snapshot import FloatArray
from kgrec.weights import standardise

BoolArray = npt.NDArray[np.bool_]


def latecomer_shares(
    blend: Blend,
    knows: BoolArray,
    parts: Sequence[FloatArray],
    seen: sp.csr_matrix,
    total: FloatArray,
    late: BoolArray,
    settled: BoolArray,
) -> FloatArray:
    """Return what each signal adds to latecomers' scores, float32 [n, latecomers, signals]; they sum to the score.

    Args:
        blend: of the items' domain.
        knows: bool [signals], which signals give latecomers their place; at least one.
        parts: one float32 [n, n_items] a signal.
        seen: CSR [n, n_items] of what users have already.
        total: float32 [n, n_items], blended scores, of which those of latecomers are not read.
        late: bool [n_items], the latecomers.
        settled: bool [n_items], the items they are compared with; at least one.
    """
    weights = (blend.alone.weights.sum(axis=0) * knows).astype(np.float32)
    weights /= weights.sum()
    z = [standardise(part, seen) if known else np.zeros_like(part) for part, known in zip(parts, knows, strict=True)]
    mixed = np.einsum("s,sni->ni", weights, np.stack(z))
    others = np.broadcast_to(settled, total.shape).copy()
    others[np.repeat(np.arange(len(total)), np.diff(seen.indptr)), seen.indices] = False
    # Of a user who has everything else, what is there gives the scale.
    others |= ~others.any(axis=1, keepdims=True) & settled
    lift = _placed(mixed, total, others, late) - mixed[:, late]
    return np.stack([weight * (own[:, late] + lift) for weight, own in zip(weights, z, strict=True)], axis=2)


def _placed(mixed: FloatArray, total: FloatArray, others: BoolArray, late: BoolArray) -> FloatArray:
    """Return the totals of latecomers [n, latecomers]: those of the others between which they lie by `mixed`.

    Args:
        mixed, total: float32 [n, n_items], two scores.
        others: bool [n, n_items], which items are compared with; at least one of each row.
        late: bool [n_items].
    """
    order = np.argsort(mixed, axis=1, kind="stable")
    n_below = np.empty(mixed.shape, dtype=np.int64)
    np.put_along_axis(n_below, order, np.cumsum(np.take_along_axis(others, order, axis=1), axis=1), axis=1)
    n_below, last = n_below[:, late], others.sum(axis=1, keepdims=True) - 1
    low, high = np.clip(n_below - 1, 0, last), np.clip(n_below, 0, last)
    ends = [np.sort(np.where(others, scores, np.inf), axis=1) for scores in (mixed, total)]
    (x_low, y_low), (x_high, y_high) = ([np.take_along_axis(end, at, axis=1) for end in ends] for at in (low, high))
    # Beyond the first and the last there is nothing to lie between.
    spread = [np.maximum(scores.std(axis=1, where=others), 1e-12)[:, None] for scores in (total, mixed)]
    between = x_high > x_low
    slope = np.where(between, (y_high - y_low) / np.where(between, x_high - x_low, 1), spread[0] / spread[1])
    return np.asarray(y_low + slope * (mixed[:, late] - x_low), dtype=np.float32)
