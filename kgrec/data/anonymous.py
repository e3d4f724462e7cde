"""Anonymous users: histories of people who are not in the graph, such as shop visitors who are not logged in."""

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
from kgrec.data.columns import as_keys, as_type, column_numbers, is_datetime
from kgrec.data.edges import Behaviors
from kgrec.data.frames import as_table, is_frame, lacking, shown_cell
from kgrec.data.id_map import as_ids
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import DataError, Problem, UnknownItem, UsageError, near_matches


@dataclass(frozen=True)
class AnonymousUsers:
    """Histories of people who are not users of the graph, with the graph's item numbers.

    Attributes:
        train: the training graph; it is not changed.
        behaviors: their behaviors; `user_num` counts the anonymous users from 0.
        n_users: number of anonymous users.
    """

    train: GraphSnapshot
    behaviors: Behaviors
    n_users: int

    @cached_property
    def interactions(self) -> sp.csr_matrix:
        """Binary interaction matrix, float32 CSR [n_users, n_items]."""
        return self.behaviors.pairs(self.n_users, self.train.n_items)

    @property
    def item_domain_nums(self) -> IntArray:
        """Index of each item's domain among the sorted domain names, int64 [n_items]."""
        return self.train.item_domain_nums

    def tie_breaks(self, user_num: IntArray, item_num: IntArray) -> npt.NDArray[np.uint64]:
        """Return zeros, uint64 [n]: ties are not broken, because behaviors with the same time count as equally old."""
        return np.zeros(len(user_num), dtype=np.uint64)

    def select(self, users: BoolArray) -> AnonymousUsers:
        """Return the users that a mask [n_users] marks, renumbered from 0."""
        if users.all():
            return self
        number = np.cumsum(users) - 1
        kept = self.behaviors.where(users[self.behaviors.user_num])
        return AnonymousUsers(self.train, _with(kept, number[kept.user_num], kept.item_num), int(users.sum()))

    def within(self, graph: GraphSnapshot, items: IntArray) -> AnonymousUsers:
        """Return the histories restricted to some items, with the item numbers of a graph that has only these.

        Args:
            graph: a graph with exactly these items, in the same order.
            items: numbers of these items in `train`, int64 [m].
        """
        number = np.full(self.train.n_items, -1)
        number[items] = np.arange(len(items))
        kept = self.behaviors.where(number[self.behaviors.item_num] >= 0)
        return AnonymousUsers(graph, _with(kept, kept.user_num, number[kept.item_num]), self.n_users)


def read_history(history: object, train: GraphSnapshot) -> tuple[AnonymousUsers, npt.NDArray[np.object_]]:
    """Return a history as anonymous users of a graph, and the ids of these users, object [n].

    Args:
        history: item ids, oldest first; or a frame with `item_id` and optionally `weight`, `timestamp`, `behavior` (a
            type of the schema) and, for several people, `user_id`. A missing weight is the median of its type, a
            missing behavior the most frequent type, and missing timestamps follow the row order.
        train: the training graph.

    Raises:
        UnknownItem: an item is not in the graph.
        UsageError: `history` is neither a list nor a frame, or a behavior type is not in the schema.
        DataError: the frame has problems.
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
    nums, user_ids = pd.factorize(table.column("user_id").to_pandas(), use_na_sentinel=False)
    return _anonymous(table, nums, len(user_ids), train), np.asarray(user_ids, dtype=object)


def _anonymous(table: pa.Table, user_num: IntArray, n_users: int, train: GraphSnapshot) -> AnonymousUsers:
    ids, n = as_keys(table.column("item_id"))[0].to_pylist(), table.num_rows
    item_num = train.items.nums(ids)
    missing = [str(id_) for id_, num in zip(ids, item_num, strict=True) if num < 0]
    if missing:
        raise UnknownItem(missing, train.items.ids, "Leave it out, or add it first: fold_in(graph).")
    type_num = _types(table, train)
    time = _numbers(table, "timestamp") if "timestamp" in table.column_names else np.arange(n, dtype=np.float64)
    given = _numbers(table, "weight") if "weight" in table.column_names else train.median_weights[type_num]
    split = np.full(n, "", dtype=object)
    weight, confidence = np.asarray(given, dtype=np.float32), np.ones(n, dtype=np.float32)
    return AnonymousUsers(train, Behaviors(user_num, item_num, weight, time, type_num, split, confidence), n_users)


def _types(table: pa.Table, train: GraphSnapshot) -> IntArray:
    """Return the behavior type of each row, int64 [n], as an index into the schema's behaviors."""
    names = list(train.schema.roles.behaviours)
    if "behavior" not in table.column_names:
        return np.full(table.num_rows, train.commonest_behavior)
    return type_nums(as_keys(table.column("behavior"))[0].to_pylist(), names, "history")


def type_nums(wanted: Sequence[str], names: Sequence[str], what: str) -> IntArray:
    """Return the index of each behavior type in the schema, int64 [n].

    Args:
        wanted: type of each row.
        names: behavior types of the schema.
        what: name of the input for the error message.

    Raises:
        UsageError: a type is not in the schema.
    """
    nums = pd.Index(names).get_indexer(pd.Index(wanted, dtype=object))
    if (nums < 0).any():
        unknown = wanted[int(np.argmax(nums < 0))]
        near = near_matches(str(unknown), names)
        raise UsageError(f"{what}: found the behavior {unknown!r}; expected one of {', '.join(names)}{near}")
    return np.asarray(nums, dtype=np.int64)


def _numbers(table: pa.Table, name: str) -> DoubleArray:
    """Return a column of numbers or timestamps as float64 [n], timestamps in epoch seconds.

    Raises:
        DataError: a value is missing or not a number.
    """
    column = plain(table.column(name))
    kind = "float" if name == "weight" or not is_datetime(column) else "datetime"
    values, wrong = as_type(column, kind)
    numbers = column_numbers(values)
    if (wrong | np.isnan(numbers)).any():
        row = int(np.argmax(wrong | np.isnan(numbers)))
        raise DataError([Problem("history", shown_cell(column, row), f"a {name}, as a number", row + 1, name)])
    return numbers


def _with(behaviors: Behaviors, user_num: IntArray, item_num: IntArray) -> Behaviors:
    return replace(behaviors, user_num=user_num, item_num=item_num)
