"""What kgrec adds to a graph in Neo4j: vectors with their index, recommendations with the pointer to the current set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import StoreError
from kgrec.schema import Schema
from kgrec.snapshot import FloatArray
from kgrec.store.neo4j_connect import Connection, quote
from kgrec.store.neo4j_ddl import SCHEMA_LABEL, constraint, drop, require_key, stored_schema, vector_label
from kgrec.store.neo4j_lease import Lease, State
from kgrec.store.neo4j_load import leased, runner
from kgrec.store.neo4j_rows import Statement, each_source

if TYPE_CHECKING:
    from neo4j import ManagedTransaction

_NUMBERS: Final = ("score", "rank", "graph", "cf", "content")
VECTORS: Final = 500
"""Vectors of one transaction."""

SOURCES: Final = 1_000
"""Users whose recommendations are removed in one transaction."""

_WAIT: Final = 5
"""Seconds to wait for an index before the writer's marker is renewed."""


def publish(connection: Connection, schema: Schema, recommendations: pa.Table, run: str) -> None:
    """Write a new release beside the old one, switch the pointer, remove the old one.

    Raises:
        StoreError: a user or an item is not in the graph; nothing was written.
    """
    rows = pa.table(
        {
            "src": _element_ids(connection, schema, schema.roles.users, recommendations.column("user_id"), "user"),
            "dst": _element_ids(connection, schema, schema.roles.items, recommendations.column("item_id"), "item"),
            **{name: recommendations.column(name) for name in _NUMBERS},
        }
    )
    with leased(connection.transact, connection.uri, "publish") as lease:
        now = connection.read(_release)
        _remove(connection, lease, f"r.release <> {now}")
        statement = _recommend(rows)
        for parameters in statement.batches():
            values = parameters | {"run": run, "release": now + 1}
            lease.run(lambda tx, values=values: statement.run(tx, values))  # type: ignore[misc]
        lease.run(lambda tx: _point(tx, run, now + 1))
        _remove(connection, lease, f"r.release <> {now + 1}")
        lease.clear()


def unpublish(connection: Connection, state: State) -> None:
    """Remove the pointer, then recommendations and vectors, then, from a database that was adopted, the schema."""
    schema = stored_schema(state)
    if schema is None:
        return
    with leased(connection.transact, connection.uri, "unpublish") as lease:
        lease.run(lambda tx: tx.run("MATCH (p:Published {id: 'now'}) DELETE p").consume() and None)
        _remove(connection, lease, "r.release IS NOT NULL")
        for label in schema.nodes:
            _drop_vectors(connection, lease, label)
            drop(connection, [constraint(vector_label(label))])
        lease.clear(_forget if state.adopted else None)
    if state.adopted:
        drop(connection, [constraint(SCHEMA_LABEL)])


def write_vectors(connection: Connection, label: str, ids: pa.Array, vectors: FloatArray) -> None:
    """Replace the vectors of a label: keys [n] and float32 [n, d], rows of zeros left out."""
    given = np.flatnonzero(np.any(vectors != 0, axis=1))
    keys, kept = ids.take(pa.array(given)).to_pylist(), vectors[given]
    query = (
        f"UNWIND range(0, size($ids) - 1) AS n CREATE (v:{quote(vector_label(label))} {{id: $ids[n]}}) WITH v, n "
        "CALL db.create.setNodeVectorProperty(v, 'embedding', $vectors[n])"
    )
    with leased(connection.transact, connection.uri, "vectors") as lease:
        _drop_vectors(connection, lease, label)
        require_key(connection, vector_label(label), "id")
        for start in range(0, len(keys), VECTORS):
            part = slice(start, start + VECTORS)
            values = {"ids": keys[part], "vectors": kept[part].tolist()}
            lease.run(lambda tx, values=values: tx.run(query, values).consume() and None)  # type: ignore[misc]
        _create_index(connection, lease, label, vectors.shape[1])
        lease.clear()


def vector_length(connection: Connection, label: str) -> int | None:
    """Return the dimensions of a label's vectors; None if it has none."""
    query = "SHOW VECTOR INDEXES YIELD name, options WHERE name = $name RETURN options AS options"
    found = connection.read(lambda tx: tx.run(query, name=_index(label)).value())
    return int(found[0]["indexConfig"]["vector.dimensions"]) if found else None


def vector(connection: Connection, label: str, id_: str) -> FloatArray | None:
    """Return the vector [d] of a node; None if it has none."""
    query = f"MATCH (v:{quote(vector_label(label))} {{id: $id}}) RETURN v.embedding"
    found = connection.read(lambda tx: tx.run(query, id=id_).value())
    return np.asarray(found[0], dtype=np.float32) if found else None


def nearest(
    connection: Connection, schema: Schema, label: str, vector: FloatArray, k: int, foreign: bool
) -> pd.DataFrame:
    """Return the k nearest nodes by cosine: columns `id`, `name`, `score`.

    The index finds twice as many, since it is not exact; those are put in exact order.
    """
    node = schema.nodes[label]
    key = f"toString(n.{quote(node.key)})" if foreign else f"n.{quote(node.key)}"
    query = (
        "CALL db.index.vector.queryNodes($index, $k, $vector) YIELD node AS v "
        f"MATCH (n:{quote(label)}) WHERE {key} = v.id "
        f"RETURN v.id, coalesce(toString(n.{quote(node.name or node.key)}), v.id), v.embedding"
    )
    values = {"index": _index(label), "k": 2 * k + 10, "vector": np.asarray(vector, dtype=float).tolist()}
    found = connection.read(lambda tx: runner(tx)(query, values))
    ids, names, embeddings = map(list, zip(*found, strict=True)) if found else ([], [], [])
    scores = _cosine(
        np.asarray(embeddings, dtype=float).reshape(len(ids), len(vector)), np.asarray(vector, dtype=float)
    )
    frame = pd.DataFrame({"id": ids, "name": names, "score": scores})
    return frame.sort_values(["score", "id"], ascending=[False, True]).head(k).reset_index(drop=True)


