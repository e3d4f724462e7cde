"""Vectors in an RDF store: one named graph per label, with the id and the numbers of each node as literals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.types import FloatArray
from kgrec.data.schema import Schema
from kgrec.data.schema_checks import PREFIXES
from kgrec.rdf.encode import lines, literals
from kgrec.rdf.iris import node_iris
from kgrec.rdf.literals import split
from kgrec.rdf.triples import Triples

if TYPE_CHECKING:
    import pyoxigraph

KGREC: Final = PREFIXES["kgrec"]
EMBEDDING: Final = KGREC + "embedding"
ID: Final = KGREC + "id"


def vector_graph(label: str) -> pyoxigraph.NamedNode:
    """Return the named graph that holds the vectors of a label."""
    import pyoxigraph as ox

    return ox.NamedNode(f"{KGREC}vectors/{label}")


def vector_lines(schema: Schema, label: str, ids: pa.Array, vectors: FloatArray) -> list[pa.ChunkedArray]:
    """Return vectors as lines of N-Triples.

    Args:
        schema: schema of the graph.
        label: a label of the schema.
        ids: keys of nodes [n].
        vectors: float32 [n, d]; a row of zeros means no vector and is left out.
    """
    given = np.any(vectors != 0, axis=1)
    keys = pa.chunked_array([ids.filter(pa.array(given))], pa.string())
    flat = pa.array(np.ascontiguousarray(vectors[given], dtype=np.float32).ravel()).cast(pa.string())
    bounds = pa.array(np.arange(len(keys) + 1) * vectors.shape[1], pa.int32())
    texts = pa.chunked_array([pc.binary_join(pa.ListArray.from_arrays(bounds, flat), " ")])
    iris = node_iris(schema, label, keys)
    return [lines(iris, ID, literals(keys, "string")), lines(iris, EMBEDDING, literals(texts, "string"))]


def read_vectors(triples: Triples) -> tuple[pa.Array, FloatArray]:
    """Return the keys [n] and the vectors [n, d] in the triples of a vector graph."""
    rows = {name: triples.rows(name) for name in (ID, EMBEDDING)}
    ids, texts = (
        pa.table({"node": triples.subjects.take(pa.array(r)), name: split(triples.objects.take(pa.array(r)))["text"]})
        for name, r in rows.items()
    )
    both = ids.join(texts, "node").combine_chunks()
    lists = pc.split_pattern(both.column(EMBEDDING).combine_chunks(), " ")
    flat = lists.flatten().cast(pa.float32()).to_numpy()
    return both.column(ID).combine_chunks().cast(pa.string()), flat.reshape(len(both), -1)


def nearest(ids: pa.Array, vectors: FloatArray, vector: FloatArray, k: int) -> pd.DataFrame:
    """Return the k rows of vectors [n, d] with the highest cosine similarity to a vector [d]: `id`, `score`."""
    scale = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    scores = vectors @ vector / np.where(scale == 0, 1, scale)
    best = np.lexsort([np.asarray(ids), -scores])[:k]
    return pd.DataFrame({"id": ids.take(pa.array(best)).to_pylist(), "score": scores[best].astype(float)})
