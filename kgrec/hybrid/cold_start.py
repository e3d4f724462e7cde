"""Newcomers: users of one domain who have nothing in another yet. The validation cut must ask about such users too.

Where domains share no users it cannot: nobody's behaviours tell what a user of one takes in another. Such strangers get
what is popular, shifted by how near its content is to what they know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.data.snapshot import FloatArray, GraphSnapshot
from kgrec.hybrid.blend import MIN_USERS, Blend, shares_of
from kgrec.hybrid.blend_weights import FORMS, Lists, Scale, softmax_weights
from kgrec.signals.base import Signals
from kgrec.signals.domain_weighting import newcomers

ABROAD: Final = 0.3
"""What nearness of content counts for a stranger, where it counts 1 for users at home: nothing can tell how much."""
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
    n_new = newcomers(train).sum(axis=0)
    able = (here > 0) & (here.sum(axis=1, keepdims=True) > here)
    taken = np.zeros(here.shape, dtype=bool)
    for domain in np.flatnonzero(n_new):
        users = np.flatnonzero(able[:, domain] & ~taken.any(axis=1))
        n = min(int(n_new[domain]), round(SHARE * len(users)))
        taken[rng.permutation(users)[:n], domain] = True
    return np.asarray(taken.ravel()[cells])


def domains_apart(train: GraphSnapshot) -> set[str]:
    """Return the domains of several that share too few users with others for behaviours to lead from one to another."""
    here = train.user_domains[0] > 0
    shared = (here & (here.sum(axis=1, keepdims=True) > 1)).sum(axis=0)
    names = np.unique(train.item_domains.astype(str))
    return set(names[shared < MIN_USERS]) if len(names) > 1 else set()


def blend_for_strangers(
    signals: Signals,
    scores: Sequence[FloatArray],
    seen: sp.csr_matrix,
    relevant: sp.csr_matrix,
    seed: int = 0,
) -> Blend | None:
    """Learn from users at home what popularity and content say, and let content count less; None without either.

    Args:
        signals: name → signal.
        scores: one float32 [n, n_items] for each.
        seen, relevant: CSR [n, n_items] of users at home.
        seed: makes the sample of items repeat.
    """
    popular = [place for place, name in enumerate(signals) if name == "popularity"]
    content = [place for place, signal in enumerate(signals.values()) if signal.group == "content"]
    if not popular + content:
        return None
    none = np.zeros(relevant.shape[1], np.float32)
    parts = [scores[place] for place in popular + content]
    lists = Lists.make(parts, seen, relevant, np.zeros(relevant.shape[0], np.float32), none, seed)
    features = np.concatenate([lists.own[: len(popular)], lists.z[len(popular) :]])
    features = np.where(lists.listed, features, 0)
    found = softmax_weights(features, lists.sampling, lists.relevant, lists.n_relevant, positive=True)
    weights = np.zeros((len(FORMS), len(signals)), np.float32)
    weights[FORMS.index("own"), popular] = found[: len(popular)]
    weights[FORMS.index("z"), content] = ABROAD * found[len(popular) :]
    blend = Blend(tuple(signals), "strangers", weights, Scale(0.0, 1.0), Scale(0.0, 1.0), {})
    return replace(blend, report={"kind": "strangers", "shares": shares_of(blend, scores, seen, none)})
