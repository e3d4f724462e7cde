"""Evaluation protocols: splits of a graph for warm, cold-start and cross-domain tests; see docs/how-to/evaluation.md.

Settings and blends are chosen on a validation split of the same protocol, because the best ones for in-domain users are
not the best for cold-start users. The exception is `cold-user`: no blend can be learned for users without any
interaction, so a random validation split measures each signal (see `GroupedBlend.cold_start_blend`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from kgrec._util.types import BoolArray, IntArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, held_out, in_time, last_of_groups, ties
from kgrec.errors import UsageError

PROTOCOL_SHARE: Final = 0.1
"""Held-out share of the users, of the items, or of a user's interactions in a domain."""


def warm(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0, at_least: int = 1) -> Split:
    """Hold out the latest 10 % of each user's interactions in each domain, at least one.

    A user keeps at least one interaction in the domain. Without timestamps, random interactions are held out. The
    validation split has no minimum of one, which would leave too little of short histories.
    """
    cells = snapshot.user_domains[1]
    which, test = _latest(snapshot, cells, fraction, seed, at_least)
    what = f"{which} {fraction:.0%} of every user's behaviors in each domain, at least {at_least}"
    return _cut(snapshot, test, what + ties(snapshot, test, cells), partial(warm, at_least=0), seed)


def cold_user(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out all interactions of a random 10 % of the users, which leaves only their properties and relationships."""
    users = snapshot.behaviors.user_num
    test = np.isin(users, _drawn(users, fraction, seed))
    return held_out(snapshot, test, f"all behaviors of {fraction:.0%} of the users, seed {seed}")


def cold_item(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out all interactions with a random 10 % of the items, which leaves only their text and relationships."""
    items = snapshot.behaviors.item_num
    test = np.isin(items, _drawn(items, fraction, seed))
    what = f"all behaviors with {fraction:.0%} of the items, seed {seed}"
    return _cut(snapshot, test, what, _cold_and_known_items, seed)


def cross_domain(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out the latest 10 %, at least one, of multi-domain users' interactions in a target domain of each user.

    The target is a random domain in which the user has several interactions, of which at least one stays in train.
    Interactions in other domains, and of single-domain users, all stay in train. Without timestamps, random
    interactions are held out. The validation split is that of `warm`, since settings must suit in-domain users too.

    Raises:
        UsageError: no user has interactions in several domains, with several in one of them.
    """
    counts, cells = snapshot.user_domains
    target = _target(counts, (counts > 1) & ((counts > 0).sum(axis=1, keepdims=True) > 1), seed)
    if not len(target):
        problem = "no user has interactions in several domains, with several in one"
        raise UsageError(f"{problem}. Expected a graph of domains that share users")
    which, last = _latest(snapshot, cells, fraction, seed, at_least=1)
    test = last & np.isin(cells, target)
    what = f"{which} {fraction:.0%} of every multi-domain user's behaviors in one domain, at least 1"
    return _cut(snapshot, test, what + ties(snapshot, test, cells), partial(warm, at_least=0), seed)


def cold_target(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out all interactions of a random 10 % of the multi-domain users in a random one of their domains.

    Raises:
        UsageError: no user has interactions in several domains.
    """
    counts, cells = snapshot.user_domains
    here = counts > 0
    target = _target(counts, here & (here.sum(axis=1, keepdims=True) > 1), seed)
    if not len(target):
        raise UsageError("no user has interactions in several domains. Expected a graph of domains that share users")
    test = np.isin(cells, _drawn(target, fraction, seed))
    what = f"all behaviors of {fraction:.0%} of the multi-domain users in one of their domains, seed {seed}"
    return _cut(snapshot, test, what, cold_target, seed)


def _cold_and_known_items(train: GraphSnapshot, fraction: float, seed: int) -> Split:
    """Hold out cold items and random other interactions: with cold items alone, the blend would favor only these."""
    cold = cold_item(train, fraction, seed).is_test
    users = train.behaviors.user_num
    known = last_of_groups(users, np.random.default_rng(seed).random(len(users)), fraction=fraction, seed=seed)
    return held_out(train, cold | known, "cold items, and a random part of the other interactions")


PROTOCOLS: Final[dict[str, Callable[[GraphSnapshot], Split]]] = {
    "warm": warm,
    "cold-user": cold_user,
    "cold-item": cold_item,
    "cold-target": cold_target,
    "cross-domain": cross_domain,
}
"""Protocol → function that splits a graph by it."""


def cut_for(snapshot: GraphSnapshot, protocol: str) -> Split:
    """Return the split of a graph by a protocol: warm, cold-user, cold-item, cold-target or cross-domain.

    Raises:
        UsageError: the protocol is unknown, or the graph has nothing to hold out by it.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol {protocol!r}. Expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol](snapshot)


def _cut(snapshot: GraphSnapshot, test: BoolArray, what: str, again: Callable[..., Split], seed: int) -> Split:
    return held_out(snapshot, test, what, partial(again, seed=seed))


def _latest(
    snapshot: GraphSnapshot, cells: IntArray, fraction: float, seed: int, at_least: int
) -> tuple[str, BoolArray]:
    """Return "latest" or "random", and a mask of such interactions of each (user, domain); see `last_of_groups`."""
    timeless = bool(np.isnan(snapshot.behaviors.time).any())
    order = np.random.default_rng(seed).random(len(cells)) if timeless else in_time(snapshot)
    marked = last_of_groups(cells, order, fraction=fraction, at_least=at_least, seed=seed)
    return "random" if timeless else "latest", marked


def _target(counts: IntArray, able: BoolArray, seed: int) -> IntArray:
    """Return a random able cell of each user with any, as flat indices into counts [users, domains]."""
    drawn = np.where(able, np.random.default_rng(seed).random(counts.shape), -1)
    users = np.flatnonzero(able.any(axis=1))
    return np.asarray(users * counts.shape[1] + drawn[users].argmax(axis=1), dtype=np.int64)


def _drawn(nums: IntArray, fraction: float, seed: int) -> IntArray:
    """Return a random fraction of the distinct numbers, at least one of them."""
    distinct = np.unique(nums)
    return np.random.default_rng(seed).permutation(distinct)[: max(1, round(fraction * len(distinct)))]
