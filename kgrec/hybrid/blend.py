"""Blend: a learned weighted sum of signals, with each signal's share of every score.

Scores of different signals are not comparable, so each is also standardized per user over the unseen items. Every
signal has a few weights, learned on the validation split: for its z-score, optionally depending on the user's activity
and the item's popularity, and for its raw score, whose size reflects the signal's confidence. Several ways of learning
the weights, and their means, are compared by cross-fitting: each is measured on users that it was not learned from, by
NDCG@20 or the configured metric. Cold-start users of a domain have their own blend if the validation split has enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.row_blocks import row_blocks, take_rows
from kgrec._util.types import BoolArray, DoubleArray, FloatArray, IntArray
from kgrec.hybrid.blend_weights import weights_of_kind
from kgrec.hybrid.candidate_lists import FEATURE_KINDS, Scale, standardize, weighted
from kgrec.hybrid.cold_items import ColdItems

Kind = Literal[
    "single",
    "stacking",
    "hard_negatives",
    "ndcg_search",
    "max_likelihood",
    "mean",
    "listwise_mean",
    "anchored",
    "cold_start",
    "popularity",
    "non_overlapping",
]
"""single: the best signal · stacking: logistic regression on raw scores, the usual baseline · hard_negatives: logistic
regression on raw scores, z-scores and activity, with part of the negatives from high-ranked items · ndcg_search:
z-score weights from a direct search on the metric · max_likelihood: all weights, by the likelihood of the chosen
items · mean: the mean of the four before, whose errors differ · listwise_mean: the mean of ndcg_search and
max_likelihood, which learn from lists and do better if users choose several items · anchored: listwise_mean added to
the best signal, which decides most · cold_start: not learned, see `GroupedBlend.cold_start_blend` · popularity:
popularity alone, see kgrec/hybrid/new_users.py · non_overlapping: see kgrec/hybrid/cold_start.py."""

MIN_COLD_START_WEIGHT: Final = 0.01
"""Minimum weight of a signal in the blend for users without interactions."""


@dataclass(frozen=True)
class Blend:
    """A learned weighted sum of signals; `FEATURE_KINDS` describes the weights of a signal.

    Attributes:
        signals: names, in the order of the last axis of `weights`.
        kind: the chosen way of learning; see `Kind`.
        weights: float32 [feature kinds, signals].
        activity, popularity: scales of the user's activity and the item's popularity.
        report: "kind"; "shares" (each signal's share of the standard deviation of a user's scores); the validation
            metric (NDCG@20 by default) of "signals" (each by itself), "options" (each kind, cross-fitted) and "blend"
            (this blend); "gain" (cross-fitted gain of this kind over the best signal, with its 95 % interval); and
            "fusion_weights" (weights of the stacking baseline).
        reached: float64 [n], cross-fitted validation metric of each user; empty in a blend read from a run.
    """

    signals: tuple[str, ...]
    kind: Kind
    weights: FloatArray
    activity: Scale
    popularity: Scale
    report: Mapping[str, Any]
    reached: DoubleArray = field(default_factory=lambda: np.empty(0), compare=False, repr=False)

    @classmethod
    def from_weights(cls, feature_kind: str, signals: Sequence[str], weights: Sequence[float], kind: Kind) -> Self:
        """Return a blend with one weight for each signal, on features of one kind."""
        kind_weights = weights_of_kind(feature_kind, np.asarray(weights, dtype=np.float64)).astype(np.float32)
        return cls(tuple(signals), kind, kind_weights, Scale(0.0, 1.0), Scale(0.0, 1.0), {})

    def combine(
        self,
        scores: Sequence[FloatArray],
        seen: sp.csr_matrix,
        popularity: npt.NDArray[Any],
    ) -> FloatArray:
        """Return blended scores, float32 [n, n_items].

        Args:
            scores: one float32 [n, n_items] for each signal.
            seen: CSR [n, n_items] of the items that the users have; their number is the activity.
            popularity: [n_items], number of train users of each item.
        """
        total = np.zeros(scores[0].shape, dtype=np.float32)
        users, items = self.activity(np.diff(seen.indptr)), self.popularity(popularity)
        used = np.flatnonzero(self.weights[1:].any(axis=0)).tolist()
        for rows in row_blocks(seen.shape[0], seen.shape[1] * max(len(used), 1)):
            part = total[rows]
            parts = [scores[signal][rows] for signal in used]
            zscores = standardize(parts, take_rows(seen, rows)) if used else ()
            for signal, zscore in zip(used, zscores, strict=True):
                part += weighted(None, zscore, self.weights[:, signal], users[rows], items)
            for weight, raw in zip(self.weights[0], scores, strict=True):
                if weight:
                    part += weight * raw[rows]
        return total

    def contributions(
        self,
        scores: Sequence[FloatArray],
        seen: sp.csr_matrix,
        popularity: npt.NDArray[Any],
        rows: IntArray,
        items: IntArray,
    ) -> FloatArray:
        """Return each signal's share of the scores of m pairs, float32 [m, signals]; a row sums to the score.

        Args:
            scores, seen, popularity: as for `combine`.
            rows: int64 [m], row in `scores` of each pair's user.
            items: int64 [m], column of each pair's item.
        """
        by_user, by_item = self.activity(np.diff(seen.indptr))[rows], self.popularity(popularity[items])
        raw, zscore, active, popular = self.weights[:, :, None]
        shares = zscore + active * by_user + popular * by_item
        shares *= standardize(scores, seen)[:, rows, items]
        shares += raw * np.stack([part[rows, items] for part in scores])
        return np.ascontiguousarray(shares.T)

    def to_dict(self) -> dict[str, Any]:
        """Return the blend as JSON-ready values."""
        return {
            "signals": list(self.signals),
            "kind": self.kind,
            "weights": dict(zip(FEATURE_KINDS, self.weights.tolist(), strict=True)),
            "activity": asdict(self.activity),
            "popularity": asdict(self.popularity),
            "report": dict(self.report),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the blend that `to_dict` described."""
        weights = np.asarray([values["weights"][feature_kind] for feature_kind in FEATURE_KINDS], dtype=np.float32)
        scales = Scale(**values["activity"]), Scale(**values["popularity"])
        return cls(tuple(values["signals"]), values["kind"], weights, *scales, values["report"])


