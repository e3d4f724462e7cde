"""Publishing recommendations and vectors in Neo4j under release numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.progress import track
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.columns import SHARE_COLUMNS, to_mask
from kgrec.data.schema import Schema
from kgrec.store.base import NodeVectors, check_known
from kgrec.store.neo4j import rows
from kgrec.store.neo4j import vectors as neo4j_vectors
from kgrec.store.neo4j.database import Database
from kgrec.store.neo4j.lease import hold
from kgrec.store.neo4j.rows import quote
from kgrec.store.neo4j.write import write_batch

_MARKER: Final = "release"
_RECOMMENDED: Final = "MATCH ()-[x:RECOMMENDED]->() WHERE x.release IS NOT NULL AND x.run IS NOT NULL"
"""Matches the recommendations of kgrec; other programs may use the same relationship type."""

_EARLIER: Final = f"{_RECOMMENDED} AND x.release <> $keep"
_POINT: Final = "MERGE (now:Published {id: 'now'}) SET now.run = $run, now.release = $release"


def write_vectors(database: Database, label: str, ids: pa.Array, vectors: FloatArray) -> None:
    """Replace the vectors of a label in one step; arguments as in `vectors.stage`.

    Raises:
        StoreLocked: another process is publishing.
    """
    database.constrain({"_Kgrec": "id"})
    with database.session(write=True) as session, hold(session, _MARKER, database.uri) as lease:
        staged = neo4j_vectors.stage(database, lease, label, ids, vectors, neo4j_vectors.last_release(database) + 1)
        write_batch(lease, neo4j_vectors.MARK, [staged.row])
        neo4j_vectors.sweep(database, [label])


def publish(
    database: Database, schema: Schema, recommendations: pa.Table, run: str, vectors: NodeVectors | None
) -> None:
    """Replace recommendations and vectors atomically: a reader sees either the old release or the new one.

    Args:
        database: database of the graph.
        schema: schema of the graph.
        recommendations: columns user_id, item_id, score, rank, graph, cf, content.
        run: name of the run that made the recommendations; stored on each relationship.
        vectors: vectors of the run, which replace those of all labels; None keeps the stored vectors.

    Raises:
        StoreLocked: another process is publishing.
        StoreError: a user or an item is not in the graph, or the server failed.
    """
    query, lists, sizes = _lists(database, schema, recommendations)
    database.constrain({"_Kgrec": "id", "Published": "id"})
    with database.session(write=True) as session, hold(session, _MARKER, database.uri) as lease:
        database.delete(_EARLIER, keep=_release(database))  # leftovers of an interrupted publication
        release = neo4j_vectors.last_release(database) + 1
        values: dict[str, Any] = {"run": run, "release": release}
        staged = [
            neo4j_vectors.stage(database, lease, label, *of, release).row for label, of in (vectors or {}).items()
        ]
        for part in track(list(rows.pieces(lists, sizes)), "publishing"):
            write_batch(lease, query, part, **values)
        switch = f"{_POINT} WITH now {neo4j_vectors.MARK}"
        write_batch(lease, switch if vectors is None else f"{switch} {neo4j_vectors.UNMARK_OTHERS}", staged, **values)
        database.delete(_EARLIER, keep=release)
        neo4j_vectors.sweep(database, schema.nodes)


def _lists(database: Database, schema: Schema, recommendations: pa.Table) -> tuple[str, list[list[Any]], IntArray]:
    """Return the statement that writes recommendation lists, its rows (one per user), and their numbers of items.

    Raises:
        StoreError: a user or an item is not in the graph.
    """
    user_ids, item_ids = (recommendations.column(name).cast(pa.string()) for name in ("user_id", "item_id"))
    users = _node_ids(database, schema, schema.roles.users, user_ids, "user")
    items = _node_ids(database, schema, schema.roles.items, item_ids, "item")
    columns = [("rank", "int"), *((name, "float") for name in ("score", *SHARE_COLUMNS))]
    table = pa.table({"src": users, "dst": items, **{name: recommendations.column(name) for name, _ in columns}})
    lists, sizes = rows.grouped(table, columns)
    shares = ", ".join(f"{name}: row[{2 + i}][i]" for i, (name, _) in enumerate(columns))
    query = (
        "UNWIND $rows AS row MATCH (u) WHERE elementId(u) = row[0] UNWIND range(0, size(row[1]) - 1) AS i "
        "MATCH (x) WHERE elementId(x) = row[1][i] "
        f"CREATE (u)-[:RECOMMENDED {{{shares}, run: $run, release: $release}}]->(x)"
    )
    return query, lists, sizes


def unpublish(database: Database, labels: Iterable[str]) -> None:
    """Remove all recommendations and the vectors of the labels."""
    database.write("MATCH (now:Published {id: 'now'}) DELETE now")
    database.delete(_RECOMMENDED)
    database.write("DROP CONSTRAINT `kgrec_Published` IF EXISTS")
    neo4j_vectors.clear(database, labels)


def _release(database: Database) -> int:
    rows = database.rows("MATCH (now:Published {id: 'now'}) RETURN now.release AS release")
    return int(rows[0]["release"]) if rows else 0


def _node_ids(
    database: Database, schema: Schema, labels: tuple[str, ...], ids: pa.ChunkedArray, role: str
) -> pa.ChunkedArray:
    """Return the server's element ids of users or items [n] of any of the labels."""
    keys = {label: f"n.{quote(schema.nodes[label].key)}" for label in labels}
    queries = [f"MATCH (n:{quote(label)}) RETURN toString({key}), elementId(n)" for label, key in keys.items()]
    pairs = list(zip(*itertools.chain.from_iterable(map(database.rows, queries)), strict=True)) or [(), ()]
    known, element_ids = (pa.array(part, pa.string()) for part in pairs)
    at = pc.index_in(ids, value_set=known)
    check_known(ids, to_mask(pc.is_valid(at)), role)
    return pa.chunked_array([element_ids]).take(at)
