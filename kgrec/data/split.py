"""Splits: which behaviors are learned from, which settings are chosen on, and which the result is measured on.

The train snapshot holds neither valid nor test behaviors, so nothing that reads it can see them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kgrec._util.types import BoolArray, IntArray
from kgrec.data.edges import Behaviors
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UsageError

MANY_TIES_SHARE: Final = 0.05
"""Share of test behaviors that a hash chose among others of the same time, above which a protocol says so."""


@dataclass(frozen=True)
class Split:
    """A graph cut in three.

    Attributes:
        whole: the graph with all its behaviors; not for learning.
        is_valid, is_test: masks [behaviors of `whole`].
        protocol: how the cut was made, in words.
        cut_again: cuts train by time, by a fraction of it, as the test part was cut from the whole; None where that was
            not by time.
    """

    whole: GraphSnapshot
    is_valid: BoolArray
    is_test: BoolArray
    protocol: str
    cut_again: Callable[[GraphSnapshot, float], Split] | None = None

    @cached_property
    def train(self) -> GraphSnapshot:
        """The graph with the behaviors to learn from."""
        return self.whole.with_behaviors(~(self.is_valid | self.is_test))

    @cached_property
    def train_and_valid(self) -> GraphSnapshot:
        """The graph with everything but the test behaviors."""
        return self.whole.with_behaviors(~self.is_test)

    @property
    def valid(self) -> Behaviors:
        """Behaviors to choose settings on; may be empty."""
        return self.whole.behaviors.where(self.is_valid)

    @property
    def test(self) -> Behaviors:
        """Behaviors to measure on; may be empty."""
        return self.whole.behaviors.where(self.is_test)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the graph and of which behavior is in which part."""
        masks = np.packbits([self.is_valid, self.is_test]).tobytes()
        return hashlib.sha256(self.whole.digest.encode() + masks).hexdigest()


def uncut(snapshot: GraphSnapshot) -> Split:
    """Put every behavior into train; what is asked of such a model is what each user does next."""
    nothing = np.zeros(len(snapshot.behaviors), dtype=bool)
    timeless = np.isnan(snapshot.behaviors.time).any()
    return Split(snapshot, nothing, nothing, "everything is train", None if timeless else latest_of_users)


def by_random(snapshot: GraphSnapshot, fraction: float = 0.1, seed: int = 0) -> Split:
    """Take a random `fraction` of every user's behaviors as test; a user keeps at least one in train."""
    behaviors = snapshot.behaviors
    order = np.random.default_rng(seed).permutation(len(behaviors)).astype(np.float64)
    test = last_of_groups(behaviors.user_num, order, fraction=fraction, seed=seed)
    return held_out(snapshot, test, f"random {fraction:.0%} of every user's behaviors, seed {seed}")


def by_time(snapshot: GraphSnapshot, fraction: float = 0.1) -> Split:
    """Take the latest `fraction` of all behaviors as test; see `in_time` for those of one time.

    Raises:
        UsageError: behaviors carry no time.
    """
    order = in_time(snapshot)
    test = order >= len(order) - round(len(order) * fraction)
    protocol = f"latest {fraction:.0%} of all behaviors"
    return held_out(snapshot, test, protocol + ties(snapshot, test, np.zeros_like(order)), by_time)


def latest_of_users(snapshot: GraphSnapshot, fraction: float = 0.1) -> Split:
    """Take the latest `fraction` of every user's behaviors as test; a user keeps at least one in train.

    Raises:
        UsageError: behaviors carry no time.
    """
    users = snapshot.behaviors.user_num
    test = last_of_groups(users, in_time(snapshot), fraction=fraction)
    protocol = f"latest {fraction:.0%} of every user's behaviors"
    return held_out(snapshot, test, protocol + ties(snapshot, test, users), latest_of_users)


def leave_last_out(snapshot: GraphSnapshot, n: int = 1) -> Split:
    """Take the last `n` behaviors of every user as test; a user keeps at least one in train.

    Raises:
        UsageError: behaviors carry no time.
    """
    users = snapshot.behaviors.user_num
    test = last_of_groups(users, in_time(snapshot), n=n)
    protocol = f"last {n} of every user's behaviors"
    return held_out(snapshot, test, protocol + ties(snapshot, test, users), partial(_last_again, n))


