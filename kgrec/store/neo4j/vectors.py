"""Vectors in Neo4j: nodes `<label>Vector` (id, embedding, release), of which one release is current.

New vectors are written to the unused one of two slots, beside the current vectors. Each slot has its own index, so the
new vectors may have another length. A marker, the node `_Kgrec` with the id `<label>Vector`, names the current release
and slot. Markers change in the transaction that publishes recommendations, so both become current in one step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from kgrec._util.types import FloatArray
from kgrec.data.schema_parts import NodeLabel
from kgrec.errors import StoreError
from kgrec.store.neo4j import rows
from kgrec.store.neo4j.database import Database
from kgrec.store.neo4j.lease import Lease
from kgrec.store.neo4j.rows import quote
from kgrec.store.neo4j.write import write_batch

MARK: Final = (
    "FOREACH (row IN $rows | MERGE (k:`_Kgrec` {id: row[0]}) "
    "SET k.release = row[1], k.slot = row[2], k.length = row[3]) "
)
"""Makes vectors current; `$rows` are the rows of their markers."""

UNMARK_OTHERS: Final = (
    "WITH [row IN $rows | row[0]] AS stay OPTIONAL MATCH (k:`_Kgrec`) "
    "WHERE k.slot IS NOT NULL AND NOT k.id IN stay DELETE k"
)
"""Removes the markers of all labels that are not in the `$rows` of `MARK`."""

_BATCH_VECTORS: Final = 1000
"""Vectors per transaction."""


@dataclass(frozen=True)
class Marker:
    """The current vectors of a label.

    Attributes:
        id_: `<label>Vector`.
        release: release number of the vectors.
        slot: slot of the vectors, 0 or 1.
        length: length of each vector.
    """

    id_: str
    release: int
    slot: int
    length: int

    @property
    def row(self) -> list[Any]:
        """The marker as a row of `MARK`."""
        return list(astuple(self))


def marker(database: Database, label: str) -> Marker | None:
    """Return the marker of a label's current vectors; None if the label has no vectors."""
    query = (
        "MATCH (k:`_Kgrec` {id: $id}) WHERE k.slot IS NOT NULL "
        "RETURN k.release AS release, k.slot AS slot, k.length AS length"
    )
    rows = database.rows(query, id=_name(label))
    return Marker(_name(label), *rows[0].values()) if rows else None


def labels_of(label: str) -> set[str]:
    """Return the labels of the nodes that hold a label's vectors."""
    return {_name(label), _slot(label, 0), _slot(label, 1)}


def last_release(database: Database) -> int:
    """Return the highest current release number of recommendations and vectors; 0 if there are none."""
    query = "MATCH (k) WHERE k:Published OR k:`_Kgrec` RETURN coalesce(max(k.release), 0) AS release"
    return int(database.rows(query)[0]["release"])


def stage(database: Database, lease: Lease, label: str, ids: pa.Array, vectors: FloatArray, release: int) -> Marker:
    """Write vectors under a release that is not current yet, and wait for their index.

    Args:
        database: database of the graph.
        lease: a lease that is held.
        label: a label of the schema.
        ids: keys of nodes [n].
        vectors: float32 [n, d]; a row of zeros means no vector and is not stored.
        release: release number of the vectors.

    Returns:
        The marker that makes the vectors current.
    """
    there = marker(database, label)
    slot, name = 1 - there.slot if there else 0, _name(label)
    own, index = _slot(label, slot), _index(label, slot)
    database.write(f"DROP CONSTRAINT {quote(f'kgrec_{name}')} IF EXISTS")  # left by versions without slots
    database.write(f"CREATE INDEX {quote(f'kgrec_{name}_id')} IF NOT EXISTS FOR (v:{quote(name)}) ON (v.id)")
    database.write(f"DROP INDEX {quote(index)} IF EXISTS")
    database.delete(f"MATCH (x:{quote(own)})")
    given = np.any(vectors != 0, axis=1)
    pairs = [list(row) for row in zip(ids.filter(pa.array(given)).to_pylist(), vectors[given].tolist(), strict=True)]
    query = (
        f"UNWIND $rows AS row CREATE (v:{quote(name)}:{quote(own)} {{id: row[0], release: $release}}) "
        "WITH v, row CALL db.create.setNodeVectorProperty(v, 'embedding', row[1])"
    )
    for part in rows.pieces(pairs, np.ones(len(pairs), np.int64), _BATCH_VECTORS):
        write_batch(lease, query, part, release=release)
    options = f"{{`vector.dimensions`: {vectors.shape[1]}, `vector.similarity_function`: 'cosine'}}"
    database.write(
        f"CREATE VECTOR INDEX {quote(index)} FOR (v:{quote(own)}) ON (v.embedding) OPTIONS {{indexConfig: {options}}}"
    )
    _await(database, lease, index)
    return Marker(name, release, slot, vectors.shape[1])


