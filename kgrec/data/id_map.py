"""Mapping between external ids and internal numbers."""

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
from kgrec.data.schema_parts import IdType
from kgrec.errors import UsageError


def as_ids(ids: Iterable[object], what: str) -> list[str]:
    """Return ids as text, in the given order.

    Args:
        ids: a list, series or array of ids.
        what: name of the argument for the error message.

    Raises:
        UsageError: `ids` is a single id (a string would be read as a list of characters), a table or mapping (whose
            column names or keys would be read as ids), or not iterable.
    """
    if isinstance(ids, Mapping) or hasattr(ids, "columns"):
        raise UsageError(f"{what} is a {type(ids).__name__}; expected a list of ids, such as one column of it")
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise UsageError(f"{what}={ids!r}; expected a list of ids, such as [{ids!r}]")
    return [_id_text(id_) for id_ in ids]


def _id_text(value: object) -> str:
    """Return an id as the loaders write it: 1.0, which pandas makes of 1 in a column with missing values, is "1"."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


class IdMap:
    """Bidirectional map between external ids (strings) and internal numbers (0 … n-1).

    Attributes:
        ids: object [n], as stored in the graph.
        original: [n], in the user's type: int64 if the schema's `id_type` is int, else object.
    """

    def __init__(self, ids: pa.Array, original: npt.NDArray[Any] | None = None) -> None:
        self.ids = objects(ids)
        self.original = self.ids if original is None else original

    def __len__(self) -> int:
        return len(self.ids)

    def nums(self, ids: Iterable[object]) -> IntArray:
        """Return the numbers of ids, int64 [n]; -1 for an unknown id."""
        known = self._nums
        return np.fromiter((known.get(str(id_), -1) for id_ in ids), np.int64)

    @cached_property
    def _nums(self) -> dict[str, int]:
        """Id → number."""
        return {id_: num for num, id_ in enumerate(self.ids)}

    @cached_property
    def column(self) -> pd.api.extensions.ExtensionArray:
        """The ids in the user's type [n], as pandas stores them: a data frame takes its column from it quickly."""
        column: pd.api.extensions.ExtensionArray = pd.Series(self.original).array
        return column

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """Hash of every id, uint64 [n], equal in every process."""
        return np.asarray(pd.util.hash_array(self.ids, categorize=False))

    def __contains__(self, id_: object) -> bool:
        return bool(self.nums([id_])[0] >= 0)


def typed_ids(ids: pa.Array, id_type: IdType) -> npt.NDArray[Any]:
    """Return ids in the schema's `id_type`, int64 or object [n]."""
    return np.asarray(ids.cast(pa.int64()).to_numpy()) if id_type == "int" else objects(ids)
