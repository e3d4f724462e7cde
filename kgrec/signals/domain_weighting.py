"""Domain weighting: when items of one domain are scored, interactions in other domains count less.

The weight of other domains, `out_of_domain_weight`, is chosen on the validation split. For cold-start users of the
domain, who have interactions in other domains only, these count in full.
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
"""Cold-start users that a domain needs to get models of its own for them."""

Finish = Callable[[FloatArray], FloatArray]
"""Weighted sums of the vectors of users' items → vectors of the users, both float32 [n, d]."""


def cold_start_users(train: GraphSnapshot) -> BoolArray:
    """Return the cold-start users of each domain, bool [n_users, domains by name].

    They have no interactions in the domain, but some in another. A domain with fewer than `MIN_COLD_START_USERS` of
    them is False for all users.
    """
    here = train.user_domains[0] > 0
    new = ~here & here.any(axis=1, keepdims=True)
    return np.asarray(new & (new.sum(axis=0) >= MIN_COLD_START_USERS))


def items_by_domain(train: GraphSnapshot) -> list[IntArray]:
    """Return the numbers of the items of each domain, int64 [m] each, domains by name."""
    domains = train.item_domains
    return [np.flatnonzero(domains == domain) for domain in sorted(set(domains))]


def weight_by_domain(profiles: sp.csr_matrix, of_domain: IntArray, out_of_domain_weight: float) -> sp.csr_matrix:
    """Return user histories with items of other domains down-weighted, float32 CSR [n, n_items].

    Args:
        profiles: user histories, CSR [n, n_items].
        of_domain: the domain's items, int64 [m].
        out_of_domain_weight: factor of items of other domains, for users with items in the domain; 1 for other users.
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
    """User histories with time decay, and weighted for each domain.

    Attributes:
        profiles: CSR [n_users, n_items], user histories before domain weighting.
        domains: the items of each domain; see `items_by_domain`.
        out_of_domain_weight: see `weight_by_domain`.
        fades: whether older items count less in `profiles`.
    """

    profiles: sp.csr_matrix
    domains: list[IntArray]
    out_of_domain_weight: float
    fades: bool

    @classmethod
    def from_snapshot(
        cls, train: GraphSnapshot, half_life_items: float | None, out_of_domain_weight: float, influence: float = 0.0
    ) -> Self:
        """Return the histories of a graph; see `user_histories` and `weight_by_domain` for the arguments."""
        domains, fades = items_by_domain(train), bool(half_life_items and has_times(train))
        differ = fades or (len(domains) > 1 and out_of_domain_weight < 1)
        profiles = user_histories(train, influence, half_life_items) if differ else train.interactions
        return cls(profiles, domains, out_of_domain_weight, fades)

    @property
    def differ_by_domain(self) -> bool:
        """Whether the histories differ between domains."""
        return len(self.domains) > 1 and self.out_of_domain_weight < 1

    def by_domain(self) -> Iterator[tuple[IntArray, sp.csr_matrix]]:
        """Yield each domain's items, int64 [m], and the histories weighted for it, CSR [n_users, n_items]."""
        return ((items, weight_by_domain(self.profiles, items, self.out_of_domain_weight)) for items in self.domains)

    def scores(self, user_nums: IntArray, items: FloatArray, finish: Finish) -> FloatArray:
        """Return dot products of user and item vectors, float32 [n, n_items], with one user vector for each domain.

        Args:
            user_nums: int64 [n].
            items: vectors of items, float32 [n_items, d].
            finish: makes user vectors from sums of item vectors; see `Finish`.
        """
        profiles, scores = self.profiles[user_nums], np.empty((len(user_nums), len(items)), dtype=np.float32)
        for of_domain in self.domains:
            users = finish(np.asarray(weight_by_domain(profiles, of_domain, self.out_of_domain_weight) @ items))
            scores[:, of_domain] = users @ items[of_domain].T
        return scores