def sweep(database: Database, labels: Iterable[str]) -> None:
    """Remove the vectors of the labels that are not current."""
    for label in labels:
        counting = marker(database, label)
        keep = counting.release if counting else None
        query = f"MATCH (x:{quote(_name(label))}) WHERE $keep IS NULL OR coalesce(x.release, 0) <> $keep"
        database.delete(query, keep=keep)


def clear(database: Database, labels: Iterable[str]) -> None:
    """Remove all vectors of the labels with their markers, indexes and constraints."""
    database.write("MATCH (k:`_Kgrec`) WHERE k.slot IS NOT NULL DELETE k")
    for label in labels:
        for index in (_index(label, 0), _index(label, 1), f"kgrec_{_name(label)}_id"):
            database.write(f"DROP INDEX {quote(index)} IF EXISTS")
        database.write(f"DROP CONSTRAINT {quote(f'kgrec_{_name(label)}')} IF EXISTS")
        database.delete(f"MATCH (x:{quote(_name(label))})")


def vector(database: Database, label: str, id_: str) -> FloatArray | None:
    """Return the current vector [d] of a node; None if the node has no vector."""
    query = (
        f"MATCH (k:`_Kgrec` {{id: $name}}) MATCH (v:{quote(_name(label))} {{id: $id}}) WHERE v.release = k.release "
        "RETURN v.embedding AS vector"
    )
    rows = database.rows(query, id=id_, name=_name(label))
    return np.asarray(rows[0]["vector"], dtype=np.float32) if rows else None


def nearest(database: Database, label: str, node: NodeLabel, vector: FloatArray, k: int, foreign: bool) -> pd.DataFrame:
    """Return the k nodes of a label with the highest cosine similarity to a vector [d]: `id`, `name`, `score`."""
    key = f"n.{quote(node.key)}"
    own = f"toString({key})" if foreign else key
    query = (
        "MATCH (m:`_Kgrec` {id: $marker}) "
        "CALL db.index.vector.queryNodes($index + toString(m.slot), $enough, $vector) YIELD node AS v "
        "WITH m, v WHERE v.release = m.release "
        "WITH v, 2 * vector.similarity.cosine(v.embedding, $vector) - 1 AS score "
        f"MATCH (n:{quote(label)}) WHERE {own} = v.id "
        f"RETURN v.id AS id, coalesce(toString(n.{quote(node.name or node.key)}), v.id) AS name, score "
        "ORDER BY score DESC, id LIMIT $k"
    )
    # The index is approximate; asking for more than k neighbors makes the best k more accurate.
    values = {"k": k, "enough": 2 * k + 10, "vector": np.asarray(vector, dtype=float).tolist()}
    rows = database.rows(query, marker=_name(label), index=_index(label, ""), **values)
    return pd.DataFrame([row.values() for row in rows], columns=["id", "name", "score"])


def _await(database: Database, lease: Lease, index: str) -> None:
    """Wait until an index is populated, and renew the lease in the meantime."""
    query = "SHOW VECTOR INDEXES YIELD name, state WHERE name = $index RETURN state"
    while (state := database.rows(query, index=index)[0]["state"]) == "POPULATING":
        write_batch(lease, "RETURN $rows", [])
        time.sleep(0.05)
    if state != "ONLINE":
        raise StoreError(f"{database.uri}: the vector index {index} is {state}; publish again")


def _name(label: str) -> str:
    return f"{label}Vector"


def _slot(label: str, slot: int) -> str:
    return f"_{label}Vector{slot}"


def _index(label: str, slot: int | str) -> str:
    return f"kgrec_{label}_embedding_{slot}"
