"""How strongly a user holds with an item: the matrix that the collaborative signals learn from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.stats import rankdata

from kgrec.snapshot import GraphSnapshot


def strengths(train: GraphSnapshot, influence: float) -> sp.csr_matrix:
    """Return 1 ± `influence` for every pair with a behaviour, float32 CSR [n_users, n_items].

    A weight counts by its rank among the weights of its behaviour type, so stars, seconds and play counts are all
    read alike and one huge count outweighs nothing. A pair with several behaviours has their mean.

    Args:
        train: the graph to learn from.
        influence: strength of the highest weight is 1 + influence, of the lowest 1 - influence; in [0, 1).
    """
    if not influence:
        return train.interactions
    behaviours = train.behaviours
    strength = 1 + influence * (2 * _quantiles(behaviours.weight, behaviours.type_num) - 1)
    cells = (behaviours.user_num, behaviours.item_num)
    total = sp.csr_matrix((strength.astype(np.float32), cells), shape=train.interactions.shape)
    count = sp.csr_matrix((np.ones(len(behaviours), np.float32), cells), shape=total.shape)
    total.data /= count.data
    return total


def _quantiles(weight: npt.NDArray[np.float32], type_num: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean rank of each weight among those of its type, scaled to 0 … 1; equal weights get 0.5."""
    quantile = np.empty(len(weight))
    for type_ in np.unique(type_num):
        rows = type_num == type_
        quantile[rows] = (rankdata(weight[rows]) - 0.5) / rows.sum()
    return quantile


def mean_count(interactions: sp.csr_matrix) -> float:
    """Return the mean number of interactions of a row or column of the matrix; at least 1."""
    return max(1.0, float(2 * interactions.nnz / max(sum(interactions.shape), 1)))
