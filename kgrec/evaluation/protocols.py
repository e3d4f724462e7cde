"""Protocols: the questions a recommender is asked, each a way to cut a graph; see docs/how-to/evaluation.md.

Settings and blend are chosen on a cut of the same kind, since what serves users at home does not serve newcomers. Only
users of whom nothing but a description is known have no blend that could be learned: for them a random cut tells how
well each signal does alone (see `GroupedBlend.cold_start_blend`).
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
"""Share of the users, of the items, or of a user's behaviors in a domain, that is held out."""


def warm(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0, at_least: int = 1) -> Split:
    """Hold out the latest tenth of what each user did in each domain, and one behavior at least; random without times.

    A user keeps at least one behavior in the domain. The cut for settings takes a tenth and no more: too little would
    be left of a short history.
    """
    cells = snapshot.user_domains[1]
    which, test = _latest(snapshot, cells, fraction, seed, at_least)
    what = f"{which} {fraction:.0%} of every user's behaviors in each domain, at least {at_least}"
    return _cut(snapshot, test, what + ties(snapshot, test, cells), partial(warm, at_least=0), seed)


def cold_user(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out all that a random tenth of the users did: nothing but their own properties is known of them."""
    users = snapshot.behaviors.user_num
    test = np.isin(users, _drawn(users, fraction, seed))
    return held_out(snapshot, test, f"all behaviors of {fraction:.0%} of the users, seed {seed}")


def cold_item(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out all that was done with a random tenth of the items: only text and relationships tell of them."""
    items = snapshot.behaviors.item_num
    test = np.isin(items, _drawn(items, fraction, seed))
    what = f"all behaviors with {fraction:.0%} of the items, seed {seed}"
    return _cut(snapshot, test, what, _cold_and_known_items, seed)


def cross_domain(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out the latest tenth, at least one, of what users of several domains did in one; random without times.

    The target is for each user a random one of the domains where they did several things, of which one is left at
    least. What they did elsewhere stays whole, and so does all that users of one domain did. Settings are chosen as for
    `warm`, since they have to serve users at home too.

    Raises:
        UsageError: nobody acts in several domains and twice in one of them.
    """
    counts, cells = snapshot.user_domains
    target = _target(counts, (counts > 1) & ((counts > 0).sum(axis=1, keepdims=True) > 1), seed)
    if not len(target):
        raise UsageError("no user acts in several domains and twice in one; expected a graph of such domains")
    which, last = _latest(snapshot, cells, fraction, seed, at_least=1)
    test = last & np.isin(cells, target)
    what = f"{which} {fraction:.0%} of what every user of several domains did in one of them, at least 1"
    return _cut(snapshot, test, what + ties(snapshot, test, cells), partial(warm, at_least=0), seed)


def cold_target(snapshot: GraphSnapshot, fraction: float = PROTOCOL_SHARE, seed: int = 0) -> Split:
    """Hold out all that a random tenth of the users of several domains did in one of them, each domain in its turn.

    Raises:
        UsageError: no user has behaviors in several domains.
    """
    counts, cells = snapshot.user_domains
    here = counts > 0
    target = _target(counts, here & (here.sum(axis=1, keepdims=True) > 1), seed)
    if not len(target):
        raise UsageError("no user has behaviors in several domains; expected a graph of domains that share users")
    test = np.isin(cells, _drawn(target, fraction, seed))
    what = f"all that {fraction:.0%} of the users of several domains did in one of them, seed {seed}"
    return _cut(snapshot, test, what, cold_target, seed)


def _cold_and_known_items(train: GraphSnapshot, fraction: float, seed: int) -> Split:
    """Hold out new items and a random part of the rest: new items alone would teach that only they are good."""
    cold = cold_item(train, fraction, seed).is_test
    users = train.behaviors.user_num
    known = last_of_groups(users, np.random.default_rng(seed).random(len(users)), fraction=fraction, seed=seed)
    return held_out(train, cold | known, "new items, and a random part of the rest")


PROTOCOLS: Final[dict[str, Callable[[GraphSnapshot], Split]]] = {
    "warm": warm,
    "cold-user": cold_user,
    "cold-item": cold_item,
    "cold-target": cold_target,
    "cross-domain": cross_domain,
}


def cut_for(snapshot: GraphSnapshot, protocol: str) -> Split:
    """Cut a graph for a protocol: warm, cold-user, cold-item, cold-target or cross-domain.

    Raises:
        UsageError: no such protocol, or the graph has nothing to ask by it.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"unknown protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol](snapshot)


def _cut(snapshot: GraphSnapshot, test: BoolArray, what: str, again: Callable[..., Split], seed: int) -> Split:
    return held_out(snapshot, test, what, partial(again, seed=seed))


def _latest(
    snapshot: GraphSnapshot, cells: IntArray, fraction: float, seed: int, at_least: int
) -> tuple[str, BoolArray]:
    """Mark the latest of each (user, domain), or random ones where there are no times; see `last_of_groups`."""
    timeless = bool(np.isnan(snapshot.behaviors.time).any())
    order = np.random.default_rng(seed).random(len(cells)) if timeless else in_time(snapshot)
    marked = last_of_groups(cells, order, fraction=fraction, at_least=at_least, seed=seed)
    return "random" if timeless else "latest", marked


def _target(counts: IntArray, able: BoolArray, seed: int) -> IntArray:
    """Return a random cell of each user who has an able one, as numbers in the flattened counts [users, domains]."""
    drawn = np.where(able, np.random.default_rng(seed).random(counts.shape), -1)
    users = np.flatnonzero(able.any(axis=1))
    return np.asarray(users * counts.shape[1] + drawn[users].argmax(axis=1), dtype=np.int64)


def _drawn(nums: IntArray, fraction: float, seed: int) -> IntArray:
    """Return a random fraction of the distinct numbers, at least one."""
    distinct = np.unique(nums)
    return np.random.default_rng(seed).permutation(distinct)[: max(1, round(fraction * len(distinct)))]
