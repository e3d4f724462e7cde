"""Recommendations as data frames, with ids of the type that the user loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from kgrec._util.types import IntArray
from kgrec.data.id_map import IdMap, typed_ids
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UnknownItem, UnknownUser

IdColumn = npt.NDArray[Any] | pd.api.extensions.ExtensionArray
"""Ids, or other values, for a column of a frame [n]."""

NEW_USER: Final = (
    "To add a new user: fold_in(graph) or `kgrec refresh`. To recommend without adding it: history=[…] with its items, "
    "or on_unknown='popular' for popular items."
)
"""Hint of the error for an unknown user."""


def known_nums(
    id_map: IdMap,
    ids: Sequence[str],
    error: type[UnknownUser] | type[UnknownItem],
    hint: str = "To add a new one: load it, then fold_in(graph) or `kgrec refresh`.",
) -> IntArray:
    """Return the numbers of ids, int64 [n].

    Args:
        id_map: the known ids.
        ids: the ids to look up [n].
        error: the class of the error for unknown ids.
        hint: a sentence for that error: what to do about unknown ids.

    Raises:
        UnknownUser, UnknownItem: an id is unknown; `error` is the class that is raised.
    """
    nums = id_map.nums(ids)
    missing = [id_ for id_, num in zip(ids, nums, strict=True) if num < 0]
    if missing:
        raise error(missing, id_map.ids, hint)
    return nums


def in_type(ids: Sequence[str], nums: IntArray, known: IdMap) -> IdColumn:
    """Return ids [n], whose numbers are `nums`, in the type of the known ids; an unknown one may have to stay text."""
    if (nums >= 0).all():
        return known.column.take(nums)
    texts = np.array(ids, dtype=object)
    if known.original.dtype != object:
        try:
            return typed_ids(pa.array(ids, pa.string()), "int")
        except pa.ArrowInvalid:
            pass
    return np.where(nums >= 0, known.original[nums], texts) if len(known) else texts


def lists_frame(
    ids: IdColumn,
    of: str,
    listed: str,
    known: IdColumn,
    columns: Mapping[str, npt.NDArray[Any]],
) -> pd.DataFrame:
    """Return lists [n, k] as a frame with one row for each entry.

    Args:
        ids: the owner of each list [n].
        of: the column name of the owners.
        listed: the column name of the entries.
        known: number → id of the entries.
        columns: "num" (numbers of the entries, -1 after the end of a short list), "score", and others, [n, k] each.

    Returns:
        Columns `of`, `listed`, score, rank (from 1), and the others.
    """
    num = columns["num"]
    there = num >= 0
    rank = np.broadcast_to(np.arange(1, num.shape[1] + 1), num.shape)
    rest = {name: values[there] for name, values in columns.items() if name not in ("num", "score")}
    return pd.DataFrame(
        {
            of: ids.repeat(there.sum(axis=1)),
            listed: known.take(num[there]),
            "score": columns["score"][there],
            "rank": rank[there],
            **rest,
        },
        copy=False,
    )


def with_names(frame: pd.DataFrame, train: GraphSnapshot, columns: Mapping[str, str]) -> pd.DataFrame:
    """Insert columns of item names into the frame, each after its column of ids; return the frame.

    Args:
        frame: a frame with ids of items of the graph.
        train: the graph.
        columns: column of ids → column of names.
    """
    for ids, name in columns.items():
        nums = train.items.nums(frame[ids])
        frame.insert(frame.columns.tolist().index(ids) + 1, name, train.item_names[nums])
    return frame
