"""Segment models: signals that replace the common signal of the same name for some users of a domain.

In-domain users may be scored by signals fitted on the domain by itself (see kgrec/hybrid/negative_transfer.py), and
cold-start users by signals tuned on such users (see kgrec/hybrid/cold_start.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.single_domain import single_domain, single_domain_vectors
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Signal, Signals, fit_fresh, refit

logger = logging.getLogger(__name__)

Scores = Callable[[Signal, BoolArray, str | None], FloatArray]
"""Signal, mask of users, bool [n], and the domain of a single-domain signal or None → the users' scores."""


def scores_of(user_nums: IntArray) -> Scores:
    """Return the scoring function for users of the graph, int64 [n]."""
    return lambda signal, some, _: signal.scores(user_nums[some])


@dataclass(frozen=True)
class SegmentModels:
    """Signals that replace common ones for some users.

    Attributes:
        single_domain: domain → name → signal fitted on that domain by itself, for in-domain users.
        cold_start: name → signal for cold-start users of any domain.
    """

    single_domain: Mapping[str, Signals] = field(default_factory=dict)
    cold_start: Signals = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.single_domain or self.cold_start)

    def apply_to(
        self,
        domain: str,
        names: Sequence[str],
        parts: Sequence[FloatArray],
        scores: Scores,
        seen: sp.csr_matrix,
        items: IntArray,
    ) -> None:
        """Replace the scores of common signals by those of the segment models, in place, for the users of a segment.

        Args:
            domain: the domain of the scored items.
            names: names of the common signals.
            parts: one float32 [n, m] for each signal, the scores of the domain's items; changed in place.
            scores: the scoring function.
            seen: CSR [n, m] of the domain's items that users have.
            items: int64 [m], the domain's items.
        """
        new, own = np.diff(seen.indptr) == 0, self.single_domain.get(domain, {})
        for name, part in zip(names, parts, strict=True):
            if name in own and not new.all():
                part[~new] = scores(own[name], ~new, domain)
            if name in self.cold_start and new.any():
                part[new] = scores(self.cold_start[name], new, None).take(items, axis=1)

    def refit(self, train: GraphSnapshot, vectors: Vectors, seed: int) -> SegmentModels:
        """Return segment models with the same settings fitted on `train`, without domains that it lacks."""
        there = sorted(self.single_domain.keys() & set(train.item_domains))
        single_domain = {
            domain: fit_single_domain(self.single_domain[domain], train, domain, vectors, seed) for domain in there
        }
        return SegmentModels(single_domain, refit(self.cold_start, train, vectors, seed))

    def fold_in(self, delta: GraphDelta) -> SegmentModels:
        """Return the segment models for a later snapshot, without removed domains; see `Signal.fold_in`."""
        there = sorted(self.single_domain.keys() & set(delta.new.item_domains))
        single_domain = {domain: fold_in_single_domain(self.single_domain[domain], delta, domain) for domain in there}
        return SegmentModels(single_domain, {name: signal.fold_in(delta) for name, signal in self.cold_start.items()})


def fit_single_domain(
    signals: Signals, graph: GraphSnapshot, domain: str, vectors: Vectors, seed: int
) -> dict[str, Signal]:
    """Return signals with the same settings fitted on one domain, without those that cannot be fitted on it.

    Args:
        signals: name → signal with the settings.
        graph: the graph with all domains.
        domain: the domain to fit on.
        vectors: text vectors of the full graph: the text of a user may describe interactions in other domains.
        seed: makes the fit repeat.
    """
    logger.info(f"fitting single-domain signals on {domain}")
    only, own = single_domain(graph, domain), single_domain_vectors(graph, domain, vectors)
    able = {name: signal for name, signal in signals.items() if type(signal).applies(only, own)}
    return fit_fresh(able, only, own, seed)


def fold_in_single_domain(signals: Signals, delta: GraphDelta, domain: str) -> dict[str, Signal]:
    """Return single-domain signals for a later snapshot; see `Signal.fold_in`."""
    new, vectors = single_domain(delta.new, domain), single_domain_vectors(delta.new, domain, delta.vectors)
    of_domain = GraphDelta(single_domain(delta.old, domain), new, vectors)
    return {name: signal.fold_in(of_domain) for name, signal in signals.items()}
