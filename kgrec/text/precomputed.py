"""Precomputed vectors of nodes: properties of type `vector`, such as embeddings of pictures or sounds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import FloatArray
from kgrec.data.columns import list_lengths
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.errors import DataError, Problem


def given_vectors(snapshot: GraphSnapshot) -> dict[str, Vectors]:
    """Return the vector properties of a graph: property → label → float32 [nodes of the label, d], rows of length 1.

    Properties of one name share one vector space in all labels; a row of zeros is a node without a vector.

    Raises:
        DataError: vectors of one name differ in length, which can happen if a graph is loaded in parts.
    """
    return {name: _matrices(name, columns) for name, columns in _columns(snapshot).items()}


def given_widths(snapshot: GraphSnapshot) -> list[int]:
    """Return the dimensions of each vector property of a graph, in the order of `given_vectors`."""
    parts = [next(iter(columns.values())) for columns in _columns(snapshot).values()]
    return [int(list_lengths(part.drop_null().slice(0, 1))[0]) for part in parts]


def _columns(snapshot: GraphSnapshot) -> dict[str, dict[str, pa.ChunkedArray]]:
    """Return the columns of each vector property that has a value: property → label → column."""
    columns: dict[str, dict[str, pa.ChunkedArray]] = {}
    for label, table in snapshot.nodes.items():
        for name, kind in snapshot.schema.nodes[label].properties.items():
            if kind == "vector" and table.column(name).null_count < table.num_rows:
                columns.setdefault(name, {})[label] = table.column(name)
    return columns


def _matrices(name: str, columns: dict[str, pa.ChunkedArray]) -> Vectors:
    lengths = {label: set(list_lengths(column.drop_null()).tolist()) for label, column in columns.items()}
    if len(set().union(*lengths.values())) > 1:
        raise DataError(
            [
                Problem(label, f"vectors of {', '.join(map(str, sorted(found)))} numbers", "one length", field=name)
                for label, found in lengths.items()
            ]
        )
    return {label: _matrix(column) for label, column in columns.items()}


def _matrix(column: pa.ChunkedArray) -> FloatArray:
    given = column.is_valid().to_numpy()
    numbers = np.asarray(pc.list_flatten(column).to_numpy(), dtype=np.float32).reshape(int(given.sum()), -1)
    vectors = np.zeros((len(column), numbers.shape[1]), dtype=np.float32)
    vectors[given] = numbers / np.maximum(np.linalg.norm(numbers, axis=1, keepdims=True), 1e-12)
    return vectors
