"""Which typed paths tell something: those that relate what the same users choose more than what anybody does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import IntArray
from kgrec.data.histories import row_means
from kgrec.signals.graph.metapath_matrices import MetaPath

MAX_PAIR_PATHS: Final = 30


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
