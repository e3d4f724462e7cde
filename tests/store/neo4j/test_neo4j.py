"""The Neo4j store on a real server: the contract, user errors, foreign databases, server crashes."""

from __future__ import annotations

import os
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from conftest import CINEMA, FAST

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, StoreError, StoreLocked
from kgrec.jobs.copy import copy_graph
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.report import Report
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.runs.folder import list_runs
from kgrec.runs.publications import publications
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.load import load
from kgrec.store.neo4j import connect, rows
from kgrec.store.neo4j.infer_schema import adopt, infer_schema
from kgrec.store.neo4j.lease import hold, state
from kgrec.store.neo4j.store import Neo4jStore
from kgrec.store.neo4j.write import MARKER
from kgrec.testing.neo4j_server import Server, clear, running, start, stop
from kgrec.testing.store_contract import (
    BOUGHT,
    SCHEMA,
    CypherStoreContract,
    contract_tables,
    digest,
    recommendations,
)

CURRENT = "MATCH (now:Published) MATCH ()-[r:RECOMMENDED]->() WHERE r.release = now.release RETURN count(r) AS n"
pytestmark = [pytest.mark.neo4j, pytest.mark.slow]


class TestNeo4j(CypherStoreContract):
    engine = Neo4jStore

    @pytest.fixture(autouse=True)
    def server(self, neo4j_uri: str) -> None:
        self.server_uri = neo4j_uri

    def open(self, place: Path, read_only: bool = False) -> GraphStore:
        return Neo4jStore(self.server_uri, read_only)


@pytest.fixture
def store(neo4j_uri: str) -> Iterator[Neo4jStore]:
    with Neo4jStore(neo4j_uri) as store:
        yield store


def many(n: int) -> GraphTables:
    """The small graph with n behaviors more."""
    tables = contract_tables()
    times = [float(10 + i) for i in range(n)]
    more = pa.table({"src": ["a"] * n, "dst": ["i1"] * n, "weight": times, "timestamp": times})
    bought = pa.concat_tables([tables.edges[BOUGHT], more], promote_options="default")
    return GraphTables(SCHEMA, tables.nodes, {**tables.edges, BOUGHT: bought})


def message(work: Callable[[], Any]) -> str:
    with pytest.raises(StoreError) as caught:
        work()
    assert "kgrec-test" not in str(caught.value)
    return str(caught.value)


def test_wrong_password_is_reported(neo4j_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "wrong")
    text = message(lambda: open_graph(neo4j_server))
    assert "refused the user or the password; check NEO4J_USER and NEO4J_PASSWORD" in text
    assert "wrong" not in text


def test_missing_password_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEO4J_PASSWORD", raising=False)
    monkeypatch.setenv("KGREC_CREDENTIALS", str(tmp_path / "credentials.yaml"))
    text = message(lambda: open_graph("neo4j://localhost:7687"))
    assert "no password for localhost:7687; set NEO4J_USER and NEO4J_PASSWORD, or write" in text


