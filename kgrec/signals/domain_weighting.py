"""At home: where items of one domain are scored, what a user did there counts in full, what they did elsewhere less.

The mean of all that somebody did says of no domain what they want there. What they did elsewhere is all that is known
of a newcomer, and still tells something of others; how much, validation says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.histories import has_times, user_histories
from kgrec.data.snapshot import GraphSnapshot

MIN_COLD_START_USERS: Final = 50
"""Users new to a domain below which nothing is made for such users."""

Finish = Callable[[FloatArray], FloatArray]
"""Makes the vectors of users from the weighted sums of their items' vectors, float32 [n, d] both."""


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


@dataclass(frozen=True)
class DomainHistories:
    """The histories of users as each domain sees them: faded, with less weight for items of other domains.

    Attributes:
        profiles: CSR [n_users, n_items], what users hold with.
        domains: the items of each domain; see `items_by_domain`.
        out_of_domain_weight: see `weight_by_domain`.
        fades: whether older items count less than later ones in `profiles`.
    """

    profiles: sp.csr_matrix
    domains: list[IntArray]
    out_of_domain_weight: float
    fades: bool

    @classmethod
    def of(
        cls, train: GraphSnapshot, half_life_items: float | None, out_of_domain_weight: float, influence: float = 0.0
    ) -> Self:
        """Make the histories of a graph; `user_histories` and `weight_by_domain` say what the arguments are for."""
        domains, fades = items_by_domain(train), bool(half_life_items and has_times(train))
        differ = fades or (len(domains) > 1 and out_of_domain_weight < 1)
        profiles = user_histories(train, influence, half_life_items) if differ else train.interactions
        return cls(profiles, domains, out_of_domain_weight, fades)

    @property
    def apart(self) -> bool:
        """Whether a user has another history for each domain."""
        return len(self.domains) > 1 and self.out_of_domain_weight < 1

    def by_domain(self) -> Iterator[tuple[IntArray, sp.csr_matrix]]:
        """Yield the items of each domain, int64 [m], and the histories that score them, CSR [n_users, n_items]."""
        return ((items, weight_by_domain(self.profiles, items, self.out_of_domain_weight)) for items in self.domains)

    def scores(self, user_nums: IntArray, items: FloatArray, finish: Finish) -> FloatArray:
        """Return the dot products of users' and items' vectors, float32 [n, n_items]; a user has one for each domain.

        Args:
            user_nums: int64 [n].
            items: float32 [n_items, d].
            finish: see `Finish`.
        """
        profiles, scores = self.profiles[user_nums], np.empty((len(user_nums), len(items)), dtype=np.float32)
        for of_domain in self.domains:
            towards = finish(np.asarray(weight_by_domain(profiles, of_domain, self.out_of_domain_weight) @ items))
            scores[:, of_domain] = towards @ items[of_domain].T
        return scores
