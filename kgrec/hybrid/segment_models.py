"""Stand-ins: signals that serve some users of a domain instead of everybody's signal of the same name.

Those at home in a domain may be served by what learnt from it alone (kgrec/hybrid/negative_transfer.py says where),
those new to one by signals whose settings are for such users (kgrec/hybrid/cold_start_signals.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from kgrec.data.graph_delta import Growth
from kgrec.data.single_domain import fit_alone, fold_in_alone
from kgrec.data.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors
from kgrec.signals.base import Signals, refit


@dataclass(frozen=True)
class Standins:
    """Signals that serve some users instead.

    Attributes:
        at_home: domain → name → signal that learnt from it alone, for those who have something of it.
        newcomers: name → signal for those who have nothing of a domain.
    """

    at_home: Mapping[str, Signals] = field(default_factory=dict)
    newcomers: Signals = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.at_home or self.newcomers)

    def serve(
        self,
        domain: str,
        names: Sequence[str],
        parts: Sequence[FloatArray],
        user_nums: IntArray,
        seen: sp.csr_matrix,
        items: IntArray,
    ) -> None:
        """Replace everybody's scores by those of the stand-ins, for the users whom these serve.

        Args:
            domain: whose items are scored.
            names: everybody's signals.
            parts: one float32 [n, m] for each, scores of the domain's items, which are changed in place.
            user_nums: int64 [n].
            seen: CSR [n, m], what users have of the domain.
            items: int64 [m], numbers of the domain's items.
        """
        new, own = np.diff(seen.indptr) == 0, self.at_home.get(domain, {})
        for name, part in zip(names, parts, strict=True):
            if name in own and not new.all():
                part[~new] = own[name].scores(user_nums[~new])
            if name in self.newcomers and new.any():
                part[new] = self.newcomers[name].scores(user_nums[new])[:, items]

    def refit(self, train: GraphSnapshot, vectors: Vectors, seed: int) -> Standins:
        """Return stand-ins of the same settings that learnt from `train`; a domain that it lacks is left out."""
        there = sorted(self.at_home.keys() & set(train.item_domains))
        at_home = {domain: fit_alone(self.at_home[domain], train, domain, vectors, seed) for domain in there}
        return Standins(at_home, refit(self.newcomers, train, vectors, seed))

    def fold_in(self, growth: Growth) -> Standins:
        """Return the stand-ins for a graph that has grown; see `Signal.fold_in`. A domain that is gone is left out."""
        there = sorted(self.at_home.keys() & set(growth.new.item_domains))
        at_home = {domain: fold_in_alone(self.at_home[domain], growth, domain) for domain in there}
        return Standins(at_home, {name: signal.fold_in(growth) for name, signal in self.newcomers.items()})