def test_credentials_come_from_a_file(neo4j_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    address = neo4j_server.partition("://")[2]
    entry = {"user": os.environ["NEO4J_USER"], "password": os.environ["NEO4J_PASSWORD"]}
    (tmp_path / "credentials.yaml").write_text(yaml.safe_dump({address: entry}))
    monkeypatch.delenv("NEO4J_PASSWORD")
    monkeypatch.setenv("KGREC_CREDENTIALS", str(tmp_path / "credentials.yaml"))
    with open_graph(neo4j_server) as graph:
        assert graph.published() is None


def test_password_in_uri_is_refused_and_hidden(neo4j_server: str) -> None:
    text = message(lambda: open_graph("neo4j://me:secret@localhost:7687"))
    assert "the URI of the graph holds a user or a password" in text
    assert "secret" not in text


def test_missing_database_is_reported(neo4j_server: str) -> None:
    assert "nothing" in message(lambda: open_graph(f"{neo4j_server}/nothing"))


def test_unreachable_server_is_reported(neo4j_server: str) -> None:
    assert "no Neo4j server answers at bolt://127.0.0.1:1" in message(lambda: open_graph("bolt://127.0.0.1:1"))


def test_server_without_tls_is_reported(neo4j_server: str) -> None:
    address = neo4j_server.partition("://")[2]
    for scheme in ("neo4j+s", "bolt+ssc"):
        assert "without TLS: neo4j://" in message(lambda scheme=scheme: open_graph(f"{scheme}://{address}"))


def test_routing_uri_connects(neo4j_uri: str) -> None:
    with open_graph(neo4j_uri.replace("bolt://", "neo4j://") + "/neo4j") as graph:
        graph.write(contract_tables())
        assert graph.snapshot().digest == digest(contract_tables())


class _Web(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1024)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class _OtherBolt(socketserver.BaseRequestHandler):
    """Speaks as much Bolt as it takes to say that it is another database."""

    def handle(self) -> None:
        self.request.recv(20)
        self.request.sendall(bytes([0, 0, 4, 4]))
        self.request.recv(4096)
        body = b"\xb1\x70\xa2" + b"\x86server\x8dMemgraph/3.10" + b"\x8dconnection_id\x82c1"
        self.request.sendall(len(body).to_bytes(2, "big") + body + b"\x00\x00")
        while self.request.recv(4096):
            body = b"\xb1\x70\xa0"
            self.request.sendall(len(body).to_bytes(2, "big") + body + b"\x00\x00")


@pytest.mark.parametrize(
    ("handler", "said"),
    [(_Web, "no Neo4j server answers"), (_OtherBolt, "is Memgraph/3.10; expected Neo4j 5.26 or later")],
)
def test_server_that_is_not_neo4j_is_reported(
    neo4j_server: str, handler: type[socketserver.BaseRequestHandler], said: str
) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = message(lambda: open_graph(f"bolt://127.0.0.1:{server.server_address[1]}"))
        server.shutdown()
    assert said in text


def test_duplicate_keys_are_refused(store: Neo4jStore) -> None:
    store.cypher("CREATE (:Thing {id: 'twice'}), (:Thing {id: 'twice'})", write=True)
    text = message(lambda: store.write(contract_tables()))
    assert "Thing" in text
    assert "twice" in text
    assert store.schema is None
    assert store.cypher("SHOW CONSTRAINTS YIELD name WHERE name <> 'kgrec__Kgrec' RETURN name").empty


def test_failed_large_write_is_rolled_back(store: Neo4jStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(contract_tables())
    tables = many(60_000)
    users = tables.nodes["User"].set_column(1, "age", pa.array([5, 6, 7, 8], pa.int64()))
    real, calls = rows.pieces, iter(range(100))

    def failing(*arguments: Any) -> Iterator[list[list[Any]]]:
        for part in real(*arguments):
            if next(calls) == 3:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(rows, "pieces", failing)
    with pytest.raises(KeyboardInterrupt):
        store.write(GraphTables(SCHEMA, {**tables.nodes, "User": users}, tables.edges))
    monkeypatch.undo()
    assert store.snapshot().digest == digest(contract_tables())


def test_large_write_blocks_writers_and_readers(neo4j_uri: str, store: Neo4jStore) -> None:
    store.write(contract_tables())
    with (
        Neo4jStore(neo4j_uri) as other,
        store._database.session(write=True) as session,
        hold(session, "schema", neo4j_uri),
    ):
        with pytest.raises(StoreLocked, match="is being written"):
            other.write(many(1))
        with pytest.raises(StoreLocked, match="is being written"):
            other.snapshot()
    assert store.snapshot().digest == digest(contract_tables())


@pytest.fixture(scope="module")
def mortal_server(tmp_path_factory: pytest.TempPathFactory, neo4j_server: str) -> Iterator[Server]:
    """A server that tests may kill and start again; one for all of them, since a start takes seconds."""
    with running(tmp_path_factory.mktemp("mortal")) as server:
        yield server


@pytest.fixture
def mortal(mortal_server: Server) -> Server:
    """The mortal server, with an empty database."""
    clear(mortal_server.uri)
    return mortal_server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a server that is gone up after two seconds."""
    monkeypatch.setattr(connect, "_RETRY_SECONDS", 2.0)


def test_readers_see_recommendations_atomically(neo4j_uri: str, store: Neo4jStore) -> None:
    things = [f"t{i}" for i in range(30_000)]
    nodes = {**contract_tables().nodes, "Thing": pa.table({"id": [*things, "$rows", "\\"]})}
    store.write(GraphTables(SCHEMA, nodes, contract_tables().edges))
    store.publish(recommendations(["a"] * len(things), things), "run-0")
    seen, done = [], threading.Event()

    def watch() -> None:
        with Neo4jStore(neo4j_uri, read_only=True) as reader:
            while not done.is_set():
                seen.append(int(reader.cypher(CURRENT)["n"][0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        store.publish(recommendations(["a"] * len(things), things), "run-1")
    finally:
        done.set()
        watcher.join()
    assert len(seen) > 3
    assert set(seen) == {len(things)}


BOTH = (
    "MATCH (now:Published) MATCH (:User)-[r:RECOMMENDED]->() WHERE r.release = now.release "
    "WITH DISTINCT now, r.run AS run MATCH (v:ThingVector) WHERE v.release = now.release "
    "RETURN now.run AS now, run, v.embedding[0] AS first, size(v.embedding) AS length, count(v) AS n"
)


def test_lists_and_vectors_change_atomically(neo4j_uri: str, store: Neo4jStore) -> None:
    things = [f"t{i}" for i in range(1_000)]
    nodes = {**contract_tables().nodes, "Thing": pa.table({"id": [*things, "$rows", "\\"]})}
    store.write(GraphTables(SCHEMA, nodes, contract_tables().edges))
    listed, seen, done = recommendations(["a"] * len(things), things), [], threading.Event()

    def publish(run: int) -> None:
        vectors = np.full((len(things), run + 2), run + 1.0, np.float32)  # of another length each time
        store.publish(listed, f"run-{run}", {"Thing": (pa.array(things), vectors)})

    def watch() -> None:
        with Neo4jStore(neo4j_uri, read_only=True) as reader:
            while not done.is_set():
                found = list(reader.cypher(BOTH).itertuples(index=False, name=None))
                seen.extend(found or ["nothing"])

    publish(0)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        publish(1)
        publish(2)
    finally:
        done.set()
        watcher.join()
    assert set(seen) == {(f"run-{n}", f"run-{n}", n + 1.0, n + 2, len(things)) for n in (0, 1, 2)}
    assert store.cypher("MATCH (v:ThingVector) RETURN count(v) AS n")["n"][0] == len(things)
    assert store.nearest("Thing", np.ones(4, np.float32), 1)["score"].tolist() == [1.0]


def test_vectors_of_interrupted_publish_are_removed(store: Neo4jStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(contract_tables())
    listed, ids = recommendations(["a"], ["i1"]), pa.array(["i1", "i2"])
    store.publish(listed, "first", {"Item": (ids, np.eye(2, dtype=np.float32))})

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kgrec.store.neo4j.publish.track", cut_off)
        with pytest.raises(KeyboardInterrupt):
            store.publish(listed, "second", {"Item": (ids, np.ones((2, 3), np.float32))})
    np.testing.assert_array_equal(store.vector("Item", "i1"), [1, 0])
    assert store.nearest("Item", np.array([1, 0], np.float32), 1)["id"].tolist() == ["i1"]
    store.publish(listed, "second", {"User": (pa.array(["a"]), np.ones((1, 3), np.float32))})
    assert store.cypher("MATCH (v:ItemVector) RETURN count(v) AS n")["n"][0] == 0
    message(lambda: store.vector("Item", "i1"))
    np.testing.assert_array_equal(store.vector("User", "a"), [1, 1, 1])


def test_bulk_write_resumes_after_server_crash(mortal: Server, impatient: None) -> None:
    tables = many(60_000)
    with open_graph(mortal.uri) as graph:
        graph.write(contract_tables())
    _kill_during(mortal, lambda graph: graph.write(tables), "MATCH (:User)-[r:MATCH]->(:Item) RETURN count(r) AS n")
    with open_graph(mortal.uri) as graph:
        with pytest.raises(StoreError, match="was interrupted"):
            graph.snapshot()
        graph.write(tables)
        assert graph.snapshot().digest == digest(tables)


def test_publish_resumes_after_server_crash(mortal: Server, impatient: None) -> None:
    things = [f"t{i}" for i in range(60_000)]
    nodes = {**contract_tables().nodes, "Thing": pa.table({"id": [*things, "$rows", "\\"]})}
    with open_graph(mortal.uri) as graph:
        graph.write(GraphTables(SCHEMA, nodes, contract_tables().edges))
        graph.publish(recommendations(["a"], ["i1"]), "first")
    listed = recommendations(["a"] * len(things), things)
    _kill_during(
        mortal, lambda graph: graph.publish(listed, "second"), "MATCH ()-[r:RECOMMENDED]->() RETURN count(r) AS n"
    )
    with open_graph(mortal.uri) as graph:
        assert graph.published() == "first"
        assert graph.cypher(CURRENT)["n"][0] == 1
        graph.publish(listed, "second")
        assert graph.published() == "second"
        assert graph.cypher(CURRENT)["n"][0] == len(things)
        assert graph.cypher("MATCH ()-[r:RECOMMENDED]->() RETURN count(r) AS n")["n"][0] == len(things)


class _Killer(Report):
    """Kills the server as a refresh comes to a step."""

    def __init__(self, server: Any, at: str) -> None:
        super().__init__()
        self.server, self.at = server, at

    def step(self, name: str, **facts: Any) -> None:
        super().step(name, **facts)
        if name == self.at:
            os.kill(self.server.pid, signal.SIGKILL)


def test_refresh_resumes_after_server_crash(tmp_path: Path, mortal: Server, impatient: None) -> None:
    config, runs = Config.read(overrides=[FAST]), tmp_path / "runs"
    refresh(RefreshRequest(mortal.uri, load("atomic", CINEMA), config=config, runs=runs))
    for n, step in enumerate(("compare", "publish"), 1):
        new = pa.table({"user_id": [f"new{i}" for i in range(n)]})
        more = GraphTables(load("atomic", CINEMA).schema, {"User": new}, {})
        with pytest.raises(StoreError, match="no Neo4j server answers"):
            refresh(RefreshRequest(mortal.uri, more, runs=runs, allow_shrink=True), _Killer(mortal, step))
        made = len(list_runs(runs))
        _start_again(mortal)
        with open_graph(mortal.uri, read_only=True) as store:
            assert store.published() == publications(runs)[-1].run
        result = refresh(RefreshRequest(mortal.uri, more, runs=runs, allow_shrink=True))
        assert result["result"] == "published"
        assert len(list_runs(runs)) == n + 1, f"{made} were made before {step}: none is made twice"
        assert refresh(RefreshRequest(mortal.uri, more, runs=runs, allow_shrink=True))["result"] == "nothing new"
    assert [entry.action for entry in publications(runs)] == ["refresh"] * 3


def _start_again(server: Server, setting: str = "") -> None:
    assert server.home
    stop(server.home)
    server.pid = start(server.home, server.uri.rpartition(":")[2], setting).pid


def _kill_during(server: Server, work: Callable[[GraphStore], Any], count: str) -> None:
    """Kill the server when the work has written a part, and start it again on the same data and port."""
    pid = server.pid
    assert pid
    with open_graph(server.uri, read_only=True) as watcher:
        before = int(watcher.cypher(count)["n"][0])

        def kill() -> None:
            while int(watcher.cypher(count)["n"][0]) <= before + 1:
                time.sleep(0.02)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with open_graph(server.uri) as graph, pytest.raises(StoreError, match="the connection was lost"):
            work(graph)
        killer.join()
    _start_again(server)


FOREIGN = """
CREATE (a:Customer {id: 1, name: 'Ann', born: date('1990-01-31')}), (b:Customer {id: 2, name: 'Bo'}),
       (c:Customer {id: 3, name: 'Cy'}),
       (x:Film {nr: 10, title: 'X', added: localdatetime('2026-01-01T12:00:00')}), (y:Film {nr: 11, title: 'Y'}),
       (z:Film {nr: 12, title: 'Z'}), (g:Genre {name: 'Drama'}),
       (a)-[:RATED {stars: 5, at: datetime('2026-02-01T10:00:00Z')}]->(x), (a)-[:RATED {stars: 3.5}]->(y),
       (b)-[:RATED {stars: 4}]->(x), (b)-[:RATED {stars: 2}]->(z), (c)-[:RATED {stars: 1}]->(y),
       (x)-[:IN_GENRE]->(g), (y)-[:IN_GENRE]->(g), (:Note {text: 'a'}), (:Note {text: 'a'})
"""
EVERYTHING = (
    "MATCH (n) OPTIONAL MATCH (n)-[r]->(m) RETURN labels(n) AS l, properties(n) AS p, type(r) AS t, properties(r) AS q"
)


@pytest.fixture
def foreign(store: Neo4jStore) -> Neo4jStore:
    """A database that kgrec did not load: whole numbers as keys, dates, a label without a key."""
    store.cypher(FOREIGN, write=True)
    return store


def test_infer_schema_of_foreign_database(foreign: Neo4jStore) -> None:
    text = infer_schema(foreign)
    schema = Schema.parse(text)
    assert set(schema.nodes) == {"Customer", "Film", "Genre"}
    assert "label Note" in text
    assert schema.nodes["Customer"].key == "id"
    assert schema.nodes["Film"].key == "nr"
    assert schema.nodes["Film"].properties == {"title": "string", "added": "datetime"}
    assert schema.relationships["RATED"].properties == {"stars": "float", "at": "datetime"}
    assert schema.roles.users == ("Customer",)
    assert list(schema.roles.behaviours) == ["RATED"]


def test_adopted_database_is_used_and_unchanged(foreign: Neo4jStore) -> None:
    before = sorted(map(str, foreign.cypher(EVERYTHING).to_numpy().tolist()))
    adopt(foreign, Schema.parse(infer_schema(foreign)))
    snapshot = foreign.snapshot()
    assert snapshot.users.ids.tolist() == ["1", "2", "3"]
    assert snapshot.nodes["Film"].column("added").to_pylist()[0].isoformat() == "2026-01-01T12:00:00"
    assert len(snapshot.behaviors) == 5
    foreign.publish(recommendations(["1", "2"], ["12", "11"]), "run-1")
    foreign.write_vectors("Film", pa.array(["10", "11"]), np.eye(2, dtype=np.float32))
    assert foreign.nearest("Film", np.array([1, 0.1], dtype=np.float32), 1)["name"].tolist() == ["X"]
    assert foreign.snapshot().digest == snapshot.digest
    with pytest.raises(StoreError, match="that kgrec did not load"):
        foreign.write(contract_tables())
    foreign.unpublish()
    assert sorted(map(str, foreign.cypher(EVERYTHING).to_numpy().tolist())) == before
    assert foreign.cypher("SHOW CONSTRAINTS").empty
    assert foreign.cypher("SHOW VECTOR INDEXES").empty
    assert foreign.schema is None


def test_adopt_schema_that_does_not_fit_fails(foreign: Neo4jStore) -> None:
    data = Schema.parse(infer_schema(foreign)).to_dict()
    data["nodes"]["Person"] = {"key": "id"}
    data["nodes"]["Note"] = {"key": "text"}
    text = message(lambda: adopt(foreign, Schema.from_dict(data)))
    assert "no label Person" in text
    assert "1 Note nodes have the same text as another" in text


ODD = """
CREATE (:Actor:Person {name: 'A', born: 1}), (:Person {name: 'B', born: 2, `fav color`: 'red'}), (:`My Label` {id: 1}),
       (:`Tick``s` {id: 2})-[:`IN IT`]->(:`Tick``s` {id: 3})
"""


def test_infer_schema_notes_what_it_leaves_out(foreign: Neo4jStore) -> None:
    foreign.cypher(ODD, write=True)
    text = infer_schema(foreign)
    schema = Schema.parse(text)
    assert set(schema.nodes) == {"Customer", "Film", "Genre", "Actor", "Person"}
    assert schema.roles.users == ("Customer",)
    assert "# nodes with the labels Actor and Person count once per label" in text
    for left_out in ("label My Label", "label Tick`s", "type IN IT", "Person.fav color"):
        assert text.count(f"# left out: {left_out}: names in a schema consist of letters, digits and _\n") == 1


def test_adopt_refuses_data_unfit_for_training(foreign: Neo4jStore) -> None:
    data = Schema.parse(infer_schema(foreign)).to_dict()
    data["roles"]["behaviours"] = {"RATED": {"weight": "stars"}}
    schema = Schema.from_dict(data)
    foreign.cypher("MATCH (:Customer {id: 1})-[r:RATED]->(:Film {nr: 10}) REMOVE r.stars", write=True)
    with pytest.raises(DataError, match="stars: found None; expected a finite number"):
        adopt(foreign, schema)
    assert foreign.schema is None
    foreign.cypher("MATCH ()-[r:RATED]->() SET r.stars = 3.0", write=True)
    adopt(foreign, schema)
    foreign.cypher("MATCH ()-[r:RATED]->() REMOVE r.stars", write=True)
    with pytest.raises(DataError, match="5 problems"):
        foreign.snapshot()


def test_repeated_relationship_counts_once(foreign: Neo4jStore, tmp_path: Path) -> None:
    foreign.cypher("MATCH (f:Film {nr: 10}), (g:Genre) CREATE (f)-[:IN_GENRE]->(g)", write=True)
    adopt(foreign, Schema.parse(infer_schema(foreign)))
    assert len(foreign.snapshot().edges["Film", "IN_GENRE", "Genre"]) == 2
    copied = copy_graph(foreign.uri, str(tmp_path / "copy.lbug"))
    assert copied["digest"] == foreign.snapshot().digest


def test_schema_can_be_readopted_after_unpublish(foreign: Neo4jStore) -> None:
    proposed = infer_schema(foreign)
    adopt(foreign, Schema.parse(proposed))
    foreign.write_vectors("Film", pa.array(["10"]), np.ones((1, 2), dtype=np.float32))
    foreign.publish(recommendations(["1"], ["12"]), "run-1")
    assert infer_schema(foreign) == proposed
    assert "kgrec unpublish" in message(lambda: adopt(foreign, Schema.parse(proposed)))
    foreign.unpublish()
    adopt(foreign, Schema.parse(proposed))


def test_copy_to_server_equals_source(neo4j_uri: str, tmp_path: Path) -> None:
    with open_graph(tmp_path / "source.lbug", create=True) as graph:
        graph.write(contract_tables())
    for _ in range(2):
        assert copy_graph(str(tmp_path / "source.lbug"), neo4j_uri)["digest"] == digest(contract_tables())


def test_undeclared_name_error_has_a_caret(store: Neo4jStore) -> None:
    store.write(contract_tables())
    text = message(lambda: store.cypher("MATCH (n:Nothing) RETURN n"))
    assert "there is no label 'Nothing' in the database" in text
    assert text.splitlines()[-1].rstrip() == "           ^"


def test_store_attributes_hold_no_password(store: Neo4jStore) -> None:
    clear(store.uri)
    assert "kgrec-test" not in repr(vars(store))


def test_read_only_database_is_reported(mortal: Server) -> None:
    """The last test of the mortal server, which can only be read from then on."""
    with Neo4jStore(mortal.uri) as graph:
        graph.write(contract_tables())
    _start_again(mortal, "server.databases.read_only=neo4j")
    with Neo4jStore(mortal.uri) as graph:
        assert graph.snapshot().digest == digest(contract_tables())
        assert "does not allow this user to write" in message(lambda: graph.write(many(1)))
        asked = message(lambda: graph.cypher("CREATE (:Thing)", write=True))
    assert "read-only mode" in asked
    assert "--write" not in asked


def test_user_without_write_access_is_reported() -> None:
    """Community has no roles: the error as Enterprise words it."""
    from neo4j.exceptions import Forbidden

    from kgrec.store.neo4j.connect import answering

    with pytest.raises(StoreError, match="does not allow this user to write"), answering("neo4j://host"):
        raise Forbidden._hydrate_neo4j(code="Neo.ClientError.Security.Forbidden", message="Create node is not allowed")


def test_full_workflow_on_a_server(kgrec: Any, neo4j_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert kgrec("load", "atomic", CINEMA, "--into", neo4j_uri).code == 0
    trained = kgrec("train", neo4j_uri, "--set", FAST)
    assert trained.code == 0, trained.err
    assert len(list(tmp_path.glob("bolt-127.0.0.1-*.runs"))) == 1
    assert kgrec("publish", neo4j_uri, "--k", 5).code == 0
    assert "f" in kgrec("recommend", neo4j_uri, "u1", "--k", 3).out
    assert kgrec("explore", neo4j_uri, "recommended", "--param", "user=u1").code == 0
    copied = kgrec("copy", neo4j_uri, "oxigraph:copy")
    assert copied.code == 0, copied.err
    assert kgrec("unpublish", neo4j_uri).code == 0
    refused = kgrec("explore", neo4j_uri, "coverage")
    assert refused.code == 2
    assert "nothing is published" in refused.err
    for path in tmp_path.rglob("*.json"):
        assert "kgrec-test" not in path.read_text()


def test_concurrent_writers_write_rows_once(neo4j_uri: str, store: Neo4jStore) -> None:
    store.write(contract_tables())
    tables, start = many(3_000), threading.Barrier(2)

    def write() -> None:
        with Neo4jStore(neo4j_uri) as graph:
            start.wait()
            graph.write(tables)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.snapshot().digest == digest(tables)


def test_batch_with_lost_answer_is_written_once(store: Neo4jStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from neo4j import ManagedTransaction
    from neo4j.exceptions import ServiceUnavailable

    owner = next(kind for kind in ManagedTransaction.__mro__ if "_commit" in vars(kind))
    real, commits = vars(owner)["_commit"], iter(range(1_000))
    tables = many(45_000)
    store.write(contract_tables())

    def commit(transaction: Any) -> None:
        real(transaction)
        if next(commits) % 2 == 0:
            raise ServiceUnavailable("the answer was lost")

    monkeypatch.setattr(owner, "_commit", commit)
    monkeypatch.setattr("random.random", lambda: 0.0)
    store.upsert(tables)
    monkeypatch.undo()
    assert store.snapshot().digest == digest(tables)


def test_foreign_recommendations_stay(foreign: Neo4jStore) -> None:
    foreign.cypher(
        "MATCH (a:Customer {id: 1}), (x:Film {nr: 12}) CREATE (a)-[:RECOMMENDED {by: 'them'}]->(x)", write=True
    )
    adopt(foreign, Schema.parse(infer_schema(foreign)))
    foreign.publish(recommendations(["1"], ["11"]), "run-1")
    foreign.unpublish()
    assert foreign.cypher("MATCH ()-[r:RECOMMENDED]->() RETURN r.by AS by")["by"].tolist() == ["them"]


def test_foreign_nodes_are_not_removed(foreign: Neo4jStore) -> None:
    adopt(foreign, Schema.parse(infer_schema(foreign)))
    before = foreign.snapshot().digest
    assert "delete Customer '1' there, run this again" in message(lambda: foreign.remove("Customer", "1"))
    assert foreign.snapshot().digest == before


def test_write_above_the_row_limit_is_rolled_back(store: Neo4jStore) -> None:
    query = "UNWIND range(1, 5) AS i CREATE (z:Z {i: i}) RETURN z.i"
    assert "more than 2 rows" in message(lambda: store.cypher(query, write=True, row_limit=2))
    assert store.cypher("MATCH (n) WHERE n.i > 0 RETURN n.i").empty


def test_statement_with_own_transactions_runs(store: Neo4jStore) -> None:
    query = "UNWIND range(1, 5) AS i CALL (i) { CREATE (:Z {i: i}) } IN TRANSACTIONS OF 2 ROWS"
    store.cypher(query, write=True)
    assert store.cypher("MATCH (n:Z) RETURN count(n) AS n")["n"].tolist() == [5]


def test_own_transactions_above_row_limit_report_commits(store: Neo4jStore) -> None:
    query = "UNWIND range(1, 5) AS i CALL (i) { CREATE (z:Z {i: i}) RETURN z } IN TRANSACTIONS OF 2 ROWS RETURN z.i"
    text = message(lambda: store.cypher(query, write=True, row_limit=2))
    assert "more than 2 rows" in text
    assert "its changes were kept" in text
    assert store.cypher("MATCH (n:Z) RETURN count(n) AS n")["n"].tolist() == [5]


def test_partial_commit_counts_as_a_write(store: Neo4jStore) -> None:
    def version() -> int:
        with store._database.session() as session:
            return state(session, MARKER).version

    store.write(contract_tables())
    before = version()
    message(
        lambda: store.cypher(
            "UNWIND [1, 2, 0] AS i CALL (i) { CREATE (:Z {i: 1 / i}) } IN TRANSACTIONS OF 1 ROWS", write=True
        )
    )
    assert store.cypher("MATCH (n:Z) RETURN count(n) AS n")["n"].tolist() == [2]
    assert version() > before


def test_query_is_retried_after_concurrent_write(store: Neo4jStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from neo4j.exceptions import Neo4jError

    from kgrec.store.neo4j import store as engine

    real, tries = vars(engine)["fetch"], iter(range(10))

    def fetched(*arguments: Any) -> Any:
        if next(tries) == 0:
            raise Neo4jError._hydrate_neo4j(code="Neo.TransientError.Transaction.Outdated", message="outdated")
        return real(*arguments)

    monkeypatch.setattr(engine, "fetch", fetched)
    assert store.cypher("RETURN 1 AS n")["n"].tolist() == [1]
    assert next(tries) == 2
