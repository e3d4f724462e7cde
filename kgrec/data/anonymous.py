"""Anonymous users: what people did who are no users of a graph, such as visitors of a shop who are not logged in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.data.arrow import plain
from kgrec.data.columns import as_keys, as_type, is_datetime
from kgrec.data.edges import Behaviors
from kgrec.data.frames import as_table, is_frame, lacking, shown_cell
from kgrec.data.id_map import as_ids
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import seconds_of
from kgrec.errors import DataError, Problem, UnknownItem, UsageError, near_matches


@dataclass(frozen=True)
class AnonymousUsers:
    """Histories of people who are no users of a graph, in the numbers of its items.

    Attributes:
        train: the graph that was learned from; nothing is written to it.
        behaviors: what they did; `user_num` counts these people from 0.
        n_users: how many they are.
    """

    train: GraphSnapshot
    behaviors: Behaviors
    n_users: int

    @cached_property
    def interactions(self) -> sp.csr_matrix:
        """Who did anything with what: float32 CSR [n_users, n_items] of ones."""
        ones = np.ones(len(self.behaviors), dtype=np.float32)
        cells = (self.behaviors.user_num, self.behaviors.item_num)
        matrix = sp.csr_matrix((ones, cells), shape=(self.n_users, self.train.n_items), dtype=np.float32)
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    @property
    def item_domain_nums(self) -> IntArray:
        """Place of each item's domain among the names of all, int64 [n_items]."""
        return self.train.item_domain_nums

    def tie_breaks(self, user_num: IntArray, item_num: IntArray) -> npt.NDArray[np.uint64]:
        """Return zeros, uint64 [n]: what was done at one time is equally old, in whatever order it is."""
        return np.zeros(len(user_num), dtype=np.uint64)

    def select(self, users: BoolArray) -> AnonymousUsers:
        """Return those people whom a mask [n_users] marks, counted from 0 again."""
        if users.all():
            return self
        number = np.cumsum(users) - 1
        kept = self.behaviors.where(users[self.behaviors.user_num])
        return AnonymousUsers(self.train, _with(kept, number[kept.user_num], kept.item_num), int(users.sum()))

    def within(self, graph: GraphSnapshot, items: IntArray) -> AnonymousUsers:
        """Return what they did with some items only, in the numbers of a graph of these alone.

        Args:
            graph: which has no other items, in the same order.
            items: numbers of its items in `train`, int64 [m].
        """
        number = np.full(self.train.n_items, -1)
        number[items] = np.arange(len(items))
        kept = self.behaviors.where(number[self.behaviors.item_num] >= 0)
        return AnonymousUsers(graph, _with(kept, kept.user_num, number[kept.item_num]), self.n_users)


def read_history(history: object, train: GraphSnapshot) -> tuple[AnonymousUsers, npt.NDArray[np.object_]]:
    """Return what somebody did as anonymous users of a graph, and what these are called, object [n].

    Args:
        history: ids of items, the latest last; or a frame with `item_id` and optionally `weight`, `timestamp`,
            `behavior` (a type of the schema) and, of several people, `user_id`. Without a weight all have the median
            of their type, without a behavior they are of the commonest type, without a time the order of rows counts.
        train: the graph.

    Raises:
        UnknownItem: an item that the graph does not have.
        UsageError: it is neither, or names a type of behavior that the schema does not have.
        DataError: a frame has problems.
    """
    if not is_frame(history):
        ids = as_ids(history, "history")  # type: ignore[arg-type]
        table = pa.table({"item_id": pa.array(ids, pa.string())})
        return _anonymous(table, np.zeros(len(ids), np.int64), 1, train), np.array([None], dtype=object)
    table, problems = as_table(history, "history")
    problems += lacking(table, "history", {"item_id": "item_id"})
    if problems:
        raise DataError(problems)
    if "user_id" not in table.column_names:
        return _anonymous(table, np.zeros(table.num_rows, np.int64), 1, train), np.array([None], dtype=object)
    nums, people = pd.factorize(table.column("user_id").to_pandas(), use_na_sentinel=False)
    return _anonymous(table, nums, len(people), train), np.asarray(people, dtype=object)


def _anonymous(table: pa.Table, user_num: IntArray, n_users: int, train: GraphSnapshot) -> AnonymousUsers:
    ids, n = as_keys(table.column("item_id"))[0].to_pylist(), table.num_rows
    item_num = train.items.nums(ids)
    missing = [str(id_) for id_, num in zip(ids, item_num, strict=True) if num < 0]
    if missing:
        raise UnknownItem(missing, train.items.ids, "Leave it out, or take it in first: fold_in(graph).")
    type_num = _types(table, train)
    time = _numbers(table, "timestamp") if "timestamp" in table.column_names else np.arange(n, dtype=np.float64)
    given = _numbers(table, "weight") if "weight" in table.column_names else train.median_weights[type_num]
    split = np.full(n, "", dtype=object)
    weight, confidence = np.asarray(given, dtype=np.float32), np.ones(n, dtype=np.float32)
    return AnonymousUsers(train, Behaviors(user_num, item_num, weight, time, type_num, split, confidence), n_users)


def _types(table: pa.Table, train: GraphSnapshot) -> IntArray:
    """Return the types of behaviors, int64 [n] by their place in the schema."""
    names = list(train.schema.roles.behaviours)
    if "behavior" not in table.column_names:
        return np.full(table.num_rows, train.commonest_behavior)
    return type_nums(as_keys(table.column("behavior"))[0].to_pylist(), names, "history")


def type_nums(wanted: Sequence[str], names: Sequence[str], what: str) -> IntArray:
    """Return the places of types of behavior among those of the schema, int64 [n].

    Raises:
        UsageError: the schema has no such type.
    """
    nums = pd.Index(names).get_indexer(pd.Index(wanted, dtype=object))
    if (nums < 0).any():
        unknown = wanted[int(np.argmax(nums < 0))]
        near = near_matches(str(unknown), names)
        raise UsageError(f"{what}: found the behavior {unknown!r}; expected one of {', '.join(names)}{near}")
    return np.asarray(nums, dtype=np.int64)


def _numbers(table: pa.Table, name: str) -> DoubleArray:
    """Return a column of numbers, or of points in time, float64 [n].

    Raises:
        DataError: a value is none.
    """
    column = plain(table.column(name))
    kind = "float" if name == "weight" or not is_datetime(column) else "datetime"
    values, wrong = as_type(column, kind)
    numbers = seconds_of(values)
    if (wrong | np.isnan(numbers)).any():
        row = int(np.argmax(wrong | np.isnan(numbers)))
        raise DataError([Problem("history", shown_cell(column, row), f"a {name}, as a number", row + 1, name)])
    return numbers


def _with(behaviors: Behaviors, user_num: IntArray, item_num: IntArray) -> Behaviors:
    return replace(behaviors, user_num=user_num, item_num=item_num)
