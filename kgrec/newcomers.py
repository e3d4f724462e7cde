"""Newcomers: users of one domain who have nothing in another yet. The validation cut must ask about such users too."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from kgrec.snapshot import GraphSnapshot

MIN_NEWCOMERS: Final = 50
"""Users new to a domain below which the cut does not ask about any."""
SHARE: Final = 0.1
"""Share of the users of several domains who are asked about as newcomers to one of them, at most."""


def as_newcomers(train: GraphSnapshot, seed: int) -> npt.NDArray[np.bool_]:
    """Mark all that some users did in one domain, as if they were new to it, bool [n behaviours].

    For each domain that users of others are new to, about as many are taken who are not. What serves newcomers best
    cannot be learnt from those who are none.

    Args:
        train: the graph to learn from.
        seed: makes the draw repeat.
    """
    rng, (here, cells) = np.random.default_rng(seed), train.user_domains
    elsewhere = here.sum(axis=1, keepdims=True) - here
    n_new = ((here == 0) & (elsewhere > 0)).sum(axis=0)
    able = (here > 0) & (elsewhere > 0)
    taken = np.zeros(here.shape, dtype=bool)
    for domain in np.flatnonzero(n_new >= MIN_NEWCOMERS):
        users = np.flatnonzero(able[:, domain] & ~taken.any(axis=1))
        n = min(int(n_new[domain]), round(SHARE * len(users)))
        taken[rng.permutation(users)[:n], domain] = True
    return np.asarray(taken.ravel()[cells])
