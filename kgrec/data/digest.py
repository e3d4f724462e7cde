"""Digest of a graph, independent of the order in which a store returns rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.columns import column_numbers, comparable
from kgrec.data.edges import Edges
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType


def graph_digest(schema: Schema, nodes: Mapping[str, pa.Table], edges: Mapping[EdgeType, Edges]) -> str:
    """Return the hexadecimal SHA-256 of the schema, nodes and relationships; see `GraphSnapshot.digest`."""
    sha = hashlib.sha256(schema.digest.encode())
    for label, table in nodes.items():
        sha.update(label.encode())
        _hash_table(sha, table)
    for edge_type, edges_of_type in edges.items():
        sha.update("-".join(edge_type).encode())
        sha.update(edges_of_type.src_num.tobytes())
        sha.update(edges_of_type.dst_num.tobytes())
        _hash_table(sha, edges_of_type.table)
    return sha.hexdigest()


def _hash_table(sha: Any, table: pa.Table) -> None:
    """Feed a table's column names, values and nulls to a hash, independently of Arrow's memory layout."""
    for name in table.column_names:
        column = table.column(name)
        sha.update(name.encode())
        sha.update(np.packbits(column.is_null().to_numpy()).tobytes())
        column = comparable(column)
        if pa.types.is_large_binary(column.type):
            sha.update(np.asarray(pc.binary_length(column).fill_null(0).to_numpy(), dtype=np.int64).tobytes())
            sha.update(b"".join(column.drop_null().to_pylist()))
        elif pa.types.is_string(column.type):
            text = pc.fill_null(column, "")
            sha.update(np.asarray(pc.binary_length(text).to_numpy(), dtype=np.int64).tobytes())
            sha.update("".join(text.to_pylist()).encode())
        else:
            numbers = column_numbers(column)
            sha.update(np.where(np.isnan(numbers), np.nan, numbers).tobytes())
            if (
                pa.types.is_integer(column.type) and (np.abs(numbers) >= 2**53).any()
            ):  # floats are not exact beyond 2**53
                sha.update(column.fill_null(0).to_numpy().tobytes())
