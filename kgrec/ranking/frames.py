"""Lists as data frames, with ids in the type that they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec._util.types import IntArray
from kgrec.data.id_map import IdMap
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UnknownItem, UnknownUser

NEW_USER: Final = (
    "If new, fold_in(graph) or `kgrec refresh` takes it in; history=[…] recommends by what somebody did, "
    "on_unknown='popular' what is popular."
)
"""What to do about an unknown user."""


def known_nums(
    id_map: IdMap,
    ids: Sequence[str],
    error: type[UnknownUser] | type[UnknownItem],
    hint: str = "If new, load it; fold_in(graph) or `kgrec refresh` takes it in.",
) -> IntArray:
    """Return the numbers of ids, int64 [n].

    Raises:
        UnknownUser, UnknownItem: an id is not there; as `error` says.
    """
    nums = id_map.nums(ids)
    missing = [id_ for id_, num in zip(ids, nums, strict=True) if num < 0]
    if missing:
        raise error(missing, id_map.ids, hint)
    return nums


def in_type(ids: Sequence[str], known: IdMap) -> npt.NDArray[Any]:
    """Return ids [n], known or not, in the type that the known ones came in."""
    texts = np.array(ids, dtype=object)
    if known.original.dtype != object:
        try:
            return texts.astype(known.original.dtype)
        except ValueError:
            pass
    nums = known.nums(ids)
    return np.where(nums >= 0, known.original[nums], texts) if len(known) else texts


def lists_frame(
    ids: npt.NDArray[Any],
    of: str,
    listed: str,
    known: npt.NDArray[Any],
    columns: Mapping[str, npt.NDArray[Any]],
) -> pd.DataFrame:
    """Turn lists [n, k] into rows; a short list gives fewer rows.

    Args:
        ids: whose lists they are [n].
        of, listed: columns of these ids, and of those that are listed.
        known: ids by number.
        columns: "num" (numbers of what is listed, -1 after the end of a list), "score", and others, [n, k] each.

    Returns:
        Columns `of`, `listed`, score, rank (from 1), and the others.
    """
    num = columns["num"]
    there = num >= 0
    rank = np.broadcast_to(np.arange(1, num.shape[1] + 1), num.shape)
    rest = {name: values[there] for name, values in columns.items() if name not in ("num", "score")}
    return pd.DataFrame(
        {
            of: np.repeat(ids, there.sum(axis=1)),
            listed: known[num[there]],
            "score": columns["score"][there],
            "rank": rank[there],
            **rest,
        }
    )


def with_names(frame: pd.DataFrame, train: GraphSnapshot, columns: Mapping[str, str]) -> pd.DataFrame:
    """Insert the names of items behind their ids.

    Args:
        frame: with ids of items that the graph has.
        train: the graph.
        columns: column of ids → column of names.
    """
    for ids, name in columns.items():
        nums = train.items.nums(frame[ids])
        frame.insert(frame.columns.tolist().index(ids) + 1, name, train.item_names[nums])
    return frame
