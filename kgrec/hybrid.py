"""Blend: the learned mix of signals, which keeps each signal's share of every score.

Scores of different signals are not comparable, so each is standardised per user over the items not seen. What is then
learnt on a validation cut is one weight, never negative, for each signal; or, where that proves better, one for each
signal, group of users by activity and group of items by popularity. Which of the options is used is decided on users
whom its weights were not learnt from (cross-fitting), by NDCG@20.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.errors import UsageError
from kgrec.evaluate import ndcg_at
from kgrec.snapshot import FloatArray, IntArray
from kgrec.weights import (
    Lists,
    discriminating_weights,
    draw_pairs,
    fusion_weights,
    grouped_weights,
    likely_weights,
    searched_weights,
    standardise,
)

Weights = npt.NDArray[np.float64]
Kind = Literal["single", "fusion", "raw", "global", "by_activity", "grouped"]
"""single: the best signal alone · fusion: logistic regression on the signals as they are, the usual baseline · raw: one
weight a signal, on the signals as they are · global: the same on z-scores · by_activity: weights by activity of the
user · grouped: and by popularity of the item as well."""
AS_THEY_ARE: Final = ("fusion", "raw")
"""Kinds that take the signals' own scores, not z-scores."""

K: Final = 20
"""Length of the list whose NDCG decides."""
FOLDS: Final = 5
MIN_USERS: Final = 20
"""Validation users below which the best signal is used alone: too few to learn weights from."""
MAX_USERS: Final = 2_000
"""Validation users that weights are learnt from at most: a few weights need no more."""
SECONDS: Final = 0.0025
"""What learning a blend takes, roughly, for each user and signal, on two ordinary cores."""
N_GROUPS: Final = 3
"""Groups of users by activity, and of items by popularity."""
NO_EDGES: Final = np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class Blend:
    """A learned mix of signals: score = Σ over signals of weight × standardised score.

    Attributes:
        signals: names, in the order of the last axis of `weights`.
        kind: which option was chosen; see `Kind`.
        weights: float32 [activity groups, popularity groups, signals].
        activity_edges: float32 [activity groups - 1], the least activity of each group after the first.
        popularity_edges: float32 [popularity groups - 1], the same for items.
        report: NDCG@20 on validation: "signals" (each alone), "options" (each kind, on users it was not learnt from),
            "blend" (this blend); beside it "fusion_weights", those of the baseline.
    """

    signals: tuple[str, ...]
    kind: Kind
    weights: FloatArray
    activity_edges: FloatArray
    popularity_edges: FloatArray
    report: Mapping[str, Any]

    def combine(
        self,
        scores: Sequence[FloatArray],
        seen: sp.csr_matrix,
        activity: npt.NDArray[Any],
        popularity: npt.NDArray[Any],
    ) -> FloatArray:
        """Return blended scores, float32 [n, n_items].

        Args:
            scores: one float32 [n, n_items] for each signal.
            seen: CSR [n, n_items] of what the users already have.
            activity: [n], number of train items of each user.
            popularity: [n_items], number of train users of each item.
        """
        total = np.zeros(scores[0].shape, dtype=np.float32)
        users, items = self._groups(activity, popularity)
        for signal, part in enumerate(scores):
            if self.weights[:, :, signal].any():
                weight = self.weights[:, :, signal][users[:, None], items] if self.weights.size > len(scores) else None
                scaled = self._scaled(part, seen)
                scaled *= self.weights[0, 0, signal] if weight is None else weight
                total += scaled
        return total

    def contributions(
        self,
        scores: Sequence[FloatArray],
        seen: sp.csr_matrix,
        activity: npt.NDArray[Any],
        popularity: npt.NDArray[Any],
        rows: IntArray,
        items: IntArray,
    ) -> FloatArray:
        """Return what each signal adds to the scores of m pairs, float32 [m, signals]; a row sums to the score.

        Args:
            scores, seen, activity, popularity: as for `combine`.
            rows: int64 [m], row of the pair's user in `scores`.
            items: int64 [m], column of the pair's item.
        """
        by_user, by_item = self._groups(activity, popularity)
        parts = np.stack([self._scaled(part, seen)[rows, items] for part in scores], axis=1)
        return np.asarray(self.weights[by_user[rows], by_item[items]] * parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the blend as JSON-ready values."""
        arrays = ("weights", "activity_edges", "popularity_edges")
        values = {name: getattr(self, name).tolist() for name in arrays}
        return {"signals": list(self.signals), "kind": self.kind, **values, "report": dict(self.report)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take back what `to_dict` returned."""
        arrays = ("weights", "activity_edges", "popularity_edges")
        floats = {name: np.asarray(values[name], dtype=np.float32) for name in arrays}
        return cls(tuple(values["signals"]), values["kind"], **floats, report=values["report"])

    def _groups(self, activity: npt.NDArray[Any], popularity: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
        users = np.searchsorted(self.activity_edges, activity, side="right")
        return users, np.searchsorted(self.popularity_edges, popularity, side="right")

    def _scaled(self, scores: FloatArray, seen: sp.csr_matrix) -> FloatArray:
        return scores.astype(np.float32) if self.kind in AS_THEY_ARE else standardise(scores, seen)


def fit_blend(
    names: Sequence[str],
    scores: Sequence[FloatArray],
    seen: sp.csr_matrix,
    relevant: sp.csr_matrix,
    activity: npt.NDArray[Any],
    popularity: npt.NDArray[Any],
    seed: int = 0,
) -> Blend:
    """Learn how to blend signals from validation users; for them the result is never worse than the best signal.

    Args:
        names: the signals.
        scores: one float32 [n, n_items] for each, from signals that have not seen `relevant`.
        seen: CSR [n, n_items] of the train items of these users.
        relevant: CSR [n, n_items] of their validation items; a user without any is left out.
        activity: [n], number of train items of each user.
        popularity: [n_items], number of train users of each item.
        seed: makes folds and drawn negatives repeat.

    Raises:
        UsageError: no signal, or no validation item at all.
    """
    if not len(scores) or not relevant.nnz:
        raise UsageError("found no signal or no validation item to learn a blend from; expected at least one of each")
    users = _some(np.flatnonzero(np.diff(relevant.indptr)), seed)
    if len(users) < relevant.shape[0]:
        scores, seen, relevant = [part[users] for part in scores], seen[users], relevant[users]
        activity = np.asarray(activity)[users]
    options: dict[Kind, _Option] = {"single": _single(scores, seen, relevant)}
    if len(users) >= MIN_USERS:
        fold = np.random.default_rng(seed).permutation(len(users)) % FOLDS
        options["fusion"] = _fusion(scores, seen, relevant, fold, seed)
        lists = Lists.make(scores, seen, relevant, seed)
        options["raw"] = _raw(lists, scores, fold)
        options |= _blends(lists, activity, popularity, fold, seed)
    report = {
        "signals": {n: _mean_ndcg(part, relevant, seen) for n, part in zip(names, scores, strict=True)},
        "options": {kind: float(option.ndcg.mean()) for kind, option in options.items()},
        "fusion_weights": options["fusion"].weights.ravel().tolist() if "fusion" in options else [],
    }
    blends = [_blend(names, kind, options[kind], report) for kind in (_best(options), "single")]
    reached = [_mean_ndcg(b.combine(scores, seen, activity, popularity), relevant, seen) for b in blends]
    best = int(np.argmax(reached))
    return replace(blends[best], report={**report, "blend": reached[best]})


def blend_seconds(n_users: int, n_signals: int) -> float:
    """Return roughly how long `fit_blend` takes, in seconds."""
    return SECONDS * min(n_users, MAX_USERS) * n_signals


def _some(users: IntArray, seed: int) -> IntArray:
    """Return at most `MAX_USERS` of the users, drawn at random, in order."""
    if len(users) <= MAX_USERS:
        return users
    return np.sort(np.random.default_rng(seed).choice(users, MAX_USERS, replace=False))


@dataclass(frozen=True)
class _Option:
    """A kind of blend: its weights and groups, and every user's NDCG under weights learnt without that user."""

    weights: FloatArray
    ndcg: npt.NDArray[np.float64]
    activity_edges: FloatArray = field(default_factory=lambda: NO_EDGES)
    popularity_edges: FloatArray = field(default_factory=lambda: NO_EDGES)


def _blend(names: Sequence[str], kind: Kind, option: _Option, report: Mapping[str, Any]) -> Blend:
    edges = option.activity_edges, option.popularity_edges
    weights = option.weights.reshape(len(edges[0]) + 1, len(edges[1]) + 1, len(names))
    return Blend(tuple(names), kind, weights.astype(np.float32), *edges, report)


def _mean_ndcg(scores: FloatArray, relevant: sp.csr_matrix, seen: sp.csr_matrix) -> float:
    return float(ndcg_at(scores, relevant, seen, K).mean(dtype=np.float64))


def _single(scores: Sequence[FloatArray], seen: sp.csr_matrix, relevant: sp.csr_matrix) -> _Option:
    """The best signal, chosen on the users it is measured on: a floor that is rather too high than too low."""
    ndcg = np.stack([ndcg_at(part, relevant, seen, K) for part in scores]).astype(np.float64)
    best = int(ndcg.mean(axis=1).argmax())
    return _Option(np.eye(len(scores), dtype=np.float32)[best], ndcg[best])


def _fusion(
    scores: Sequence[FloatArray], seen: sp.csr_matrix, relevant: sp.csr_matrix, fold: IntArray, seed: int
) -> _Option:
    """The baseline: σ(weights · scores) by logistic regression against drawn negatives."""
    row, item, is_relevant = draw_pairs(seen, relevant, seed)
    features = np.stack([part[row, item] for part in scores], axis=1).astype(np.float64)
    found, ndcg = [], np.empty(len(fold))
    for number in range(FOLDS):
        held = fold == number
        found.append(fusion_weights(features[~held[row]], is_relevant[~held[row]]))
        total = sum(np.float32(w) * part[held] for w, part in zip(found[-1], scores, strict=True))
        ndcg[held] = ndcg_at(np.asarray(total), relevant[held], seen[held], K)
    return _Option(np.mean(found, axis=0), ndcg)


def _raw(lists: Lists, scores: Sequence[FloatArray], fold: IntArray) -> _Option:
    """One weight a signal, of either sign, on the signals' own scores: logistic regression against drawn items."""
    raw, deviation = lists.raw(scores)
    found = _cross_fit(raw, lambda part, _: discriminating_weights(part), fold)
    return replace(found, weights=(found.weights / deviation).astype(np.float32))


def _blends(
    lists: Lists, activity: npt.NDArray[Any], popularity: npt.NDArray[Any], fold: IntArray, seed: int
) -> dict[Kind, _Option]:
    """Blends of standardised scores: one weight a signal, weights by activity, weights by activity and popularity."""
    users, items = _edges(activity), _edges(popularity[lists.item_num[lists.relevant]])
    by_user = np.searchsorted(users, activity, side="right")
    by_item = np.searchsorted(items, popularity, side="right")

    starts = [likely_weights(lists.of(fold != number)) for number in range(FOLDS)]

    def search(part: Lists, number: int) -> Weights:
        return searched_weights(part, starts[number], K, seed)

    def group(part: Lists, number: int) -> Weights:
        return grouped_weights(part, starts[number])

    active = _cross_fit(lists.grouped(by_user, np.zeros_like(by_item)), group, fold)
    both = _cross_fit(lists.grouped(by_user, by_item), group, fold)
    return {
        "global": _cross_fit(lists, search, fold),
        "by_activity": replace(active, activity_edges=users),
        "grouped": replace(both, activity_edges=users, popularity_edges=items),
    }


def _cross_fit(lists: Lists, learn: Callable[[Lists, int], Weights], fold: IntArray) -> _Option:
    """Learn without each fold in turn (`learn` gets its number), measure on it, and keep the mean of the weights."""
    found, ndcg = [], np.empty(len(fold))
    for number in range(FOLDS):
        held = fold == number
        found.append(learn(lists.of(~held), number))
        ndcg[held] = lists.of(held).ndcg(found[-1], K)
    return _Option(np.mean(found, axis=0), ndcg)


def _edges(values: npt.NDArray[Any]) -> FloatArray:
    """Return where `values` [n] are cut into groups of about equal size; fewer groups if many are equal."""
    cuts = np.unique(np.quantile(values, np.arange(1, N_GROUPS) / N_GROUPS))
    return np.asarray(cuts[cuts > values.min()], dtype=np.float32)


def _best(options: Mapping[Kind, _Option]) -> Kind:
    """Return the option with the best NDCG; weights by group must be better by more than the standard error."""
    best: Kind = "single"
    for kind, option in options.items():
        gain = option.ndcg - options[best].ndcg
        error = gain.std() / np.sqrt(len(gain)) if kind in ("by_activity", "grouped") else 0.0
        best = kind if gain.mean() > error else best
    return best
