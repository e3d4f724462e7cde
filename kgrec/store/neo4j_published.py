"""What kgrec adds to a graph in Neo4j: vectors with their index, and recommendations by release."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.columns import to_mask
from kgrec.progress import track
from kgrec.schema import NodeLabel, Schema
from kgrec.snapshot import FloatArray
from kgrec.store import neo4j_rows as rows
from kgrec.store.base import NodeVectors, check_known
from kgrec.store.neo4j_database import Database
from kgrec.store.neo4j_lease import held
from kgrec.store.neo4j_load import write_batch
from kgrec.store.neo4j_rows import quote

_MARKER: Final = "release"
_RECOMMENDED: Final = "MATCH ()-[x:RECOMMENDED]->() WHERE x.release IS NOT NULL AND x.run IS NOT NULL"
"""What kgrec recommends; others may use the type for theirs."""

_VECTORS: Final = 1000
"""Vectors a transaction."""


def write_vectors(database: Database, label: str, ids: pa.Array, vectors: FloatArray) -> None:
    """Set the vectors of nodes, in indexed nodes `<label>Vector` (id, embedding); replaces earlier ones.

    Args:
        label: a label of the schema.
        ids: keys [n].
        vectors: float32 [n, d]; a row of zeros is a node without a vector, and is left out.
    """
    name, index = f"{label}Vector", _index(label)
    given = np.any(vectors != 0, axis=1)
    pairs = [list(row) for row in zip(ids.filter(pa.array(given)).to_pylist(), vectors[given].tolist(), strict=True)]
    database.constrain({name: "id"})
    if vector_length(database, label) not in (None, vectors.shape[1]):
        database.write(f"DROP INDEX {quote(index)} IF EXISTS")
    stamp = int(database.rows("RETURN timestamp() AS now")[0]["now"])
    query = (
        f"UNWIND $rows AS row MERGE (v:{quote(name)} {{id: row[0]}}) SET v.stamp = $stamp "
        "WITH v, row CALL db.create.setNodeVectorProperty(v, 'embedding', row[1])"
    )
    for part in rows.pieces(pairs, np.ones(len(pairs), np.int64), _VECTORS):
        database.write(query, rows=part, stamp=stamp)
    database.delete(f"MATCH (x:{quote(name)}) WHERE x.stamp <> $stamp", stamp=stamp)
    options = f"{{`vector.dimensions`: {vectors.shape[1]}, `vector.similarity_function`: 'cosine'}}"
    database.write(
        f"CREATE VECTOR INDEX {quote(index)} IF NOT EXISTS FOR (v:{quote(name)}) ON (v.embedding) "
        f"OPTIONS {{indexConfig: {options}}}"
    )
    database.rows("CALL db.awaitIndex($index, 300)", index=index)


def vector_length(database: Database, label: str) -> int | None:
    """Return the length of a label's vectors; None if it has none."""
    query = "SHOW VECTOR INDEXES YIELD name, options WHERE name = $index RETURN options"
    found = database.rows(query, index=_index(label))
    return int(found[0]["options"]["indexConfig"]["vector.dimensions"]) if found else None


def nearest(database: Database, label: str, node: NodeLabel, vector: FloatArray, k: int, foreign: bool) -> pd.DataFrame:
    """Return the k nodes of a label nearest to a vector [d] by cosine: columns `id`, `name`, `score`."""
    key = f"n.{quote(node.key)}"
    own = f"toString({key})" if foreign else key
    query = (
        "CALL db.index.vector.queryNodes($index, $enough, $vector) YIELD node AS v "
        "WITH v, 2 * vector.similarity.cosine(v.embedding, $vector) - 1 AS score "
        f"MATCH (n:{quote(label)}) WHERE {own} = v.id "
        f"RETURN v.id AS id, coalesce(toString(n.{quote(node.name or node.key)}), v.id) AS name, score "
        "ORDER BY score DESC, id LIMIT $k"
    )
    # The index is approximate: the nearest of more than k are the nearest k more surely.
    values = {"k": k, "enough": 2 * k + 10, "vector": np.asarray(vector, dtype=float).tolist()}
    found = database.rows(query, index=_index(label), **values)
    return pd.DataFrame([row.values() for row in found], columns=["id", "name", "score"])


