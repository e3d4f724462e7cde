"""Train, validation and test splits of behaviors.

The train snapshot contains no validation or test behaviors, so a model that reads it cannot leak them.
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
"""Share of test behaviors selected by the tie-breaking hash above which the protocol text mentions it."""


@dataclass(frozen=True)
class Split:
    """A graph with a train, validation and test part.

    Attributes:
        graph: the graph with all behaviors; not for training.
        is_valid, is_test: masks [behaviors of `graph`].
        protocol: description of the split protocol.
        cut_again: splits a fraction off the train part by the same temporal protocol as the test part; None if the
            protocol is not temporal.
    """

    graph: GraphSnapshot
    is_valid: BoolArray
    is_test: BoolArray
    protocol: str
    cut_again: Callable[[GraphSnapshot, float], Split] | None = None

    @cached_property
    def train(self) -> GraphSnapshot:
        """The graph with the train behaviors only."""
        return self.graph.with_behaviors(~(self.is_valid | self.is_test))

    @cached_property
    def train_and_valid(self) -> GraphSnapshot:
        """The graph without the test behaviors."""
        return self.graph.with_behaviors(~self.is_test)

    @property
    def valid(self) -> Behaviors:
        """Validation behaviors, for tuning; may be empty."""
        return self.graph.behaviors.where(self.is_valid)

    @property
    def test(self) -> Behaviors:
        """Test behaviors; may be empty."""
        return self.graph.behaviors.where(self.is_test)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the graph and of the validation and test masks."""
        masks = np.packbits([self.is_valid, self.is_test]).tobytes()
        return hashlib.sha256(self.graph.digest.encode() + masks).hexdigest()


def uncut(snapshot: GraphSnapshot) -> Split:
    """Return a split with every behavior in train, for a final model; validation uses each user's latest behaviors."""
    nothing = np.zeros(len(snapshot.behaviors), dtype=bool)
    timeless = np.isnan(snapshot.behaviors.time).any()
    return Split(snapshot, nothing, nothing, "everything is train", None if timeless else latest_of_users)


def by_random(snapshot: GraphSnapshot, fraction: float = 0.1, seed: int = 0) -> Split:
    """Return a split with a random `fraction` of every user's behaviors as test; each user keeps at least one."""
    behaviors = snapshot.behaviors
    order = np.random.default_rng(seed).permutation(len(behaviors)).astype(np.float64)
    test = last_of_groups(behaviors.user_num, order, fraction=fraction, seed=seed)
    return held_out(snapshot, test, f"random {fraction:.0%} of every user's behaviors, seed {seed}")


def by_time(snapshot: GraphSnapshot, fraction: float = 0.1) -> Split:
    """Return a split with the latest `fraction` of all behaviors as test; `in_time` orders equal times.

    Raises:
        UsageError: behaviors have no time.
    """
    order = in_time(snapshot)
    test = order >= len(order) - round(len(order) * fraction)
    protocol = f"latest {fraction:.0%} of all behaviors"
    return held_out(snapshot, test, protocol + ties(snapshot, test, np.zeros_like(order)), by_time)


def latest_of_users(snapshot: GraphSnapshot, fraction: float = 0.1) -> Split:
    """Return a split with the latest `fraction` of every user's behaviors as test; each user keeps at least one.

    Raises:
        UsageError: behaviors have no time.
    """
    users = snapshot.behaviors.user_num
    test = last_of_groups(users, in_time(snapshot), fraction=fraction)
    protocol = f"latest {fraction:.0%} of every user's behaviors"
    return held_out(snapshot, test, protocol + ties(snapshot, test, users), latest_of_users)


def leave_last_out(snapshot: GraphSnapshot, n: int = 1) -> Split:
    """Return a split with the last `n` behaviors of every user as test; each user keeps at least one.

    Raises:
        UsageError: behaviors have no time.
    """
    users = snapshot.behaviors.user_num
    test = last_of_groups(users, in_time(snapshot), n=n)
    protocol = f"last {n} of every user's behaviors"
    return held_out(snapshot, test, protocol + ties(snapshot, test, users), partial(_last_again, n))


def by_given(snapshot: GraphSnapshot) -> Split:
    """Return the split given by the schema's `split` property (train, valid, test).

    Raises:
        UsageError: no behavior is marked valid or test.
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
    """Return a split by name: none, random, time, last or given.

    Raises:
        UsageError: the name is unknown, or the data lack the times or the split property that it needs.
    """
    if name not in SPLITS:
        raise UsageError(f"unknown split {name!r}; expected one of {', '.join(SPLITS)}")
    return SPLITS[name](snapshot)


def _last_again(n: int, train: GraphSnapshot, fraction: float) -> Split:
    """Return a split with the last `n` behaviors of random users as test, `fraction` of all behaviors in total.

    Taking them from every user would leave little of short histories in train.
    """
    behaviors = train.behaviors
    last = last_of_groups(behaviors.user_num, in_time(train), n=n)
    share = fraction * len(behaviors) / max(int(last.sum()), 1)
    some = np.random.default_rng(0).random(train.n_users) < share
    return held_out(train, last & some[behaviors.user_num], f"last {n} of some users' behaviors")


def in_time(snapshot: GraphSnapshot) -> IntArray:
    """Return the rank of every behavior by time, from 0, int64 [n behaviors].

    Behaviors with equal times are ordered by a seeded hash, so that the order does not depend on ids.

    Raises:
        UsageError: behaviors have no time.
    """
    behaviors = snapshot.behaviors
    if np.isnan(behaviors.time).any():
        raise UsageError(
            "behaviors have no time. Expected a `time` property in the schema, or a column `timestamp` in a frame; "
            "or use split 'random'"
        )
    order = np.lexsort((snapshot.tie_breaks(behaviors.user_num, behaviors.item_num), behaviors.time))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


def ties(snapshot: GraphSnapshot, test: BoolArray, group: IntArray) -> str:
    """Return the protocol note for a split in which the tie-breaking hash selected many test behaviors, or "".

    Args:
        snapshot: the graph that is split.
        test: mask of the held-out behaviors, bool [n behaviors].
        group: group of each behavior within which the split is temporal, such as the user, int64 [n behaviors].
    """
    time = np.nan_to_num(snapshot.behaviors.time, nan=-np.inf)
    latest = np.full(int(group.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(latest, group[~test], time[~test])
    tied = (np.isfinite(time) & (time == latest[group]))[test]
    share = tied.mean() if len(tied) else 0.0
    return (
        f"; {share:.0%} of them have the same time as a train behavior and were chosen by a seeded hash"
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
    """Mark the last rows of every group by `order`, bool [n rows]; at least one row of a group stays unmarked.

    Args:
        group: group of each row, int64 [n rows].
        order: sort key of the rows within a group [n rows].
        n: number of rows to mark in each group; 0 to use `fraction`.
        fraction: share of a group to mark, rounded up or down at random so that it also holds for small groups on
            average.
        at_least: minimum number of rows to mark in each group.
        seed: of the random rounding.
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
    """Return a split with the behaviors of a mask [n behaviors] as test.

    Test behaviors whose (user, item) pair is also in train are removed, because seen items are not recommended.
    """
    behaviors = snapshot.behaviors
    pair = behaviors.user_num * snapshot.n_items + behaviors.item_num
    seen_too = test & np.isin(pair, pair[~test])
    keep = snapshot.with_behaviors(~seen_too) if seen_too.any() else snapshot
    test = test[~seen_too]
    return Split(keep, np.zeros_like(test), test, protocol, cut_again)