def by_given(snapshot: GraphSnapshot) -> Split:
    """Cut by the property that the schema's `split` names (train, valid, test).

    Raises:
        UsageError: no behavior says which part it belongs to.
    """
    parts = snapshot.behaviors.split
    if not np.isin(parts, ["valid", "test"]).any():
        raise UsageError("no behavior is marked valid or test; expected a `split` property, or another split")
    return Split(snapshot, parts == "valid", parts == "test", "given files")


SPLITS: Final[dict[str, Callable[[GraphSnapshot], Split]]] = {
    "none": uncut,
    "random": by_random,
    "time": by_time,
    "last": leave_last_out,
    "given": by_given,
}


def split_by(snapshot: GraphSnapshot, name: str) -> Split:
    """Cut by the name of a split: none, random, time, last or given.

    Raises:
        UsageError: no such split, or the data cannot be split so.
    """
    if name not in SPLITS:
        raise UsageError(f"unknown split {name!r}; expected one of {', '.join(SPLITS)}")
    return SPLITS[name](snapshot)


def _last_again(n: int, train: GraphSnapshot, fraction: float) -> Split:
    """Take the last `n` of some users, `fraction` of all behaviors together: a short history is soon gone."""
    behaviors = train.behaviors
    last = last_of_groups(behaviors.user_num, in_time(train), n=n)
    share = fraction * len(behaviors) / max(int(last.sum()), 1)
    some = np.random.default_rng(0).random(train.n_users) < share
    return held_out(train, last & some[behaviors.user_num], f"last {n} of some users' behaviors")


def in_time(snapshot: GraphSnapshot) -> IntArray:
    """Return the place of every behavior in the order of time, from 0 on, int64 [n behaviors].

    Behaviors of one time are ordered by a seeded hash, so that no id counts as later than another.

    Raises:
        UsageError: behaviors carry no time.
    """
    behaviors = snapshot.behaviors
    if np.isnan(behaviors.time).any():
        raise UsageError("behaviors have no time; name a `time` property in the schema, or use split 'random'")
    order = np.lexsort((snapshot.tie_breaks(behaviors.user_num, behaviors.item_num), behaviors.time))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


def ties(snapshot: GraphSnapshot, test: BoolArray, group: IntArray) -> str:
    """Return what a protocol says where the hash, not the time, decided about many test behaviors; else nothing.

    Args:
        snapshot: the graph that is cut.
        test: which behaviors are held out, bool [n behaviors].
        group: what was cut by time, such as a user, int64 [n behaviors].
    """
    time = np.nan_to_num(snapshot.behaviors.time, nan=-np.inf)
    latest = np.full(int(group.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(latest, group[~test], time[~test])
    tied = (np.isfinite(time) & (time == latest[group]))[test]
    share = tied.mean() if len(tied) else 0.0
    return (
        f"; {share:.0%} of them at the time of one that stays, chosen by a seeded hash"
        if share > MANY_TIES_SHARE
        else ""
    )


def last_of_groups(
    group: IntArray,
    order: npt.NDArray[Any],
    *,
    n: int = 0,
    fraction: float = 0.0,
    at_least: int = 0,
    seed: int = 0,
) -> BoolArray:
    """Mark the last `n` (or `fraction`, `at_least` so many) of the rows of every group by `order`; one row is left.

    Parts of a row are rounded at random, so that small groups are marked too, as often as the fraction says.
    """
    by_group = np.lexsort([order, group])
    counts = np.bincount(group)
    random = np.random.default_rng(seed).random(len(counts))
    take = np.full(len(counts), n) if n else np.floor(counts * fraction + random).astype(np.int64)
    take = np.minimum(np.maximum(take, at_least), np.maximum(counts - 1, 0))
    groups = group[by_group]
    from_end = np.cumsum(counts)[groups] - np.arange(len(groups))
    last = np.zeros(len(groups), dtype=bool)
    last[by_group] = from_end <= take[groups]
    return last


def held_out(
    snapshot: GraphSnapshot,
    test: BoolArray,
    protocol: str,
    cut_again: Callable[[GraphSnapshot, float], Split] | None = None,
) -> Split:
    """Cut by a mask [n behaviors]; pairs that train keeps are not tested, since what was seen is not recommended."""
    behaviors = snapshot.behaviors
    pair = behaviors.user_num * snapshot.n_items + behaviors.item_num
    seen_too = test & np.isin(pair, pair[~test])
    keep = snapshot.with_behaviors(~seen_too) if seen_too.any() else snapshot
    test = test[~seen_too]
    return Split(keep, np.zeros_like(test), test, protocol, cut_again)
