from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreError, StoreLocked, UsageError
from kgrec.store import open_graph
from kgrec.store.ladybug.store import LadybugStore
from kgrec.testing.graphs import two_communities
from kgrec.testing.store_contract import (
    BOUGHT,
    SCHEMA,
    CypherStoreContract,
    contract_tables,
    digest,
    recommendations,
)

pytestmark = pytest.mark.slow


class TestLadybug(CypherStoreContract):
    engine, uri = LadybugStore, "{}/graph.lbug"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds the small graph."""
    with LadybugStore(tmp_path / "graph.lbug") as store:
        store.write(contract_tables())
    return tmp_path / "graph.lbug"


def many(n: int) -> GraphTables:
    """The small graph with n behaviors more."""
    tables = contract_tables()
    edge_type = ("User", "MATCH", "Item")
    times = [float(10 + i) for i in range(n)]
    more = pa.table({"src": ["a"] * n, "dst": ["i1"] * n, "weight": times, "timestamp": times})
    return GraphTables(SCHEMA, tables.nodes, {**tables.edges, edge_type: more})


def test_tables_with_empty_chunks_are_stored_whole(tmp_path: Path) -> None:
    """One file without rows before, between or after others makes such a chunk."""
    whole = many(30)

    def with_gaps(table: pa.Table) -> pa.Table:
        first = min(2, table.num_rows)
        return pa.concat_tables([table.slice(0, 0), table.slice(0, first), table.slice(0, 0), table.slice(first)])

    nodes = {label: with_gaps(table) for label, table in whole.nodes.items()}
    edges = {edge_type: with_gaps(table) for edge_type, table in whole.edges.items()}
    with LadybugStore(tmp_path / "graph.lbug") as store:
        store.write(GraphTables(SCHEMA, nodes, edges))
        assert store.snapshot().digest == digest(whole)


PRELUDE = """
import sys
sys.path.insert(0, {tests!r})
from test_ladybug import *
path = Path(sys.argv[1])
"""


def python(code: str, path: Path) -> subprocess.Popen[str]:
    """Run code in another process, with this module's names and `path`."""
    tests, root = Path(__file__).parent, Path(__file__).parents[3]
    code = PRELUDE.format(tests=str(tests)) + textwrap.dedent(code)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line a process prints."""
    assert process.stdout
    return process.stdout.readline()


@pytest.mark.parametrize("uri", ["mysql://host", "http://host:7687", "virtuoso:folder"])
def test_open_unknown_scheme_fails(uri: str) -> None:
    with pytest.raises(StoreError, match=r"unknown kind of graph '\w+'. Expected a path such as shop\.lbug, oxigraph"):
        open_graph(uri, create=True)


def test_create_makes_parent_folder(tmp_path: Path) -> None:
    with open_graph(tmp_path / "new" / "graph.lbug", create=True) as store:
        assert store.schema is None


@pytest.mark.parametrize("name", ["missing.lbug", "missing/graph.lbug"])
def test_open_missing_graph_fails(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"no graph at .*. Run: kgrec load"):
        open_graph(tmp_path / name, read_only=True)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_open_foreign_file_fails(tmp_path: Path, read_only: bool) -> None:
    junk = tmp_path / "notes.txt"
    junk.write_text("hello " * 1000)
    with pytest.raises(StoreError, match=r"cannot open the graph .*notes\.txt"):
        open_graph(junk, read_only)
    assert junk.read_text() == "hello " * 1000


def test_open_folder_fails(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot open .* for writing: Is a directory"):
        open_graph(tmp_path, create=True)


def test_closed_store_says_so(path: Path) -> None:
    store = open_graph(path, create=True)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed; open it again"):
        assert store.schema is None


def test_read_only_store_refuses_writes(path: Path) -> None:
    with open_graph(path, read_only=True) as store, pytest.raises(StoreError, match="open read-only"):
        store.write(contract_tables())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"nodes": {"user": {"key": "id"}}}, "'user'"),
        ({"nodes": {"match": {"key": "id"}}}, "'match'"),
        ({"nodes": {"Box": {"key": "id", "properties": {"ID": "int"}}}}, "Box: 'ID'"),
        ({"nodes": {"Box": {"key": "_id"}}}, "Box: '_id'"),
        ({"relationships": {"GAVE": {"from": "User", "to": "Item", "properties": {"from": "int"}}}}, "GAVE: 'from'"),
    ],
)
def test_indistinguishable_names_are_refused(path: Path, change: dict[str, dict[str, object]], name: str) -> None:
    data = SCHEMA.to_dict()
    for part, kinds in change.items():
        data[part].update(kinds)
    with open_graph(path, create=True) as store:
        with pytest.raises(StoreError, match=f"cannot distinguish these names .*{name}"):
            store.apply(Schema.from_dict(data))
        assert store.schema == SCHEMA


def test_second_writer_is_refused_with_the_holder(path: Path) -> None:
    with (
        open_graph(path, create=True),
        pytest.raises(StoreLocked, match=r"graph\.lbug is open for writing in this process"),
    ):
        open_graph(path, create=True)
    open_graph(path, create=True).close()


def test_writer_of_another_process_is_named(path: Path) -> None:
    code = """
        with open_graph(path, create=True):
            with open_graph(path, read_only=True):
                pass
            print("open", flush=True)
            time.sleep(60)
    """
    with python(code, path) as writer:
        assert line(writer) == "open\n"
        with pytest.raises(StoreLocked, match=f"open for writing in process {writer.pid}; wait .* read_only=True"):
            open_graph(path, create=True)
        with open_graph(path, read_only=True) as reader:
            assert reader.snapshot().digest == digest(contract_tables())
        writer.kill()


def test_reader_sees_finished_writes(path: Path) -> None:
    """The engine's own readers return wrong rows once a writer has changed the file under them."""
    with open_graph(path, read_only=True) as reader, open_graph(path, create=True) as writer:
        for round_ in range(1, 6):
            writer.write(many(1000 * round_))
            writer.publish(recommendations(["a"] * 500, ["i1"] * 500), str(round_))
            found = reader.cypher("MATCH ()-[r:`MATCH`]->() RETURN count(*) AS n")["n"].tolist()
            assert found == [1000 * round_ + 5]
            runs = reader.cypher("MATCH ()-[r:RECOMMENDED]->() RETURN r.run AS run")["run"].tolist()
            assert runs == [str(round_)] * 500


