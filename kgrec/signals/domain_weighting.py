"""At home: where items of one domain are scored, what a user did there counts in full, what they did elsewhere less.

The mean of all that somebody did says of no domain what they want there. What they did elsewhere is all that is known
of a newcomer, and still tells something of others; how much, validation says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.data.snapshot import FloatArray, GraphSnapshot, IntArray

MIN_NEWCOMERS: Final = 50
"""Users new to a domain below which nothing is made for such users."""


def newcomers(train: GraphSnapshot) -> npt.NDArray[np.bool_]:
    """Return which users have nothing in each domain yet but something in another, bool [n_users, domains by name].

    False throughout for a domain that fewer than `MIN_NEWCOMERS` are new to.
    """
    here = train.user_domains[0] > 0
    new = ~here & here.any(axis=1, keepdims=True)
    return np.asarray(new & (new.sum(axis=0) >= MIN_NEWCOMERS))


def items_by_domain(train: GraphSnapshot) -> list[IntArray]:
    """Return the numbers of each domain's items, int64 [m] each."""
    domains = train.item_domains
    return [np.flatnonzero(domains == domain) for domain in sorted(set(domains))]


def at_home(held: sp.csr_matrix, of_domain: IntArray, elsewhere: float) -> sp.csr_matrix:
    """Return what users hold with, float32 CSR [n, n_items], where what is of other domains counts less.

    Args:
        held: CSR [n, n_items].
        of_domain: the domain's items, int64 [m].
        elsewhere: what other items count for users who have some of the domain; 1 for others.
    """
    is_here = np.isin(np.arange(held.shape[1]), of_domain)[held.indices]
    user = np.repeat(np.arange(held.shape[0]), np.diff(held.indptr))
    lives_here = np.bincount(user[is_here], minlength=held.shape[0]) > 0
    values = held.data * np.where(is_here | ~lives_here[user], 1, elsewhere)
    found = sp.csr_matrix((values.astype(np.float32), held.indices, held.indptr), shape=held.shape, copy=True)
    found.eliminate_zeros()
    return found


def scores_at_home(
    held: sp.csr_matrix,
    items: FloatArray,
    domains: list[IntArray],
    elsewhere: float,
    finished: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    """Return the dot products of users' and items' vectors, float32 [n, n_items]; a user has one for each domain.

    Args:
        held: CSR [n, n_items], what users hold with.
        items: float32 [n_items, d].
        domains: the items of each domain; see `items_by_domain`.
        elsewhere: see `at_home`.
        finished: makes users' vectors of the weighted sums of their items' vectors, float32 [n, d] both.
    """
    scores = np.empty((held.shape[0], len(items)), dtype=np.float32)
    for of_domain in domains:
        towards = finished(np.asarray(at_home(held, of_domain, elsewhere) @ items))
        scores[:, of_domain] = towards @ items[of_domain].T
    return scores