@dataclass(frozen=True)
class GroupedBlend:
    """The blends of one domain: one for each group of users, and the scores of its cold items.

    Attributes:
        default: the blend for in-domain users; for all users if there is no `cold_start` blend.
        cold_start: the blend for users without interactions in the domain, but with some in another.
        cold_items: content-only scores of cold items; None if the blends score them.
        new_users: the blend for users without any interaction; None if it was not learned.
    """

    default: Blend
    cold_start: Blend | None = None
    cold_items: ColdItems | None = None
    new_users: Blend | None = None

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals, the same in both blends."""
        return self.default.signals

    @property
    def cold_start_blend(self) -> GroupedBlend:
        """The blend for users without any interaction: z-scores, each weighted by the signal's validation metric.

        Learned weights measure what a signal adds to the others, most of which give such users no scores.
        """
        reports = [blend.report for blend in (self.cold_start, self.default) if blend]
        reached: Mapping[str, float] = next((report["signals"] for report in reports if "signals" in report), {})
        weights = [max(reached.get(signal, 1.0), MIN_COLD_START_WEIGHT) for signal in self.signals]
        return GroupedBlend(Blend.from_weights("zscore", self.signals, weights, "cold_start"))

    @property
    def for_new_users(self) -> GroupedBlend:
        """The blend for users without any interaction who are described: the learned one, else `cold_start_blend`."""
        return GroupedBlend(self.new_users) if self.new_users else self.cold_start_blend

    @property
    def ranks_new_users_by_popularity(self) -> bool:
        """Whether no signal ranked users without interactions clearly better than popularity."""
        return self.new_users is not None and self.new_users.kind == "popularity"

    def combine(self, scores: Sequence[FloatArray], seen: sp.csr_matrix, popularity: npt.NDArray[Any]) -> FloatArray:
        """Return scores, float32 [n, n_items], from the blend of each user's group; see `Blend.combine`."""
        new = is_cold_start(seen)
        if not (self.cold_start and new.any()):
            return self.default.combine(scores, seen, popularity)
        total = np.empty(scores[0].shape, dtype=np.float32)
        for blend, rows in ((self.default, ~new), (self.cold_start, new)):
            total[rows] = blend.combine([part[rows] for part in scores], seen[rows], popularity)
        return total

    def contributions(
        self,
        scores: Sequence[FloatArray],
        seen: sp.csr_matrix,
        popularity: npt.NDArray[Any],
        rows: IntArray,
        items: IntArray,
    ) -> FloatArray:
        """Return each signal's share of the scores of m pairs, float32 [m, signals]; see `Blend.contributions`."""
        new = is_cold_start(seen)[rows]
        if not (self.cold_start and new.any()):
            return self.default.contributions(scores, seen, popularity, rows, items)
        shares = np.empty((len(rows), len(scores)), dtype=np.float32)
        for blend, chosen in ((self.default, ~new), (self.cold_start, new)):
            shares[chosen] = blend.contributions(scores, seen, popularity, rows[chosen], items[chosen])
        return shares

    def to_dict(self) -> dict[str, Any]:
        """Return the blends as JSON-ready values."""
        return {
            "default": self.default.to_dict(),
            "cold_start": self.cold_start and self.cold_start.to_dict(),
            "cold_items": self.cold_items and self.cold_items.to_dict(),
            "new_users": self.new_users and self.new_users.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the blends that `to_dict` described."""
        cold_start, cold_items, new_users = (values[key] for key in ("cold_start", "cold_items", "new_users"))
        return cls(
            Blend.from_dict(values["default"]),
            Blend.from_dict(cold_start) if cold_start else None,
            ColdItems.from_dict(cold_items) if cold_items else None,
            Blend.from_dict(new_users) if new_users else None,
        )


def shares_of(
    blend: Blend, scores: Sequence[FloatArray], seen: sp.csr_matrix, popularity: npt.NDArray[Any]
) -> dict[str, float]:
    """Return each signal's share of the standard deviation of scores, averaged over users; shares sum to 1."""
    parts = [replace(blend, weights=blend.weights * one) for one in np.eye(len(blend.signals), dtype=np.float32)]
    spread = np.array([part.combine(scores, seen, popularity).std(axis=1).mean(dtype=np.float64) for part in parts])
    shares = (spread / max(spread.sum(), 1e-12)).round(4)
    return dict(zip(blend.signals, shares.tolist(), strict=True))


def is_cold_start(seen: sp.csr_matrix) -> BoolArray:
    """Return a mask of the users without interactions in the domain, bool [n]."""
    return np.asarray(np.diff(seen.indptr) == 0)
