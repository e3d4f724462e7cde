"""At home: where items of one domain are scored, what a user did there counts in full, what they did elsewhere less.

The mean of all that somebody did says of no domain what they want there. What they did elsewhere is all that is known
of a newcomer, and still tells something of others; how much, validation says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.snapshot import GraphSnapshot

MIN_COLD_START_USERS: Final = 50
"""Users new to a domain below which nothing is made for such users."""


def cold_start_users(train: GraphSnapshot) -> BoolArray:
    """Return which users have nothing in each domain yet but something in another, bool [n_users, domains by name].

    False throughout for a domain that fewer than `MIN_COLD_START_USERS` are new to.
    """
    here = train.user_domains[0] > 0
    new = ~here & here.any(axis=1, keepdims=True)
    return np.asarray(new & (new.sum(axis=0) >= MIN_COLD_START_USERS))


def items_by_domain(train: GraphSnapshot) -> list[IntArray]:
    """Return the numbers of each domain's items, int64 [m] each."""
    domains = train.item_domains
    return [np.flatnonzero(domains == domain) for domain in sorted(set(domains))]


def weight_by_domain(profiles: sp.csr_matrix, of_domain: IntArray, out_of_domain_weight: float) -> sp.csr_matrix:
    """Return what users hold with, float32 CSR [n, n_items], where what is of other domains counts less.

    Args:
        profiles: CSR [n, n_items].
        of_domain: the domain's items, int64 [m].
        out_of_domain_weight: what other items count for users who have some of the domain; 1 for others.
    """
    is_here = np.isin(np.arange(profiles.shape[1]), of_domain)[profiles.indices]
    user = np.repeat(np.arange(profiles.shape[0]), np.diff(profiles.indptr))
    is_active_here = np.bincount(user[is_here], minlength=profiles.shape[0]) > 0
    values = profiles.data * np.where(is_here | ~is_active_here[user], 1, out_of_domain_weight)
    weighted = sp.csr_matrix(
        (values.astype(np.float32), profiles.indices, profiles.indptr), shape=profiles.shape, copy=True
    )
    weighted.eliminate_zeros()
    return weighted


def domain_weighted_scores(
    profiles: sp.csr_matrix,
    items: FloatArray,
    domains: list[IntArray],
    out_of_domain_weight: float,
    finish: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    """Return the dot products of users' and items' vectors, float32 [n, n_items]; a user has one for each domain.

    Args:
        profiles: CSR [n, n_items], what users hold with.
        items: float32 [n_items, d].
        domains: the items of each domain; see `items_by_domain`.
        out_of_domain_weight: see `weight_by_domain`.
        finish: makes users' vectors of the weighted sums of their items' vectors, float32 [n, d] both.
    """
    scores = np.empty((profiles.shape[0], len(items)), dtype=np.float32)
    for of_domain in domains:
        towards = finish(np.asarray(weight_by_domain(profiles, of_domain, out_of_domain_weight) @ items))
        scores[:, of_domain] = towards @ items[of_domain].T
    return scores