def _cosine(matrix: np.ndarray[Any, Any], vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector)
    return np.asarray(matrix @ vector / np.where(lengths > 0, lengths, 1))


def _element_ids(
    connection: Connection, schema: Schema, labels: Iterable[str], keys: pa.ChunkedArray, role: str
) -> pa.ChunkedArray:
    """Return what the server calls the nodes of a role that have these keys [n]; keys may be numbers there."""
    there, names = [pa.array([], pa.string())], [pa.array([], pa.string())]
    for label in labels:
        key = f"a.{quote(schema.nodes[label].key)}"
        query = (
            f"MATCH (a:{quote(label)}) WHERE {key} IS NOT NULL WITH collect(a) AS all "
            "RETURN [a IN all | toString({key})] AS keys, [a IN all | elementId(a)] AS ids".replace("{key}", key)
        )
        [[found, ids]] = connection.read(lambda tx, query=query: runner(tx)(query, {}))  # type: ignore[misc]
        there.append(pa.array(found, pa.string()))
        names.append(pa.array(ids, pa.string()))
    numbers = pc.index_in(keys.cast(pa.string()), value_set=pa.concat_arrays(there))
    lost = keys.filter(pc.is_null(numbers))
    if len(lost):
        shown = ", ".join(repr(i) for i in lost.unique().to_pylist()[:5])
        raise StoreError(f"recommendations for {role}s that are not in the graph: {shown}; load them first")
    return pa.chunked_array([pa.concat_arrays(names)]).take(numbers)


def _recommend(rows: pa.Table) -> Statement:
    values = ", ".join(f"{name}: $c{i}[i]" for i, name in enumerate(_NUMBERS, 1))
    query = (
        f"{each_source('MATCH (a) WHERE elementId(a) = $src[n]')} MATCH (b) WHERE elementId(b) = $c0[i] "
        f"CREATE (a)-[:RECOMMENDED {{{values}, run: $run, release: $release}}]->(b)"
    )
    return Statement(query, rows, ["string", "string", "float", "int", "float", "float", "float"], grouped=True)


def _release(tx: ManagedTransaction) -> int:
    """Return the number of the current release; 0 if there is none."""
    found = tx.run("MATCH (p:Published {id: 'now'}) RETURN p.release").value()
    return int(found[0]) if found else 0


def _point(tx: ManagedTransaction, run: str, release: int) -> None:
    query = "MERGE (p:Published {id: 'now'}) SET p.run = $run, p.release = $release"
    tx.run(query, run=run, release=release).consume()


def _remove(connection: Connection, lease: Lease, which: str) -> None:
    """Remove the recommendations `r` of a condition. Those that kgrec did not write have no release, and stay."""
    query = f"MATCH (a)-[r:RECOMMENDED]->() WHERE {which} RETURN DISTINCT elementId(a)"
    users = connection.read(lambda tx: tx.run(query).value())  # type: ignore[arg-type]
    delete = f"UNWIND $users AS u MATCH (a) WHERE elementId(a) = u MATCH (a)-[r:RECOMMENDED]->() WHERE {which} DELETE r"
    for start in range(0, len(users), SOURCES):
        part = users[start : start + SOURCES]
        lease.run(lambda tx, part=part: tx.run(delete, users=part).consume() and None)  # type: ignore[misc]


def _forget(tx: ManagedTransaction) -> None:
    tx.run("MATCH (s:_Kgrec {id: 'schema'}) DELETE s").consume()


def _index(label: str) -> str:
    return f"kgrec_{vector_label(label)}_embedding"


def _drop_vectors(connection: Connection, lease: Lease, label: str) -> None:
    """Remove a label's vectors, their index first: no search finds half of them."""
    connection.declare(f"DROP INDEX {quote(_index(label))} IF EXISTS")
    name = quote(vector_label(label))
    for _ in _until_zero(connection, f"MATCH (v:{name}) RETURN count(v)"):
        lease.run(lambda tx: tx.run(f"MATCH (v:{name}) WITH v LIMIT 10000 DELETE v").consume() and None)  # type: ignore[arg-type]


def _until_zero(connection: Connection, query: str) -> Iterator[None]:
    while connection.read(lambda tx: tx.run(query).value())[0]:  # type: ignore[arg-type]
        yield


def _create_index(connection: Connection, lease: Lease, label: str, dimensions: int) -> None:
    """Declare the index and wait for it."""
    config = f"`vector.dimensions`: {int(dimensions)}, `vector.similarity_function`: 'cosine'"
    connection.declare(
        f"CREATE VECTOR INDEX {quote(_index(label))} IF NOT EXISTS FOR (v:{quote(vector_label(label))}) "
        f"ON (v.embedding) OPTIONS {{indexConfig: {{{config}}}}}"
    )
    state = "SHOW INDEXES YIELD name, state WHERE name = $name RETURN state"
    wait = f"CALL db.awaitIndex($name, {_WAIT})"
    while True:
        lease.run(lambda tx: None)
        try:
            connection.read(lambda tx: tx.run(wait, name=_index(label)).consume())  # type: ignore[arg-type]
            return
        except StoreError:
            [now] = connection.read(lambda tx: tx.run(state, name=_index(label)).value())
            if now != "POPULATING":
                raise
