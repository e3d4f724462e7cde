"""Layouts of the named arrays in a signal's state: their types, and their shapes in terms of the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Array:
    """Expected shape and types of an array.

    Attributes:
        shape: length of each axis; a name is an arbitrary length that is equal wherever the name occurs.
        types: allowed NumPy types.
    """

    shape: tuple[int | str, ...]
    types: tuple[str, ...] = ("float32",)


Layout = Mapping[str, Array]
"""Name of an array → its expected shape and types."""

_INTEGERS: Final = ("int32", "int64")


def csr(rows: int) -> Layout:
    """Return the layout of a CSR matrix; see `kgrec.signals.sparse.to_arrays`."""
    ends, shape = Array((rows + 1,), _INTEGERS), Array((2,), ("int64",))
    return {"data": Array(("entries",)), "indices": Array(("entries",), _INTEGERS), "indptr": ends, "shape": shape}


def check_arrays(arrays: Mapping[str, npt.NDArray[Any]], layouts: Sequence[Layout]) -> None:
    """Check arrays against the layout with the same names, out of several possible layouts.

    Raises:
        ValueError: the names, a type or a shape differ.
    """
    layout = next((layout for layout in layouts if layout.keys() == arrays.keys()), None)
    if layout is None:
        expected = " or ".join(", ".join(sorted(layout)) for layout in layouts)
        raise ValueError(f"arrays {', '.join(sorted(arrays)) or 'of no name'}; expected {expected}")
    lengths: dict[int | str, int] = {}
    for name, wanted in layout.items():
        array = arrays[name]
        if array.dtype.name not in wanted.types:
            raise ValueError(f"{name!r} is of type {array.dtype}; expected {' or '.join(wanted.types)}")
        same_length = len(array.shape) == len(wanted.shape) and all(
            length == (axis if isinstance(axis, int) else lengths.setdefault(axis, length))
            for axis, length in zip(wanted.shape, array.shape, strict=True)
        )
        if not same_length:
            shape = tuple(lengths.get(axis, axis) for axis in wanted.shape)
            raise ValueError(f"{name!r} has the shape {array.shape}; expected ({', '.join(map(str, shape))})")


def check_rows(name: str, array: npt.NDArray[Any], rows: int) -> None:
    """Check that an array is float32 [rows, d].

    Raises:
        ValueError: the array has another type or shape.
    """
    if array.dtype != np.float32 or array.ndim != 2 or len(array) != rows:
        raise ValueError(f"{name!r} is {array.dtype} of shape {array.shape}; expected float32 ({rows}, d)")
