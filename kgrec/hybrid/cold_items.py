"""Cold items: items without training interactions, scored by content.

The blend is trained on items with interactions, so purely collaborative signals penalize cold items. This module
calibrates content-only scores for them. On the validation split, two softmax models are learned over the items with
interactions: the probability that a user chooses an item by the blended score, and by content alone. A cold item gets
the blended score at which both probabilities are equal, unless the blend scores it higher. If content is not
informative, that score is rarely high enough for a short list. As part of a catalog is never chosen, the score is
lowered by the share of items with interactions. If the validation split holds out cold items, the blend has learned
from them, and only items added after the fit are scored this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import logsumexp

from kgrec._util.types import BoolArray, FloatArray
from kgrec.hybrid.candidate_lists import CandidateLists, standardize
from kgrec.hybrid.listwise_softmax import softmax_weights

SignalMasks = Mapping[str, BoolArray]
"""Signal group → mask of its signals that can score items without interactions, bool [signals]."""

MIN_COLD_ITEM_USERS: Final = 10
"""Minimum number of validation users with a held-out cold item for the blend to score cold items itself."""
MIN_SIGNAL_WEIGHT: Final = 0.01
"""Minimum weight of a signal that supports cold items, and minimum scale of the blend."""


@dataclass(frozen=True)
class ColdItems:
    """Calibrated content-only scores for the cold items of a domain.

    Attributes:
        scale: inverse temperature: `scale * score` is an item's log-probability up to a constant per user.
        weights: signal group → float32 [signals], the same for the z-scores of its signals that support cold items.
        in_validation: whether the validation split holds out cold items, so that the blend has learned from them.
    """

    scale: float
    weights: Mapping[str, FloatArray]
    in_validation: bool = False

    @classmethod
    def even(cls, masks: SignalMasks) -> Self:
        """Return an uncalibrated instance, for domains without validation users: scores count as log-probabilities."""
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
        """Learn scale and weights that maximize the likelihood of the held-out items with training interactions.

        Args:
            masks: signal group → mask of its signals that support cold items.
            scores: one float32 [n, n_items] for each signal.
            total: float32 [n, n_items], blended scores.
            seen, relevant: CSR [n, n_items].
            popularity: [n_items], number of train users of each item.
            seed: makes the sample of items repeat.
        """
        able = np.flatnonzero(np.any(list(masks.values()), axis=0))
        none: FloatArray = np.zeros(len(popularity), np.float32)
        parts = [total, *(scores[signal] for signal in able.tolist())]
        lists = CandidateLists.from_scores(parts, seen, relevant, np.zeros(len(total), np.float32), none, seed)
        known = lists.listed & (popularity[lists.item_num] > 0)
        wanted = lists.relevant & known
        # A user who has seen all known items has no target here, so any finite normalization will do.
        sampling = np.where(known | ~known.any(axis=1, keepdims=True), lists.sampling, -np.inf)
        learned = partial(_positive_weights, known=known, sampling=sampling, relevant=wanted)
        weights = {group: np.zeros(len(mask), np.float32) for group, mask in masks.items() if mask.any()}
        for group, own in weights.items():
            own[masks[group]] = learned(lists.zscore[1:][masks[group][able]])
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
        """Return each signal's share of the scores of cold items, float32 [n, cold items, signals].

        Args:
            group: the signal group that scores them.
            parts: one float32 [n, n_items] for each signal.
            seen: CSR [n, n_items] of the items that users have.
            total: float32 [n, n_items], blended scores; those of cold items are ignored.
            new: bool [n_items], the cold items to score.
            settled: bool [n_items], the items with interactions, which scores are calibrated on; at least one.
        """
        weights = self.weights[group]
        zscore = [standardize(p, seen) if w else np.zeros_like(p) for p, w in zip(parts, weights, strict=True)]
        others = np.broadcast_to(settled, total.shape).copy()
        others[np.repeat(np.arange(len(total)), np.diff(seen.indptr)), seen.indices] = False
        # A user who has seen all other items is calibrated on the seen ones.
        others |= ~others.any(axis=1, keepdims=True) & settled
        by_content = sum(w * own for w, own in zip(weights, zscore, strict=True))
        lift = _log_sum(self.scale * total, others) - _log_sum(by_content, others)
        lift += np.log(settled.sum() / (settled | new).sum())
        each = zip(weights, weights / weights.sum(), zscore, strict=True)
        return np.stack([(w * own[:, new] + part * lift) / self.scale for w, part, own in each], axis=2).astype(
            np.float32
        )

    def to_dict(self) -> dict[str, Any]:
        """Return scale and weights as JSON-ready values."""
        weights = {group: own.tolist() for group, own in self.weights.items()}
        return {"scale": self.scale, "weights": weights, "in_validation": self.in_validation}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the instance that `to_dict` described."""
        weights = {group: np.asarray(own, np.float32) for group, own in values["weights"].items()}
        return cls(values["scale"], weights, values["in_validation"])


def has_cold_item_users(relevant: sp.csr_matrix, popularity: npt.NDArray[Any]) -> bool:
    """Return whether enough users have a relevant item [n, n_items] without train users, by popularity [n_items]."""
    taken = relevant[:, np.flatnonzero(popularity == 0)].getnnz(axis=1)
    return int((taken > 0).sum()) >= MIN_COLD_ITEM_USERS


def _positive_weights(
    features: FloatArray, known: BoolArray, sampling: npt.NDArray[Any], relevant: BoolArray
) -> FloatArray:
    """Return `softmax_weights` of features [f, n, m], at least `MIN_SIGNAL_WEIGHT`, float32 [f]."""
    fitted = softmax_weights(np.where(known, features, 0), sampling, relevant, relevant.sum(axis=1), positive=True)
    return np.maximum(fitted, MIN_SIGNAL_WEIGHT).astype(np.float32)


def _log_sum(scores: Any, of: BoolArray) -> Any:
    """Return the log-sum-exp of the scores in a mask, by row, [n, 1]."""
    return logsumexp(np.where(of, scores, -np.inf), axis=1, keepdims=True)