def publish(database: Database, schema: Schema, recommendations: pa.Table, run: str, vectors: NodeVectors) -> None:
    """Replace what is recommended by these: a reader sees the old release or the new one, never half of one.

    Args:
        database: of the graph.
        schema: of the graph.
        recommendations: columns user_id, item_id, score, rank, graph, cf, content.
        run: name of the run they come from, written on each relationship.
        vectors: of the run; written before, once it is known that the recommendations can be.

    Raises:
        StoreLocked: another is publishing.
        StoreError: a user or an item is not in the graph, or the server failed.
    """
    user_ids, item_ids = (recommendations.column(name).cast(pa.string()) for name in ("user_id", "item_id"))
    users = _node_ids(database, schema, schema.roles.users, user_ids, "user")
    items = _node_ids(database, schema, schema.roles.items, item_ids, "item")
    for label, (ids, rows_of) in vectors.items():
        write_vectors(database, label, ids, rows_of)
    columns = [("rank", "int"), *((name, "float") for name in ("score", "graph", "cf", "content"))]
    table = pa.table({"src": users, "dst": items, **{name: recommendations.column(name) for name, _ in columns}})
    lists, sizes = rows.grouped(table, columns)
    shares = ", ".join(f"{name}: row[{2 + i}][i]" for i, (name, _) in enumerate(columns))
    query = (
        "UNWIND $rows AS row MATCH (u) WHERE elementId(u) = row[0] UNWIND range(0, size(row[1]) - 1) AS i "
        "MATCH (x) WHERE elementId(x) = row[1][i] "
        f"CREATE (u)-[:RECOMMENDED {{{shares}, run: $run, release: $release}}]->(x)"
    )
    database.constrain({"_Kgrec": "id", "Published": "id"})
    with database.session(write=True) as session, held(session, _MARKER, database.uri) as lease:
        current = _release(database)
        earlier = f"{_RECOMMENDED} AND x.release <> $keep"
        database.delete(earlier, keep=current)
        values = {"run": run, "release": current + 1}
        for part in track(list(rows.pieces(lists, sizes)), "publishing"):
            write_batch(lease, query, part, **values)
        point = "MERGE (now:Published {id: 'now'}) SET now.run = $run, now.release = $release"
        write_batch(lease, point, [], **values)
        database.delete(earlier, keep=values["release"])


def unpublish(database: Database, labels: Iterable[str]) -> None:
    """Remove recommendations, and the vectors of labels."""
    database.write("MATCH (now:Published {id: 'now'}) DELETE now")
    database.delete(_RECOMMENDED)
    database.write("DROP CONSTRAINT `kgrec_Published` IF EXISTS")
    for label in labels:
        database.write(f"DROP INDEX {quote(_index(label))} IF EXISTS")
        database.write(f"DROP CONSTRAINT {quote(f'kgrec_{label}Vector')} IF EXISTS")
        database.delete(f"MATCH (x:{quote(label + 'Vector')})")


def _release(database: Database) -> int:
    found = database.rows("MATCH (now:Published {id: 'now'}) RETURN now.release AS release")
    return int(found[0]["release"]) if found else 0


def _node_ids(
    database: Database, schema: Schema, labels: tuple[str, ...], ids: pa.ChunkedArray, role: str
) -> pa.ChunkedArray:
    """Return the server's ids of users or items [n], whatever label each has."""
    keys = {label: f"n.{quote(schema.nodes[label].key)}" for label in labels}
    queries = [f"MATCH (n:{quote(label)}) RETURN toString({key}), elementId(n)" for label, key in keys.items()]
    pairs = list(zip(*itertools.chain.from_iterable(map(database.rows, queries)), strict=True)) or [(), ()]
    known, found = (pa.array(part, pa.string()) for part in pairs)
    at = pc.index_in(ids, value_set=known)
    check_known(ids, to_mask(pc.is_valid(at)), role)
    return pa.chunked_array([found]).take(at)


def _index(label: str) -> str:
    return f"kgrec_{label}_embedding"
