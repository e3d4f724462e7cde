"""Stand-ins: signals that serve some users of a domain instead of everybody's signal of the same name.

Those at home in a domain may be served by what learned from it alone (kgrec/hybrid/negative_transfer.py says where),
those new to one by signals whose settings are for such users (kgrec/hybrid/cold_start.py).
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
from kgrec.signals.base import Signal, Signals, refit

logger = logging.getLogger(__name__)

Scores = Callable[[Signal, BoolArray, str | None], FloatArray]
"""Signal, mask [n] of some users, and the domain that the signal learned from alone, or None → their scores."""


def scores_of(user_nums: IntArray) -> Scores:
    """Return what gives the scores of users of the graph, int64 [n]."""
    return lambda signal, some, _: signal.scores(user_nums[some])


@dataclass(frozen=True)
class SegmentModels:
    """Signals that serve some users instead.

    Attributes:
        single_domain: domain → name → signal that learned from it alone, for those who have something of it.
        cold_start: name → signal for those who have nothing of a domain.
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
        """Replace everybody's scores by those of the stand-ins, for the users whom these serve.

        Args:
            domain: whose items are scored.
            names: everybody's signals.
            parts: one float32 [n, m] for each, scores of the domain's items, which are changed in place.
            scores: gives a signal's scores.
            seen: CSR [n, m], what users have of the domain.
            items: int64 [m], numbers of the domain's items.
        """
        new, own = np.diff(seen.indptr) == 0, self.single_domain.get(domain, {})
        for name, part in zip(names, parts, strict=True):
            if name in own and not new.all():
                part[~new] = scores(own[name], ~new, domain)
            if name in self.cold_start and new.any():
                part[new] = scores(self.cold_start[name], new, None)[:, items]

    def refit(self, train: GraphSnapshot, vectors: Vectors, seed: int) -> SegmentModels:
        """Return stand-ins of the same settings that learned from `train`; a domain that it lacks is left out."""
        there = sorted(self.single_domain.keys() & set(train.item_domains))
        single_domain = {
            domain: fit_single_domain(self.single_domain[domain], train, domain, vectors, seed) for domain in there
        }
        return SegmentModels(single_domain, refit(self.cold_start, train, vectors, seed))

    def fold_in(self, delta: GraphDelta) -> SegmentModels:
        """Return the stand-ins for a graph that has grown; see `Signal.fold_in`. A domain that is gone is left out."""
        there = sorted(self.single_domain.keys() & set(delta.new.item_domains))
        single_domain = {domain: fold_in_single_domain(self.single_domain[domain], delta, domain) for domain in there}
        return SegmentModels(single_domain, {name: signal.fold_in(delta) for name, signal in self.cold_start.items()})


def fit_single_domain(
    signals: Signals, graph: GraphSnapshot, domain: str, vectors: Vectors, seed: int
) -> dict[str, Signal]:
    """Return new signals of the same settings that learned from one domain alone; those that cannot are left out.

    Args:
        signals: name → signal with the settings.
        graph: with all domains.
        domain: the one to learn from.
        vectors: text vectors of the whole graph: a user's text still says what they did elsewhere.
        seed: makes the fit repeat.
    """
    logger.info(f"fitting on {domain} alone")
    only, own = single_domain(graph, domain), single_domain_vectors(graph, domain, vectors)
    able = {name: signal for name, signal in signals.items() if type(signal).applies(only, own)}
    return refit(able, only, own, seed)


def fold_in_single_domain(signals: Signals, delta: GraphDelta, domain: str) -> dict[str, Signal]:
    """Return signals that learned from one domain alone for a graph that has grown; see `Signal.fold_in`."""
    new, vectors = single_domain(delta.new, domain), single_domain_vectors(delta.new, domain, delta.vectors)
    of_domain = GraphDelta(single_domain(delta.old, domain), new, vectors)
    return {name: signal.fold_in(of_domain) for name, signal in signals.items()}
