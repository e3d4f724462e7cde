"""External ids and internal numbers, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from kgrec._util.types import IntArray
from kgrec.data.columns import objects
from kgrec.errors import UsageError


def as_ids(ids: Iterable[object], what: str) -> list[str]:
    """Return ids as texts, in their order.

    Args:
        ids: a list, series or array of ids.
        what: the argument's name, for the error.

    Raises:
        UsageError: one bare id, whose characters would be taken for ids, a table or mapping, whose names would, or
            nothing that holds any.
    """
    if isinstance(ids, Mapping) or hasattr(ids, "columns"):
        raise UsageError(f"{what} is a {type(ids).__name__}; expected a list of ids, such as one column of it")
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise UsageError(f"{what}={ids!r}; expected a list of ids, such as [{ids!r}]")
    return [_id_text(id_) for id_ in ids]


def _id_text(value: object) -> str:
    """Return an id as the loaders write it: pandas makes 1.0 of 1 beside a missing value."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


class IdMap:
    """External ids (strings) and internal numbers (0 … n-1), both ways.

    Attributes:
        ids: object [n], as the graph keeps them.
        original: [n], in the type that they came in: int64 where the schema says that all are whole numbers, else
            object.
    """

    def __init__(self, ids: pa.Array, original: npt.NDArray[Any] | None = None) -> None:
        self.ids = objects(ids)
        self.original = self.ids if original is None else original
        self._index = pd.Index(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def nums(self, ids: Iterable[object]) -> IntArray:
        """Return the numbers of ids, int64 [n]; -1 for an id that is not there."""
        wanted = pd.Index(np.array([str(i) for i in ids], dtype=object))
        return np.asarray(self._index.get_indexer(wanted), dtype=np.int64)

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """A hash of every id, uint64 [n], the same in every process."""
        return np.asarray(pd.util.hash_array(self.ids, categorize=False))

    def __contains__(self, id_: object) -> bool:
        return bool(self.nums([id_])[0] >= 0)
