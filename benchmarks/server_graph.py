"""One million behaviors into Neo4j and out again, beside hand-written loops over the same driver.

    eval "$(../shared/neo4j/start)"        # or any server: NEO4J_URI, NEO4J_USER, NEO4J_PASSWORD; it is emptied!
    python benchmarks/server_graph.py

The hand-written write is `UNWIND $rows` with two MATCH by key and CREATE, in the batch size that was fastest on a fifth
of the data; the hand-written read is the fastest of three queries, each with two sizes of what the driver fetches at a
time. Both sides write the same nodes and relationships, in turn; kgrec's times include the check of every id, value and
key, and Arrow tables. Results go to results/server_graph.json.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import neo4j
import numpy as np
import pyarrow as pa
from bulk_load import N_BEHAVIORS, N_ITEMS, N_USERS, make_tables

from kgrec.data.tables import GraphTables
from kgrec.store import open_graph
from kgrec.store.neo4j.store import Neo4jStore

RESULTS = Path(__file__).parent / "results" / "server_graph.json"
ROUNDS = 2
ROUNDS_OF_READS = 5
SIZES = (5_000, 10_000, 20_000, 50_000)
RATED = ("User", "RATED", "Item")
NODES = "UNWIND $rows AS row CREATE (n:{label}) SET n = row"
EDGES = (
    "UNWIND $rows AS row MATCH (u:User {user_id: row.src}) MATCH (i:Item {item_id: row.dst}) "
    "CREATE (u)-[:RATED {rating: row.rating, timestamp: row.timestamp}]->(i)"
)
LISTS = "collect(i.item_id) AS ids, collect(r.rating) AS ratings, collect(r.timestamp) AS times"
READS = {
    "a record a relationship": "MATCH (u:User)-[r:RATED]->(i:Item) RETURN u.user_id, i.item_id, r.rating, r.timestamp",
    "collected by user": f"MATCH (u:User)-[r:RATED]->(i:Item) RETURN u.user_id, {LISTS}",
    "collected in a subquery": (
        f"MATCH (u:User) CALL (u) {{ MATCH (u)-[r:RATED]->(i:Item) RETURN {LISTS} }} "
        "RETURN u.user_id, ids, ratings, times"
    ),
}
FETCHES = (1_000, 10_000)
"""Records that the driver fetches at a time; 1,000 if it is not told."""


def tables_to_write() -> GraphTables:
    made = make_tables()
    nodes = {label: made.nodes[label] for label in ("User", "Item")}
    return GraphTables(made.schema, nodes, {RATED: made.edges[RATED]})


def clear(driver: neo4j.Driver) -> None:
    with driver.session() as session:
        session.run("MATCH ()-[r]->() CALL (r) { DELETE r } IN TRANSACTIONS OF 20000 ROWS").consume()
        session.run("MATCH (n) CALL (n) { DELETE n } IN TRANSACTIONS OF 20000 ROWS").consume()
        for row in session.run("SHOW CONSTRAINTS YIELD name").data():
            session.run(f"DROP CONSTRAINT `{row['name']}`").consume()


def connected(uri: str) -> neo4j.Driver:
    auth = (os.environ.get("NEO4J_USER", "neo4j"), os.environ["NEO4J_PASSWORD"])
    return neo4j.GraphDatabase.driver(uri, auth=auth, notifications_min_severity="OFF")


def by_hand(driver: neo4j.Driver, tables: GraphTables, size: int, n: int = N_BEHAVIORS) -> None:
    with driver.session() as session:
        for label, key in (("User", "user_id"), ("Item", "item_id")):
            session.run(f"CREATE CONSTRAINT {label} IF NOT EXISTS FOR (n:{label}) REQUIRE n.{key} IS UNIQUE").consume()
            write(session, NODES.format(label=label), tables.nodes[label], size)
        write(session, EDGES, tables.edges[RATED].slice(0, n), size)


def write(session: neo4j.Session, query: str, table: pa.Table, size: int) -> None:
    for start in range(0, table.num_rows, size):
        rows = table.slice(start, size).to_pylist()
        session.execute_write(lambda work, rows=rows: work.run(query, rows=rows).consume())


def read_by_hand(driver: neo4j.Driver, way: str, fetch: int) -> None:
    with driver.session(fetch_size=fetch) as session:
        users, *others = zip(*session.run(READS[way]), strict=True)
    is_flat = len(users) == N_BEHAVIORS
    columns = [np.array(users), *map(np.array, others)] if is_flat else flat(users, others)
    assert all(len(column) == N_BEHAVIORS for column in columns)


def flat(users: tuple[str, ...], lists: list[tuple[list[Any], ...]]) -> list[np.ndarray]:
    counts = [len(ids) for ids in lists[0]]
    return [np.repeat(np.array(users), counts), *(np.array(list(itertools.chain(*column))) for column in lists)]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 3)


def main() -> None:
    uri, tables = os.environ["NEO4J_URI"], tables_to_write()
    times: dict[str, list[float]] = {}
    with connected(uri) as driver:
        sizes = {}
        for size in (SIZES[2], *SIZES):  # the first one warms the server up
            clear(driver)
            sizes[size] = seconds(lambda size=size: by_hand(driver, tables, size, N_BEHAVIORS // 5))
        best = min(sizes, key=lambda size: sizes[size])
        for _ in range(ROUNDS):
            clear(driver)
            note(times, "by_hand_write", seconds(lambda: by_hand(driver, tables, best)))
            clear(driver)
            note(times, "kgrec_write", seconds(lambda: kgrec_write(uri, tables)))
        schema = tables.schema
        with Neo4jStore(uri, read_only=True) as store, store._database.session() as session:
            from kgrec.store.neo4j.rows import read_edges

            ways = {}
            for _ in range(2):  # the first round warms the server up
                for way in itertools.product(READS, FETCHES):
                    ways[way] = seconds(lambda way=way: read_by_hand(driver, *way))
            fastest = min(ways, key=lambda way: ways[way])
            for _ in range(ROUNDS_OF_READS):
                note(times, "by_hand_read", seconds(lambda: read_by_hand(driver, *fastest)))
                note(times, "kgrec_read", seconds(lambda: read_edges(session, schema, RATED, foreign=False)))
            note(times, "kgrec_snapshot", seconds(store.snapshot))
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/graph.lbug"
        note(times, "embedded_write", seconds(lambda: kgrec_write(path, tables)))
        with open_graph(path, read_only=True) as store:
            note(times, "embedded_snapshot", seconds(store.snapshot))
    report(times, sizes, ways)


def kgrec_write(uri: str, tables: GraphTables) -> None:
    with open_graph(uri, create=True) as store:
        store.write(tables)


def note(times: dict[str, list[float]], name: str, found: float) -> None:
    times.setdefault(name, []).append(found)
    print(f"{name}: {found} s", flush=True)


def report(times: dict[str, list[float]], sizes: dict[int, float], ways: dict[tuple[str, int], float]) -> None:
    medians = {name: round(statistics.median(found), 3) for name, found in times.items()}
    result = {
        "command": "python benchmarks/server_graph.py",
        "graph": f"{N_USERS} users, {N_ITEMS} items, {N_BEHAVIORS} behaviors with rating and time",
        "wall_s": medians,
        "wall_s_all": times,
        "fifth_by_batch_size_s": {str(size): found for size, found in sizes.items()},
        "read_by_way_and_fetch_s": {f"{way}, {fetch}": found for (way, fetch), found in ways.items()},
        "write_to_hand": round(medians["kgrec_write"] / medians["by_hand_write"], 3),
        "read_to_hand": round(medians["kgrec_read"] / medians["by_hand_read"], 3),
        "machine": f"server and client on {os.cpu_count()} cores, {platform.machine()}, driver {neo4j.__version__}",
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
