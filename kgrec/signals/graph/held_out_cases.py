"""Held-out cases: users of whom some items are withheld, to learn from them how the next item follows from the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
from kgrec.data.histories import row_roots

N_FOLDS: Final = 5
"""A user's items are withheld in this many parts, one part in each case; fewer items one by one."""


@dataclass(frozen=True)
class Cases:
    """Users with a part of their items withheld; a user may be in several cases, each with another part.

    Attributes:
        user_num: int64 [c], the user of each case.
        seen: float32 CSR [c, n_items] of ones, the items that are left.
        wanted: float32 CSR [c, n_items] of ones, the withheld items; each row has at least one.
    """

    user_num: IntArray
    seen: sp.csr_matrix
    wanted: sp.csr_matrix

    def __len__(self) -> int:
        return len(self.user_num)

    @property
    def history(self) -> sp.csr_matrix:
        """The items that are left, float32 CSR [c, n_items]; n items have 1 / √n each."""
        return row_roots(self.seen)

    @property
    def weights(self) -> FloatArray:
        """The weight of each withheld item of a case, float32 [c], ∝ 1 / √(items of the user); they sum to 1."""
        n_wanted = np.diff(self.wanted.indptr)
        weights = (n_wanted + np.diff(self.seen.indptr)) ** -0.5
        return np.asarray(weights / max(float(weights @ n_wanted), 1e-12), dtype=np.float32)

    def take(self, rows: IntArray) -> Cases:
        """Return some of the cases."""
        return Cases(self.user_num[rows], self.seen[rows], self.wanted[rows])


def draw_cases(interactions: sp.csr_matrix, min_items: int, most: int, seed: int) -> Cases:
    """Return at most `most` cases in random order, drawn from all.

    Args:
        interactions: float32 CSR [n_users, n_items].
        min_items: users with fewer items are left out: with 2, no history is empty.
        most: number of cases.
        seed: the same seed gives the same cases.
    """
    rng = np.random.default_rng(seed)
    count = np.diff(interactions.indptr)
    n_parts = np.where(count >= min_items, np.minimum(count, N_FOLDS), 0)
    users = np.repeat(np.arange(len(count)), n_parts)
    part = np.arange(len(users)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    chosen = rng.permutation(len(users))[:most]
    users, part = users[chosen], part[chosen]
    rows = _numbered_parts(interactions, rng)[users]
    withheld = rows.data == np.repeat(part, np.diff(rows.indptr))
    return Cases(users, _where(rows, ~withheld), _where(rows, withheld))


def _numbered_parts(interactions: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """Return the part, 0 to `N_FOLDS` - 1, of each of a user's items, CSR [n_users, n_items]; parts are random."""
    count = np.diff(interactions.indptr)
    row = np.repeat(np.arange(len(count)), count)
    place = np.empty(len(row), np.int64)
    place[np.lexsort((rng.random(len(row)), row))] = np.arange(len(row)) - interactions.indptr[row]
    return sp.csr_matrix((place % N_FOLDS, interactions.indices, interactions.indptr), shape=interactions.shape)


def _where(rows: sp.csr_matrix, kept: FloatArray) -> sp.csr_matrix:
    """Return ones at the entries of a CSR matrix that a mask [nnz] keeps, float32 CSR."""
    indptr = np.append(0, np.cumsum(kept))[rows.indptr]
    indices = rows.indices[kept]
    return sp.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=rows.shape)