def test_readers_see_publish_atomically(path: Path) -> None:
    code = """
        with open_graph(path, create=True) as store:
            for run in range(5):
                store.publish(recommendations(["a"] * 20000, ["i1"] * 20000), str(run))
    """
    with open_graph(path, create=True) as store:
        store.publish(recommendations(["a"] * 20000, ["i1"] * 20000), "first")
    query = "MATCH ()-[r:RECOMMENDED]->() RETURN r.run AS run, count(*) AS n"
    with open_graph(path, read_only=True) as reader, python(code, path) as writer:
        seen = set()
        while writer.poll() is None:
            frame = reader.cypher(query)
            seen.add(frame["run"][0])
            assert frame["n"].tolist() == [20000]
        _, errors = writer.communicate()
        assert errors == ""
        assert reader.cypher(query)["run"].tolist() == ["4"]
    assert len(seen) > 1


def test_threads_read_while_one_writes(path: Path) -> None:
    with open_graph(path, create=True) as store:
        counts: list[int] = []

        def read() -> None:
            for _ in range(30):
                counts.append(int(store.cypher("MATCH ()-[r:`MATCH`]->() RETURN count(*) AS n")["n"][0]))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        store.write(many(5000))
        for thread in threads:
            thread.join()
        assert set(counts) <= {5, 5005}
        assert len(counts) == 120


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_killed_write_is_atomic(path: Path, delay: float) -> None:
    code = """
        tables = many(100_000)
        with open_graph(path, create=True) as store:
            print("go", flush=True)
            store.write(tables)
            store.write_vectors("Item", pa.array(["i1"]), __import__("numpy").ones((1, 8), "float32"))
            for run in range(50):
                store.publish(recommendations(["a"] * 10000, ["i1"] * 10000), str(run))
    """
    with python(code, path) as writer:
        assert line(writer) == "go\n"
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
    with open_graph(path, read_only=True) as reader:
        n = reader.cypher("MATCH ()-[r:`MATCH`]->() RETURN count(*) AS n")["n"][0]
        runs = reader.cypher("MATCH ()-[r:RECOMMENDED]->() RETURN count(*) AS n")["n"][0]
    assert n in (5, 100_005)
    assert runs in (0, 10_000)
    with open_graph(path, create=True) as store:
        store.write(contract_tables())
        assert len(store.snapshot().behaviors) == n


