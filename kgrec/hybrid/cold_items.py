"""New items: those with which no behavior was learned. Their content says whom they suit, and how surely.

A blend is learned from items that could be chosen; in it, signals that know behaviors alone hold against an item that
it is new. So on the validation cut every item is told by its content alone too, as if it were new: how likely a user
takes it, among all, is learned beside how likely it is by all signals. A new item gets the score at which it is as
likely as its content says, unless the blend gives it more. Where content tells little, that is rarely enough to come
up. As a part of most catalogs is never chosen, a new item counts by the share that is. Where the cut asks about items
without a behavior, the blend has learned what they are worth, and only those that came after the fit are new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import logsumexp

from kgrec._util.types import BoolArray, FloatArray
from kgrec.hybrid.blend_weights import softmax_weights
from kgrec.hybrid.candidate_lists import CandidateLists, standardize

SignalMasks = Mapping[str, BoolArray]
"""Group → which signals [signals] of the group can tell of an item with which nobody did anything."""

MIN_COLD_ITEM_USERS: Final = 10
"""Users of the cut who took something new, from which on the blend has learned what new items are worth."""
MIN_SIGNAL_WEIGHT: Final = 0.01
"""Weight at least of a signal that can tell, and of the blend."""


@dataclass(frozen=True)
class ColdItems:
    """How surely the signals of a domain tell items that nobody has chosen.

    Attributes:
        scale: of blended scores, which times this are the logarithm of how likely items are, but for a constant a user.
        weights: group → float32 [signals], the same for z-scores of those of the group that can tell of new items.
        in_validation: whether the cut asked about new items, so that the blend knows what they are worth.
    """

    scale: float
    weights: Mapping[str, FloatArray]
    in_validation: bool = False

    @classmethod
    def even(cls, masks: SignalMasks) -> Self:
        """Return what serves where nothing could be learned: scores are taken as logarithms as they are."""
        return cls(1.0, {group: mask.astype(np.float32) for group, mask in masks.items() if mask.any()})

    @classmethod
    def learn(
        cls,
        masks: SignalMasks,
        scores: Sequence[FloatArray],
        total: FloatArray,
        seen: sp.csr_matrix,
        relevant: sp.csr_matrix,
        popularity: npt.NDArray[Any],
        seed: int = 0,
    ) -> Self:
        """Learn from validation users, by the likelihood of what they took that is not new.

        Args:
            masks: the signals of each group.
            scores: one float32 [n, n_items] a signal.
            total: float32 [n, n_items], blended scores.
            seen, relevant: CSR [n, n_items].
            popularity: [n_items], number of train users of each item.
            seed: makes the sample of items repeat.
        """
        told = np.flatnonzero(np.any(list(masks.values()), axis=0))
        none: FloatArray = np.zeros(len(popularity), np.float32)
        parts = [total, *(scores[signal] for signal in told.tolist())]
        lists = CandidateLists.from_scores(parts, seen, relevant, np.zeros(len(total), np.float32), none, seed)
        known = lists.listed & (popularity[lists.item_num] > 0)
        wanted = lists.relevant & known
        # Whoever has all that is known tells nothing here, whatever their list is.
        sampling = np.where(known | ~known.any(axis=1, keepdims=True), lists.sampling, -np.inf)

        def learned(features: FloatArray) -> FloatArray:
            features = np.where(known, features, 0)
            fitted = softmax_weights(features, sampling, wanted, wanted.sum(axis=1), positive=True)
            return np.maximum(fitted, MIN_SIGNAL_WEIGHT).astype(np.float32)

        weights = {group: np.zeros(len(mask), np.float32) for group, mask in masks.items() if mask.any()}
        for group, own in weights.items():
            own[masks[group]] = learned(lists.zscore[1:][masks[group][told]])
        return cls(float(learned(lists.raw[:1])[0]), weights)

    def shares(
        self,
        group: str,
        parts: Sequence[FloatArray],
        seen: sp.csr_matrix,
        total: FloatArray,
        new: BoolArray,
        settled: BoolArray,
    ) -> FloatArray:
        """Return what each signal adds to the scores of new items, float32 [n, new items, signals].

        Args:
            group: of the signals that tell.
            parts: one float32 [n, n_items] a signal.
            seen: CSR [n, n_items] of what users have already.
            total: float32 [n, n_items], blended scores, of which those of new items are not read.
            new: bool [n_items], the items that get a score.
            settled: bool [n_items], the items they are compared with; at least one.
        """
        weights = self.weights[group]
        zscore = [standardize(p, seen) if w else np.zeros_like(p) for p, w in zip(parts, weights, strict=True)]
        others = np.broadcast_to(settled, total.shape).copy()
        others[np.repeat(np.arange(len(total)), np.diff(seen.indptr)), seen.indices] = False
        # Of a user who has everything else, what is there gives the scale.
        others |= ~others.any(axis=1, keepdims=True) & settled
        told = sum(w * own for w, own in zip(weights, zscore, strict=True))
        lift = _log_sum(self.scale * total, others) - _log_sum(told, others)
        lift += np.log(settled.sum() / (settled | new).sum())
        each = zip(weights, weights / weights.sum(), zscore, strict=True)
        return np.stack([(w * own[:, new] + part * lift) / self.scale for w, part, own in each], axis=2).astype(
            np.float32
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        weights = {group: own.tolist() for group, own in self.weights.items()}
        return {"scale": self.scale, "weights": weights, "in_validation": self.in_validation}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take back what `to_dict` returned."""
        weights = {group: np.asarray(own, np.float32) for group, own in values["weights"].items()}
        return cls(values["scale"], weights, values["in_validation"])


def has_cold_item_users(relevant: sp.csr_matrix, popularity: npt.NDArray[Any]) -> bool:
    """Say whether enough users took something new, of items [n, n_items] with so many train users [n_items]."""
    taken = relevant[:, np.flatnonzero(popularity == 0)].getnnz(axis=1)
    return int((taken > 0).sum()) >= MIN_COLD_ITEM_USERS


def _log_sum(scores: Any, of: BoolArray) -> Any:
    """Return the logarithm of the sum of the exponentials of some scores of each row, [n, 1]."""
    return logsumexp(np.where(of, scores, -np.inf), axis=1, keepdims=True)
