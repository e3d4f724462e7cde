"""HybridModel: fitted signals and their blend, as one scorer of (user, item)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.hybrid import Blend
from kgrec.signals.base import Signal
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray

GROUPS: Final = ("graph", "cf", "content")


@dataclass(frozen=True)
class HybridModel:
    """What was learnt.

    Attributes:
        train: the graph it was learnt from.
        signals: name → fitted signal, in the order of the blends' weights.
        blends: domain → how that domain's scores are blended.
    """

    train: GraphSnapshot
    signals: Mapping[str, Signal]
    blends: Mapping[str, Blend]

    @cached_property
    def activity(self) -> IntArray:
        """Number of items each user acted on in train, int64 [n_users]."""
        return np.diff(self.train.interactions.indptr).astype(np.int64)

    @cached_property
    def popularity(self) -> FloatArray:
        """Number of users who acted on each item in train, float32 [n_items]."""
        return np.asarray(self.train.interactions.sum(axis=0), dtype=np.float32).ravel()

    @cached_property
    def domains(self) -> dict[str, IntArray]:
        """Domain → numbers of its items, int64 [m]."""
        return {domain: np.flatnonzero(self.train.item_domains == domain) for domain in self.blends}

    @cached_property
    def place(self) -> IntArray:
        """Position of each item among the items of its domain, int64 [n_items]."""
        place = np.zeros(self.train.n_items, dtype=np.int64)
        for items in self.domains.values():
            place[items] = np.arange(len(items))
        return place

    def of_domain(self, domain: str, parts: Sequence[FloatArray], seen: sp.csr_matrix) -> tuple[list[FloatArray], Any]:
        """Return scores [n, n_items] and seen items [n, n_items] of one domain's items only, [n, m] each."""
        if len(self.blends) == 1:
            return list(parts), seen
        items = self.domains[domain]
        return [part[:, items] for part in parts], seen[:, items].tocsr()

    def linear_fusion(self) -> HybridModel | None:
        """Return the baseline σ(weights · scores) with the same signals; None where there were too few to learn it."""
        weights = {domain: blend.report.get("fusion_weights", []) for domain, blend in self.blends.items()}
        if not all(weights.values()):
            return None
        blends = {
            domain: Blend.of_form("own", tuple(self.signals), found, "fusion") for domain, found in weights.items()
        }
        return replace(self, blends=blends)

    def score(self, user_nums: IntArray) -> Scored:
        """Score every item for users, int64 [n]; -1 is an unknown user.

        A user without any behaviour in train is scored by popularity alone.
        """
        known = np.maximum(user_nums, 0)
        new = (user_nums < 0) | (self.activity[known] == 0)
        seen = self.train.interactions[known]
        if (user_nums < 0).any():
            seen = sp.csr_matrix(seen.multiply((user_nums >= 0)[:, None]))
        parts = [signal.scores(known) for signal in self.signals.values()]
        return Scored(self, parts, seen, new, self.blended(parts, seen, new))

    def blended(self, parts: Sequence[FloatArray], seen: sp.csr_matrix, new: npt.NDArray[np.bool_]) -> FloatArray:
        """Return the blended scores of users, float32 [n, n_items], from those of the signals; see `Scored`."""
        total = np.zeros(parts[0].shape, dtype=np.float32)
        for domain, items in self.domains.items():
            own, own_seen = self.of_domain(domain, parts, seen)
            total[:, items] = self.blends[domain].combine(own, own_seen, self.popularity[items])
        total[new] = self.popularity
        return total


@dataclass(frozen=True)
class Scored:
    """Scores of a batch of users.

    Attributes:
        model: what made them.
        parts: one float32 [n, n_items] a signal, as the signal gave them.
        seen: CSR [n, n_items] of train.
        new: bool [n], users scored by popularity alone.
        total: float32 [n, n_items], the blended scores.
    """

    model: HybridModel
    parts: Sequence[FloatArray]
    seen: sp.csr_matrix
    new: npt.NDArray[np.bool_]
    total: FloatArray

    def shares(self, item_num: IntArray) -> FloatArray:
        """Return what each signal adds to chosen scores, float32 [n, k, n signals]; the last axis sums to the score.

        The shares of a user scored by popularity alone are zero.

        Args:
            item_num: int64 [n, k], the chosen items; -1 is none.
        """
        model, shares = self.model, np.zeros((*item_num.shape, len(self.parts)), dtype=np.float32)
        domains = model.train.item_domains[item_num]
        for domain, items in model.domains.items():
            row, column = np.nonzero((domains == domain) & (item_num >= 0) & ~self.new[:, None])
            own, own_seen = model.of_domain(domain, self.parts, self.seen)
            place = model.place[item_num[row, column]]
            shares[row, column] = model.blends[domain].contributions(own, own_seen, model.popularity[items], row, place)
        return shares

    def groups(self, item_num: IntArray) -> dict[str, FloatArray]:
        """Return shares by kind of signal: graph, cf, content → float32 [n, k]; together they are the score."""
        kinds = np.array([signal.group for signal in self.model.signals.values()])
        shares = self.shares(item_num)
        groups = {group: shares[:, :, kinds == group].sum(axis=2) for group in GROUPS}
        groups["cf"][self.new] = np.take_along_axis(self.total, np.maximum(item_num, 0), axis=1)[self.new]
        return groups
