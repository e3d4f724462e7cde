"""Recommendations of the service: from the published lists where these hold the answer, else scored live.

| source | when | scored by |
|---|---|---|
| published | a known user without new events | the published list, filtered |
| live | a known user with new events, or more items wanted than the list has | history and events, by fold-in |
| session | an unknown user with events, or an anonymous visitor | events, by fold-in |
| popular | everybody else | popularity |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.snapshot import GraphSnapshot
from kgrec.events.event import DISMISSED, Event
from kgrec.ranking.filters import item_filter
from kgrec.serve.models import Source
from kgrec.serve.release import Release

MAX_SESSION_EVENTS: Final = 200
"""Events of a session that are scored, the latest."""
FUSED_ITEMS: Final = 200
"""Items of each list that are fused, at least."""


@dataclass(frozen=True)
class Wish:
    """What a list must satisfy.

    Attributes:
        k: length of the list; it is shorter if fewer items may be listed.
        domain: only items of this domain.
        where: item property → condition; see `Recommender.recommend`.
        exclude: ids of items that may not be listed.
    """

    k: int = 10
    domain: str | None = None
    where: Mapping[str, Any] | None = None
    exclude: Sequence[str] = ()

    @property
    def filters(self) -> dict[str, Any]:
        """The arguments of `Recommender.recommend` that restrict the items."""
        return {"domain": self.domain, "where": self.where, "exclude": self.exclude or None}

    def allowed(self, release: Release) -> BoolArray | None:
        """Return the items that may be listed, bool [n_items]; None if all may be.

        Raises:
            UnknownItem, UsageError: see `item_filter`.
        """
        return item_filter(release.train, **self.filters) if any(self.filters.values()) else None


@dataclass(frozen=True)
class Ranked:
    """A list of k items, best first: numbers, scores, shares by signal group; and how it was made.

    Attributes:
        source: see the top of this file.
        item_num: int64 [k].
        score: float [k].
        shares: signal group → float [k].
    """

    source: Source
    item_num: IntArray
    score: Sequence[float]
    shares: Mapping[str, Sequence[float]]


def for_user(release: Release, user_id: str, events: Sequence[Event], wish: Wish) -> Ranked:
    """Return the list of a user, who may be unknown.

    Args:
        release: the release to answer from.
        user_id: key of the user.
        events: events of the user, oldest first.
        wish: what the list must satisfy.

    Raises:
        UnknownItem, UsageError: the wish names an unknown item, property or domain.
    """
    user_num = int(release.train.users.nums([user_id])[0])
    chosen, wish = unlearned(release, user_num, events), without_dismissed(release, events, wish)
    if user_num < 0:
        return for_session(release, chosen, wish)
    if not chosen and (listed := from_published(release, user_num, wish)):
        return listed
    person = int(release.train.linked_users[user_num])
    wish = without(wish, release.train.items.ids[release.unlearned[[person]].indices].tolist())
    if chosen:
        history = pd.concat([_learned(release.train, user_num), _frame(release.train, chosen)], ignore_index=True)
        return _scored("live", release, wish, history=history)
    return _scored("live", release, wish, users=[user_id])


def for_session(release: Release, events: Sequence[Event], wish: Wish) -> Ranked:
    """Return the list of somebody who is known by events alone; popular items without events.

    Raises:
        UnknownItem, UsageError: the wish or an event names an unknown item, property or domain.
    """
    wish, chosen = without_dismissed(release, events, wish), _chosen(events)[-MAX_SESSION_EVENTS:]
    if not chosen:
        return most_popular(release, wish)
    return _scored("session", release, wish, history=_frame(release.train, chosen))


def for_text(release: Release, text: str, wish: Wish) -> Ranked:
    """Return the items that fit a text.

    Raises:
        UnknownItem, UsageError: as for a session; or no signal can score the text.
    """
    return _ranked("live", release, release.model.recommend_for_text(text, wish.k, **wish.filters))


def fused(release: Release, text: str, events: Sequence[Event], wish: Wish) -> Ranked:
    """Return the items that fit both a text and events, by reciprocal rank fusion (Cormack et al., SIGIR 2009).

    The score is the sum of 1 / (60 + rank) over both lists. The text's part counts as content; that of the events is
    divided among the signal groups as their shares are.

    Raises:
        UnknownItem, UsageError: as for a session and a text.
    """
    deep = replace(wish, k=max(FUSED_ITEMS, 2 * wish.k))
    session, found = for_session(release, events, deep), for_text(release, text, deep)
    parts = np.zeros((len(SHARE_COLUMNS), release.train.n_items))
    sizes = np.abs([session.shares[name] for name in SHARE_COLUMNS])
    parts[:, session.item_num] = sizes / np.maximum(sizes.sum(axis=0), 1e-12) * _of_ranks(len(session.item_num))
    parts[SHARE_COLUMNS.index("content"), found.item_num] += _of_ranks(len(found.item_num))
    total = parts.sum(axis=0)
    best = np.argsort(-total, kind="stable")[: min(wish.k, int((total > 0).sum()))]
    shares = {str(name): part for name, part in zip(SHARE_COLUMNS, parts[:, best].tolist(), strict=True)}
    return Ranked("session", best, total[best].tolist(), shares)


def _of_ranks(n: int) -> DoubleArray:
    """Return 1 / (60 + rank) for the ranks from 1 to n."""
    return np.asarray(1 / (60 + np.arange(1, n + 1)))


def most_popular(release: Release, wish: Wish) -> Ranked:
    """Return the items with the most users.

    Raises:
        UnknownItem, UsageError: the wish names an unknown item, property or domain.
    """
    order, allowed = release.popular, wish.allowed(release)
    best = (order if allowed is None else order[allowed[order]])[: wish.k]
    count = release.model._model.popularity[best].tolist()
    none = [0.0] * len(best)
    return Ranked("popular", best, count, {"graph": none, "cf": count, "content": none})


def from_published(release: Release, user_num: int, wish: Wish) -> Ranked | None:
    """Return the published list of a user, filtered; None if fewer than k of its items may be listed.

    The first k allowed items of a list are the k best of all allowed items, since a list is sorted by score.
    """
    lists, entries = release.lists, release.lists.of(user_num)
    nums, allowed = lists.item_num[entries], wish.allowed(release)
    kept = np.arange(len(nums)) if allowed is None else np.flatnonzero(allowed[nums])
    if len(kept) < wish.k:
        return None
    best = entries.start + kept[: wish.k]
    shares = dict(zip(SHARE_COLUMNS, lists.shares[best].T.tolist(), strict=True))
    return Ranked("published", lists.item_num[best], lists.score[best].tolist(), shares)


def unlearned(release: Release, user_num: int, events: Sequence[Event]) -> list[Event]:
    """Return the events that tell the release what a user chose: of items that it knows and did not learn from.

    Args:
        release: the release.
        user_num: number of the user; -1 for an unknown user.
        events: events of the user.
    """
    chosen, train = _chosen(events), release.train
    if not chosen:
        return []
    nums = train.items.nums([event.item_id for event in chosen])
    person = train.linked_users[[user_num]]
    learned = set() if user_num < 0 else set(train.interactions[person].indices.tolist())
    return [event for event, num in zip(chosen, nums.tolist(), strict=True) if num >= 0 and num not in learned]


def without_dismissed(release: Release, events: Sequence[Event], wish: Wish) -> Wish:
    """Return a wish that also excludes the items that a user dismissed."""
    ids = [event.item_id for event in events if event.behavior == DISMISSED and event.item_id in release.train.items]
    return without(wish, ids)


def without(wish: Wish, item_ids: Sequence[str]) -> Wish:
    """Return a wish that also excludes some items."""
    return replace(wish, exclude=[*wish.exclude, *item_ids]) if item_ids else wish


def _chosen(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.behavior != DISMISSED]


def _learned(train: GraphSnapshot, user_num: int) -> pd.DataFrame:
    """Return the train behaviors of a user as the history of an anonymous user, oldest first."""
    behaviors, types = train.behaviors, np.array(list(train.schema.roles.behaviours), dtype=object)
    own = np.flatnonzero(behaviors.user_num == train.linked_users[user_num])
    own = own[np.argsort(behaviors.time[own], kind="stable")]
    return pd.DataFrame(
        {
            "item_id": train.items.ids[behaviors.item_num[own]],
            "behavior": types[behaviors.type_num[own]],
            "weight": behaviors.weight[own],
        }
    )


def _frame(train: GraphSnapshot, chosen: Sequence[Event]) -> pd.DataFrame:
    """Return events as a history, in the order of their times."""
    ordered = sorted(chosen, key=lambda event: event.timestamp)
    usual = dict(zip(train.schema.roles.behaviours, train.median_weights.tolist(), strict=True))
    return pd.DataFrame(
        {
            "item_id": [event.item_id for event in ordered],
            "behavior": [event.behavior for event in ordered],
            "weight": [usual[event.behavior] if event.weight is None else event.weight for event in ordered],
        }
    )


def _scored(source: Source, release: Release, wish: Wish, **people: Any) -> Ranked:
    return _ranked(source, release, release.model.recommend(k=wish.k, **people, **wish.filters))


def _ranked(source: Source, release: Release, frame: pd.DataFrame) -> Ranked:
    """Return a frame of one list, as `Recommender.recommend` returns it."""
    nums = release.train.items.nums(frame["item_id"])
    shares: dict[str, list[float]] = {name: frame[name].tolist() for name in SHARE_COLUMNS}
    return Ranked(source, nums, frame["score"].tolist(), shares)