def test_ctrl_c_during_write_is_atomic(path: Path) -> None:
    code = """
        tables = many(100_000)
        with open_graph(path, create=True) as store:
            print("go", flush=True)
            try:
                store.write(tables)
            except KeyboardInterrupt:
                print("stopped", len(store.snapshot().behaviors), flush=True)
    """
    with python(code, path) as writer:
        assert line(writer) == "go\n"
        time.sleep(0.3)
        writer.send_signal(signal.SIGINT)
        assert line(writer) in ("stopped 5\n", "stopped 100005\n")
    with open_graph(path, create=True) as store:
        assert len(store.snapshot().behaviors) in (5, 100_005)


@pytest.mark.parametrize("room", [-1, 100_000])
def test_full_disk_keeps_the_old_graph(path: Path, room: int) -> None:
    code = f"""
        import resource, signal
        tables = many(30_000)
        limit = path.stat().st_size + {room}
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open_graph(path, create=True) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                store.write(tables)
            except StoreError as error:
                print(error)
            print(store.snapshot().digest == digest(contract_tables()))
    """
    with python(code, path) as writer:
        lines, _ = writer.communicate()
    assert "annot write" in lines
    assert lines.endswith("True\n")
    assert list(path.parent.iterdir()) == [path]
    with open_graph(path, create=True) as store:
        assert store.snapshot().digest == digest(contract_tables())
        store.write(many(10))
        assert len(store.snapshot().behaviors) == 15


def test_load_order_does_not_matter(tmp_path: Path) -> None:
    tables = two_communities()
    with open_graph(tmp_path / "graph.lbug", create=True) as store:
        store.write(tables)
        assert store.snapshot().digest == digest(tables)


def test_remove_erases_bytes_and_keeps_foreign_tables(path: Path) -> None:
    with LadybugStore(path) as store:
        users = pa.table({"user_id": ["canary-0123456789"], "age": [7]})
        bought = pa.table({"src": ["canary-0123456789"], "dst": ["i1"], "weight": [1.0], "timestamp": [1.0]})
        store.write(GraphTables(SCHEMA, {"User": users}, {BOUGHT: bought}))
        for statement in (
            "CREATE NODE TABLE Note(id STRING PRIMARY KEY, words STRING[], face FLOAT[2])",
            "CREATE REL TABLE ABOUT(FROM Note TO Item, FROM Note TO User, since DATE)",
            "CREATE (:Note {id: 'n', words: ['x'], face: [1.0, 2.0]})",
            "MATCH (n:Note), (i:Item) CREATE (n)-[:ABOUT {since: date('2024-01-02')}]->(i)",
            "MATCH (n:Note), (u:User) CREATE (n)-[:ABOUT]->(u)",
        ):
            store.cypher(statement, write=True)
        assert b"canary-0123456789" in path.read_bytes()
        store.remove("User", "canary-0123456789")
        assert store.snapshot().digest == digest(contract_tables())
        note = store.cypher("MATCH (n:Note)-[r:ABOUT]->(i:Item {item_id: 'i1'}) RETURN n.words, n.face, r.since")
        assert [list(note["n.words"][0]), list(note["n.face"][0])] == [["x"], [1.0, 2.0]]
        assert str(note["r.since"][0]).startswith("2024-01-02")
        assert len(store.cypher("MATCH (:Note)-[:ABOUT]->(u:User) RETURN u.user_id")) == 4
    assert b"canary-0123456789" not in path.read_bytes()


def test_missing_graph_is_not_created_implicitly(tmp_path: Path) -> None:
    for uri in (tmp_path / "shpo.lbug", f"oxigraph:{tmp_path / 'shpo'}"):
        with pytest.raises(StoreError, match=r"no graph at .*shpo.*. Run: kgrec load .* create=True"):
            open_graph(uri)
        with pytest.raises(UsageError, match="read_only=True and create=True were both given"):
            open_graph(uri, read_only=True, create=True)
    assert not list(tmp_path.iterdir())
