"""Latecomers: items that came after the fit, of which only some signals know anything.

A blend was learnt from items that everybody could have chosen. Its weights, and the 0 of signals that know behaviours
alone, would hold against an item that it is new. So latecomers are scored by the signals that know them, on the
scale that the user's other items have, and nearer to its middle the less those signals reach by themselves.
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
    blend: Blend, knows: BoolArray, parts: Sequence[FloatArray], seen: sp.csr_matrix, total: FloatArray, new: BoolArray
) -> FloatArray:
    """Return what each signal adds to latecomers' scores, float32 [n, latecomers, signals]; they sum to the score.

    Args:
        blend: of the items' domain.
        knows: bool [signals], which signals know latecomers; at least one.
        parts: one float32 [n, n_items] a signal.
        seen: CSR [n, n_items] of what users have already.
        total: float32 [n, n_items], blended scores, of which those of latecomers are not read.
        new: bool [n_items], some but not all.
    """
    weights = blend.alone.weights.sum(axis=0) * knows
    weights /= weights.sum()
    z = [standardise(part, seen) if known else np.zeros_like(part) for part, known in zip(parts, knows, strict=True)]
    unseen = np.broadcast_to(~new, total.shape).copy()
    unseen[np.repeat(np.arange(len(total)), np.diff(seen.indptr)), seen.indices] = False
    # A user who has seen everything else gives no scale; any will do.
    some = unseen | ~unseen.any(axis=1, keepdims=True)
    mixed = np.einsum("s,sni->ni", weights, np.stack(z))
    spread = total.std(axis=1, where=some) / np.maximum(mixed.std(axis=1, where=some), 1e-12)
    scale, middle = _trust(blend, knows) * spread[:, None], total.mean(axis=1, where=some)[:, None]
    shares = [weight * (scale * own[:, new] + middle) for weight, own in zip(weights, z, strict=True)]
    return np.stack(shares, axis=2).astype(np.float32)


def _trust(blend: Blend, knows: BoolArray) -> float:
    """Return what the best signal that knows latecomers reached on validation, as a share of what the blend did."""
    reached = blend.report.get("signals")
    if not reached:
        return 1.0
    best = max(reached[name] for name, known in zip(blend.signals, knows, strict=True) if known)
    return min(1.0, float(best) / max(float(blend.report["blend"]), 1e-12))
