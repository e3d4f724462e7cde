"""The users that lists are made for, known or anonymous: their scores and the items that they have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.progress import track
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers, type_nums
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UsageError
from kgrec.hybrid.model import HybridModel, Scored
from kgrec.ranking.top_k import top_k

BATCH_SCORES: Final = 16_000_000
"""Scores of a batch of users over all signals, held at once (64 MB)."""


class Audience(Protocol):
    """The n users that lists are made for, in order."""

    @property
    def model(self) -> HybridModel:
        """The model that scores them."""
        ...

    def __len__(self) -> int: ...

    def scored(self, rows: slice) -> Scored:
        """Return the scores of all items for a slice of the users."""
        ...

    def chosen(self, rows: slice, types: IntArray) -> sp.csr_matrix:
        """Return the items that a slice of the users chose by interactions of some types, float32 CSR [n, n_items]."""
        ...


@dataclass(frozen=True)
class KnownUsers:
    """Users of the graph by number, int64 [n]; -1 stands for an unknown user."""

    model: HybridModel
    nums: IntArray

    def __len__(self) -> int:
        return len(self.nums)

    def scored(self, rows: slice) -> Scored:
        """Return the scores of all items for a slice of the users."""
        return self.model.score(self.nums[rows])

    def chosen(self, rows: slice, types: IntArray) -> sp.csr_matrix:
        """Return the items that a slice of the users chose by interactions of some types."""
        train, nums = self.model.train, self.nums[rows]
        shape: Any = (len(nums), train.n_items)  # the stubs know no matrix of a shape alone
        chosen = sp.csr_matrix(shape, dtype=np.float32)
        for num in types.tolist():
            chosen = chosen + train.interactions_of_type[num][np.maximum(nums, 0)]
        return sp.csr_matrix(chosen.multiply((nums >= 0)[:, None]))


@dataclass(frozen=True)
class Anonymous:
    """Anonymous users, known by a history alone."""

    model: HybridModel
    users: AnonymousUsers

    def __len__(self) -> int:
        return self.users.n_users

    def scored(self, rows: slice) -> Scored:
        """Return the scores of all items for a slice of the users."""
        return self.model.score_anonymous(self._some(rows))

    def chosen(self, rows: slice, types: IntArray) -> sp.csr_matrix:
        """Return the items that a slice of the users chose by interactions of some types."""
        some = self._some(rows)
        of_types = some.behaviors.where(np.isin(some.behaviors.type_num, types))
        return AnonymousUsers(some.train, of_types, some.n_users).interactions

    def _some(self, rows: slice) -> AnonymousUsers:
        marked = np.zeros(len(self), dtype=bool)
        marked[rows] = True
        return self.users.select(marked)


def seen_types(train: GraphSnapshot, include_seen: bool, behaviors: Sequence[str] | None) -> IntArray | None:
    """Return the interaction types whose items are excluded as seen, int64 [types]; None stands for all types.

    Args:
        train: the graph.
        include_seen: whether no items are excluded; ignored if `behaviors` is given.
        behaviors: names of the types; None if not given.

    Raises:
        UsageError: the schema has no such type, or `behaviors` is a string instead of a list.
    """
    if behaviors is None:
        return np.empty(0, np.int64) if include_seen else None
    if isinstance(behaviors, str):
        raise UsageError(f"exclude_behaviors={behaviors!r}. Expected a list of types, such as [{behaviors!r}]")
    return type_nums(list(behaviors), list(train.schema.roles.behaviours), "exclude_behaviors")


def lists_of(
    people: Audience, k: int, seen: IntArray | None, allowed: BoolArray
) -> Iterator[tuple[slice, dict[str, npt.NDArray[Any]]]]:
    """Yield the k best items of each user, batch by batch: the slice of users and their lists, see `best_of`.

    Args:
        people: the users; without any, one empty batch is yielded.
        k: length of a list.
        seen: interaction types whose items are excluded; see `seen_types`.
        allowed: bool [n_items], the items that may be listed.
    """
    batches = _batches(people)
    for rows in track(batches, "recommending") if len(batches) > 1 else batches:
        yield rows, best_of(people.scored(rows), k, None if seen is None else people.chosen(rows, seen), allowed)


def best_of(scored: Scored, k: int, seen: sp.csr_matrix | None, allowed: BoolArray) -> dict[str, npt.NDArray[Any]]:
    """Return the k best items of each user: "num", "score", the shares by signal group, and "basis", [n, k] each.

    Args:
        scored: the scores of n users.
        k: length of a list.
        seen: CSR [n, n_items] of the items to exclude; None excludes all items of the users' histories.
        allowed: bool [n_items], the items that may be listed.
    """
    ranking = top_k(scored.total, k, scored.seen if seen is None else seen, allowed)
    basis = np.broadcast_to(scored.basis[:, None], ranking.item_num.shape)
    return {"num": ranking.item_num, "score": ranking.score, **scored.groups(ranking.item_num), "basis": basis}


def score_pairs(people: Audience, place: IntArray, item_nums: IntArray) -> tuple[FloatArray, npt.NDArray[np.object_]]:
    """Return the scores of (user, item) pairs, float32 [n], and the basis of each, object [n]; see `Scored.basis`.

    Args:
        people: the users of the pairs, each once.
        place: int64 [n], position of each pair's user in `people`.
        item_nums: int64 [n], item of each pair.
    """
    scores, basis = np.empty(len(place), np.float32), np.empty(len(place), dtype=object)
    for rows in _batches(people):
        scored, pairs = people.scored(rows), np.flatnonzero((place >= rows.start) & (place < rows.stop))
        scores[pairs] = scored.total[place[pairs] - rows.start, item_nums[pairs]]
        basis[pairs] = scored.basis[place[pairs] - rows.start]
    return scores, basis


def _batches(people: Audience) -> list[slice]:
    """Return the slices of users to score together; a single empty slice if there are no users."""
    n, size = len(people), max(1, BATCH_SCORES // (people.model.train.n_items * len(people.model.signals)))
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]
