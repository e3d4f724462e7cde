"""User profiles: what is known of users besides their behaviors, as columns of a sparse matrix.

A column is a node that users are linked to, other than a user or an item, or a value of a categorical property. Free
text, names and properties whose values seldom recur say nothing of other users, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from kgrec._util.types import BoolArray, IntArray
from kgrec.data.columns import flat, objects
from kgrec.data.snapshot import GraphSnapshot

MAX_VALUES: Final = 100
"""Distinct values of a categorical text property, at most; a property with more is free text."""


@dataclass(frozen=True)
class UserProfiles:
    """The profiles of all users.

    Attributes:
        matrix: CSR of ones, float32 [n_users, features].
        features: name of each column, object [features]; the same in every snapshot of a graph.
    """

    matrix: sp.csr_matrix
    features: npt.NDArray[np.object_]


def user_profiles(train: GraphSnapshot) -> UserProfiles:
    """Return the profiles of the users of a graph."""
    parts = [_linked_nodes(train), *_properties(train)]
    matrix = sp.csr_matrix(sp.hstack([part.matrix for part in parts], format="csr", dtype=np.float32))
    return UserProfiles(matrix, np.concatenate([part.features for part in parts]))


def has_profiles(train: GraphSnapshot) -> bool:
    """Return whether anything but behaviors is known of a user."""
    return bool(user_profiles(train).matrix.nnz)


def _linked_nodes(train: GraphSnapshot) -> UserProfiles:
    others = np.ones(train.n_nodes, dtype=bool)
    others[train.user_nodes], others[train.item_nodes] = False, False
    linked = np.bincount(train.user_attributes.indices, minlength=train.n_nodes) > 0
    names = [np.array([f"{label} {key}" for key in train.ids(label).to_pylist()], object) for label in train.nodes]
    kept = np.flatnonzero(others & linked)
    return UserProfiles(train.user_attributes[:, kept], np.concatenate([np.empty(0, object), *names])[kept])


def _properties(train: GraphSnapshot) -> Iterator[UserProfiles]:
    """Yield the values of each categorical property of each user label."""
    first = 0
    for label in train.present(train.schema.roles.users):
        node, table = train.schema.nodes[label], train.nodes[label]
        for name, kind in node.properties.items():
            if kind in ("string", "strings") and name not in (node.key, node.name):
                row, values = _values(flat(table.column(name)), kind)
                if _recur(values, MAX_VALUES if kind == "string" else len(values)):
                    yield _as_columns(row + first, values, f"{label}.{name}", train.n_users)
        first += table.num_rows


def _values(column: pa.Array, kind: str) -> tuple[IntArray, pa.Array]:
    """Return the row, int64 [n], of each value of a column, and the values, without missing ones."""
    if kind == "strings":
        row, values = pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column)
    else:
        row, values = np.arange(len(column)), column
    there = pc.is_valid(values)
    return row[_mask(there)].astype(np.int64), values.filter(there)


def _mask(column: pa.Array) -> BoolArray:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def _recur(values: pa.Array, most: int) -> bool:
    """Return whether there are at most `most` distinct values, and several users have most of them."""
    counts = pc.value_counts(values).field("counts").to_numpy()
    return 0 < len(counts) <= most and 2 * int((counts > 1).sum()) > len(counts)


def _as_columns(row: IntArray, values: pa.Array, name: str, n_users: int) -> UserProfiles:
    words, column = np.unique(objects(values).astype(str), return_inverse=True)
    matrix = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(n_users, len(words)))
    matrix.data[:] = 1
    return UserProfiles(matrix, np.array([f"{name} {word}" for word in words.tolist()], dtype=object))
