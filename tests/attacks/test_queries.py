"""Read-only queries: no writes, files, network, extensions or settings; limits stop them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Command

from kgrec._util import query_process
from kgrec.errors import StoreError, UsageError
from kgrec.query import named
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.cypher_guard import check
from kgrec.store.oxigraph.query_guard import check as check_sparql
from kgrec.testing.graphs import two_communities
from loaders.sources import read_source

pytestmark = pytest.mark.slow

USERS = "MATCH (u:User) RETURN u.user_id"
OUTSIDE = [
    "COPY (MATCH (u:User) RETURN u.user_id) TO '{folder}/out.csv'",
    "/**/copy/**/(MATCH (u:User) RETURN u.user_id) TO '{folder}/out.csv'",
    "COPY User FROM '{folder}/in.csv'",
    "LOAD FROM '{folder}/in.csv' RETURN *",
    "MATCH (u:User) WITH u LOAD FROM '{folder}/in.csv' RETURN *",
    "CALL {{ LOAD FROM '{folder}/in.csv' RETURN * }} RETURN 1",
    "LOAD EXTENSION '{folder}/native.so'",
    "INSTALL httpfs",
    "ATTACH '{folder}/other.lbug' AS other (dbtype lbug)",
    "EXPORT DATABASE '{folder}/all'",
    "IMPORT DATABASE '{folder}/all'",
    "CHECKPOINT",
    "MATCH (u:User) RETURN u; CHECKPOINT",
    "CALL threads=7",
    "CALL show_tables=7",
    "CALL read_csv_serial('{folder}/in.csv') RETURN *",
    "CALL file_info('{folder}/in.csv') RETURN *",
    "BEGIN TRANSACTION",
    "CREATE MACRO f(x) AS x + 1",
    "RETURN nextval('s')",
]
"""Statements of ladybug that reach beyond the graph; neither reading nor writing runs them."""

SERVER = [
    "LOAD CSV FROM 'file:///in.csv' AS row RETURN row",
    "MATCH (n) WITH n LOAD CSV FROM 'http://127.0.0.1:9/' AS row RETURN row",
    "CALL { LOAD CSV FROM 'file:///in.csv' AS row RETURN row } RETURN row",
    "// a\rLOAD CSV FROM 'file:///in.csv' AS row RETURN row",
    "RETURN 'a\\u0027 AS x LOAD CSV FROM \"file:///in.csv\" AS row RETURN row //'",
    "WITH 1 AS with RETURN with LOAD CSV FROM 'file:///in.csv' AS row",
    "RETURN COUNT { LOAD CSV FROM 'file:///in.csv' AS row RETURN row } AS n",
    "CALL dbms.listConfig() YIELD name RETURN name",
    "CALL `dbms`.`killQuery`('x')",
    "CALL db.clearQueryCaches()",
    "CALL apoc . load /**/ . json('file:///in.json')",
    "RETURN apoc.util.sleep(1) AS x",
    "MATCH (n) WHERE n.x = {a: apoc.load.json('x')} RETURN n",
    "SHOW SETTINGS",
    "SHOW USERS",
    "TERMINATE TRANSACTION 'x'",
]
READS = [
    "MATCH (n:CREATE)-[:LOAD|SET*1..3]->(m) WHERE NOT n.copy = 'COPY x TO y' RETURN n.load AS delete // CHECKPOINT",
    "MATCH (start)-->(end) WHERE EXISTS { MATCH (end)<--() } RETURN {set: 1, create: [x IN [1] WHERE x > 0 | x]} AS m",
    "MATCH p = (a)-[:R* SHORTEST 1..5]-(b) RETURN length(p) ORDER BY length(p) DESC SKIP 1 LIMIT 2 UNION RETURN 1",
    "MATCH (a)-[e:R*1..2 (r, n | WHERE r.w > 1)]->(`set`) RETURN CASE WHEN a.x IS NULL THEN 1 ELSE 2 END AS y",
    "MATCH (a:User) FINISH",
    "EXPLAIN LOGICAL MATCH (a)-[e:R]->(b) HINT (a JOIN e) JOIN b RETURN count_star() AS n",
    "RETURN array_cosine_similarity([1.0], CAST($v, 'FLOAT[1]')) AS s, -1.5e3 AS x, CAST(1 AS DECIMAL(10, 2)) AS d",
]
TABLES = [
    "CREATE NODE TABLE New(id INT64 PRIMARY KEY, kind STRING DEFAULT 'a')",
    "ALTER TABLE New ADD x STRING DEFAULT 'b'",
]
FETCHES = [
    "SELECT * { SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } }",
    "PREFIX : <http://127.0.0.1:9/> SELECT * { SERVICE:x { ?s ?p ?o } }",
    "PREFIX x: <http://127.0.0.1:9/> SELECT * { ?s ?p ?o .SERVICEx:y { ?s ?p ?o } }",
    "PREFIX x: <http://127.0.0.1:9/> SELECT * { ?s ?p true.SERVICESILENTx:y { ?s ?p ?o } }",
    "PREFIX x: <http://127.0.0.1:9/> LOADx:y",
    'SELECT * { BIND(1 AS ?a) FILTER(?a<?b#c>"""\n) SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } #"""\n}',
    "SELECT * { FILTER(?a<?b&&?c='x>') SERVICE <http://127.0.0.1:9/> { ?s ?p ?o } FILTER(?d='') }",
    "SELECT * FROM <file:///etc/passwd> { ?s ?p ?o }",
    "SELECT * FROM NAMED <http://127.0.0.1:9/> { GRAPH ?g { ?s ?p ?o } }",
    "LOAD <file:///etc/passwd>",
]
LATE = "UNWIND range(1, 100000) AS a UNWIND range(1, 100000) AS b RETURN sum(a % 7 + b) AS s"
LATE_RDF = "SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l . ?m ?o ?p }"
ENDLESS = "levenshtein(repeat('a', 90000), repeat('b', 90000))"
"""A function that takes half a minute, and asks for no time limit while it runs."""

RUNAWAY = {
    ("embedded", False): f"RETURN {ENDLESS} AS s",
    ("embedded", True): f"CREATE (:User {{user_id: CAST({ENDLESS} AS STRING)}})",
    ("rdf", False): LATE_RDF,
    ("rdf", True): f"INSERT {{ :x :y ?n }} WHERE {{ {{ {LATE_RDF} }} }}",
}
"""Engine, whether it writes → a statement that runs for minutes."""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("queries") / "g.lbug"
    with open_graph(path, create=True) as store:
        store.write(two_communities())
    return path


@pytest.fixture(scope="module")
def embedded(graph: Path) -> Iterator[GraphStore]:
    with open_graph(graph, create=True) as store:
        store.cypher("RETURN 1 AS x")  # the process is warm
        yield store


@pytest.fixture(scope="module")
def rdf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphStore]:
    with open_graph(f"oxigraph:{tmp_path_factory.mktemp('queries') / 'g'}", create=True) as store:
        store.write(two_communities())
        store.sparql("ASK {}")
        yield store


@pytest.mark.parametrize("write", [False, True])
def test_cypher_beyond_the_graph_is_refused(embedded: GraphStore, tmp_path: Path, write: bool) -> None:
    (tmp_path / "in.csv").write_text("a\n")
    before = embedded.snapshot().digest
    for text in OUTSIDE:
        query = text.format(folder=tmp_path)
        with pytest.raises(
            StoreError, match=r"may only read the graph|may change the graph, and nothing else"
        ) as caught:
            embedded.cypher(query, write=write)
        assert "^" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    assert embedded.snapshot().digest == before


def test_cypher_unsafe_writes_a_file(embedded: GraphStore, tmp_path: Path) -> None:
    embedded.cypher(f"COPY ({USERS}) TO '{tmp_path}/out.csv'", unsafe=True)
    assert len((tmp_path / "out.csv").read_text().splitlines()) >= 40


def test_cypher_that_evades_the_guard_writes_no_file(
    embedded: GraphStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kgrec.store.ladybug.engine.check", lambda query, engine, write: query)
    for query in (f"COPY ({USERS}) TO '{tmp_path}/out.csv'", "CHECKPOINT", "CALL threads=7"):
        with pytest.raises(StoreError, match="by the engine's plan, the query runs"):
            embedded.cypher(query)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("query", READS)
@pytest.mark.parametrize("engine", ["ladybug", "neo4j"])
def test_guard_accepts_reading_cypher(query: str, engine: str) -> None:
    assert check(query, engine, write=False).startswith(query.partition("//")[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("query", TABLES)
def test_guard_accepts_schema_changes(query: str) -> None:
    assert check(query, "ladybug", write=True) == query
    with pytest.raises(StoreError, match="not allowed in a statement that changes tables"):
        check(query.replace("DEFAULT", "WITH"), "ladybug", write=True)


def test_guard_runs_in_linear_time() -> None:
    query, start = "SELECT * { " + "a." * 20_000 + " }", time.monotonic()
    assert len(check_sparql(query, write=False)) == len(query)
    assert time.monotonic() - start < 5  # 0.4 s; with the square of the length half a minute


@pytest.mark.parametrize("query", SERVER)
@pytest.mark.parametrize("write", [False, True])
def test_guard_refuses_what_a_server_can_do(query: str, write: bool) -> None:
    with pytest.raises(StoreError):
        check(query, "neo4j", write)


@pytest.mark.neo4j
def test_neo4j_reads_only_the_graph(neo4j_uri: str) -> None:
    with open_graph(neo4j_uri, create=True) as store:
        store.write(two_communities())
        for query in SERVER:
            with pytest.raises(StoreError):
                store.cypher(query)
        assert len(store.cypher("CALL db.labels() YIELD label RETURN label"))
        assert len(store.cypher(f"// users\n{USERS} LIMIT 1")) == 1
        assert store.cypher("MATCH (u:User) SET u.x = 1 RETURN count(u) AS n", write=True)["n"][0] == 40
        with pytest.raises(StoreError, match="may only read"):
            store.cypher("MATCH (u:User) SET u.x = 2")
        with pytest.raises(StoreError) as caught:
            store.cypher("MATCH (u:User) RETURN u.user_id AS id,, 1")
        query, caret = str(caught.value).splitlines()[2:4]
        assert query[caret.index("^")] == ","
        start = time.monotonic()
        with pytest.raises(StoreError, match=r"stopped after 0\.5 s"):
            store.cypher(LATE, time_limit=0.5)
        assert time.monotonic() - start < 3


@pytest.mark.parametrize("query", FETCHES)
@pytest.mark.parametrize("write", [False, True])
def test_sparql_that_fetches_is_refused(rdf: GraphStore, query: str, write: bool) -> None:
    with pytest.raises(StoreError, match=r"not allowed|do not fetch|less than") as caught:
        rdf.sparql(query, write=write)
    assert "^" in str(caught.value)


def test_sparql_from_existing_graph_reads(rdf: GraphStore) -> None:
    rdf.publish(pa.table({"user_id": ["u000"], "item_id": ["i000"], **_scores()}), "run-1")
    query = "SELECT * FROM kgrec:recommendations { ?s ?p ?o } # SERVICE"
    assert len(rdf.sparql(query))
    text = 'SELECT ?x { VALUES ?x { \'SERVICE <http://x> {\' """a\nLOAD""" <http://x/Schindler\'s_List#a> } }'
    assert len(rdf.sparql(text)) == 3


def _scores() -> dict[str, list[float]]:
    return {"score": [1.0], "rank": [1], "graph": [0.0], "cf": [1.0], "content": [0.0]}


@pytest.mark.parametrize("engine", ["embedded", "rdf"])
@pytest.mark.parametrize("write", [False, True])
def test_runaway_query_is_stopped(engine: str, write: bool, request: pytest.FixtureRequest) -> None:
    store: GraphStore = request.getfixturevalue(engine)
    before, late = store.snapshot().digest, float("inf")
    for _ in range(3):  # a machine that does other things may be late, but not every time
        late = min(late, _seconds_beyond_the_limit(store, RUNAWAY[engine, write], write, limit=0.5))
        if late < 0.5:
            break
    assert late < 0.5
    assert store.snapshot().digest == before


def _seconds_beyond_the_limit(store: GraphStore, query: str, write: bool, limit: float) -> float:
    """Return how late a query is stopped whose process is warm; after that the process does nothing any more."""
    ask, nothing = (store.cypher, "RETURN 1 AS x") if store.language == "cypher" else (store.sparql, "ASK {}")
    ask(nothing)
    [*_, child] = query_process._children._idle
    start = time.monotonic()
    with pytest.raises(StoreError, match=rf"stopped after {limit:g} s"):
        ask(query, write=write, time_limit=limit)
    late = time.monotonic() - start - limit
    used = _cpu_seconds(child._process.pid)
    time.sleep(0.2)
    assert _cpu_seconds(child._process.pid) - used < 0.1
    return late


def _cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process; 0 where it is gone."""
    try:
        used = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    except OSError:
        return 0.0
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def test_query_above_the_memory_limit_is_stopped(embedded: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_process, "MEMORY_LIMIT_BYTES", 300 << 20)
    with pytest.raises(StoreError, match="more than 300 MB of memory"):
        embedded.cypher("UNWIND range(1, 100000000) AS a RETURN collect(a) AS s", time_limit=60)
    assert embedded.cypher("RETURN 1 AS x")["x"][0] == 1


@pytest.mark.parametrize("limit", [float("inf"), float("nan"), -1, 0, 1e300, "5", True])
@pytest.mark.parametrize("engine", ["embedded", "rdf"])
def test_invalid_time_limit_is_refused(engine: str, limit: float, request: pytest.FixtureRequest) -> None:
    store: GraphStore = request.getfixturevalue(engine)
    with pytest.raises(UsageError, match=r"time limit: found .*; expected seconds above 0"):
        (store.cypher if store.language == "cypher" else store.sparql)("ASK {}", time_limit=limit)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 0, -1, 1.5])
def test_invalid_row_limit_is_refused(embedded: GraphStore, limit: int) -> None:
    with pytest.raises(UsageError, match=r"row limit: found .*; expected a whole number"):
        embedded.cypher("RETURN 1 AS x", row_limit=limit)


@pytest.mark.parametrize("value", [2**70, "\ud800", [1, "a"], object()])
def test_parameter_of_unsupported_type_is_one_error(embedded: GraphStore, value: object) -> None:
    with pytest.raises(StoreError):
        embedded.cypher("RETURN $x AS x", {"x": value})
    with pytest.raises(UsageError, match="the parameters are of type list"):
        embedded.cypher("RETURN $x AS x", [value])  # type: ignore[arg-type]


def test_commands_refuse_forbidden_queries(graph: Path, tmp_path: Path, kgrec: Command) -> None:
    found = kgrec("cypher", graph, f"COPY ({USERS}) TO '{tmp_path}/out.csv'")
    assert found.code == 1
    assert "COPY is not allowed" in found.err
    assert kgrec("cypher", graph, "RETURN 1 AS x", "--time-limit", "inf").code == 2
    assert not list(tmp_path.iterdir())


def test_query_source_of_a_mapping_is_guarded(graph: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    with pytest.raises(StoreError, match="LOAD FROM is not allowed"):
        read_source({"graph": str(graph), "query": f"LOAD FROM '{tmp_path}/in.csv' RETURN *"}, "m", tmp_path, [])


def test_named_query_is_guarded(embedded: GraphStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"// Copy the users.\n\nCOPY ({USERS}) TO '{tmp_path}/out.csv'"
    monkeypatch.setattr(named, "_queries", lambda: {"steal": named.NamedQuery.parse("steal", text, None)})
    with pytest.raises(StoreError, match="COPY is not allowed"):
        named.run_named(embedded, "steal")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("engine", ["embedded", "rdf"])
def test_query_process_gets_no_password(
    engine: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: GraphStore = request.getfixturevalue(engine)
    for name in ("NEO4J_PASSWORD", "KGREC_CREDENTIALS", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hunter2")
    query_process._children.end()
    if engine == "embedded":
        store.cypher("RETURN $x AS x", {"x": "hunter2"})
    else:
        store.sparql("SELECT ($x AS ?y) {}", {"x": "hunter2"})
    [*_, child] = query_process._children._idle
    for file in ("cmdline", "environ"):
        assert b"hunter2" not in Path(f"/proc/{child._process.pid}/{file}").read_bytes()


WORKING_FOLDER = """\
import os, sys
import kgrec
with kgrec.open(sys.argv[1], read_only=True) as store:
    print(len((store.cypher if store.language == "cypher" else store.sparql)(sys.argv[2])))
    print([int(c._process.pid) for c in kgrec._util.query_process._children._idle][0], flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("engine", ["embedded", "rdf"])
def test_working_folder_code_is_not_run_and_child_ends(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store: GraphStore = request.getfixturevalue(engine)
    for name in ("pyoxigraph", "ladybug", "pyarrow", "kgrec", "json", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close(); raise SystemExit(9)")
    uri = store.uri if engine == "embedded" else f"oxigraph:{store.path}"  # type: ignore[attr-defined]
    query = "RETURN 1 AS x" if engine == "embedded" else "SELECT (1 AS ?x) {}"
    script = tmp_path / "elsewhere" / "ask.py"
    script.parent.mkdir()
    script.write_text(WORKING_FOLDER)
    asking = subprocess.Popen(
        [sys.executable, str(script), uri, query],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(query_process.__file__).parents[2])},
    )
    assert asking.stdout
    rows, child = asking.stdout.readline(), int(asking.stdout.readline())
    assert rows == "1\n"
    assert not (tmp_path / "ran").exists()
    os.kill(asking.pid, signal.SIGKILL)
    asking.communicate()
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{child}") and _state(child) not in "ZX" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{child}") or _state(child) in "ZX"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "X"


def test_engine_crash_is_one_error(embedded: GraphStore) -> None:
    embedded.cypher("RETURN 1 AS x")
    child = query_process._children.acquire()
    query_process._children.release(child)
    real = child.ask

    def ask(request: dict[str, object], time_limit: float) -> object:
        child._process.kill()
        child._process.wait()
        return real(request, time_limit)

    child.ask = ask  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreError, match="the engine crashed while it ran the query"):
        embedded.cypher("RETURN 2 AS x")
    assert embedded.cypher("RETURN 3 AS x")["x"][0] == 3


def test_query_runs_without_a_working_folder(
    embedded: GraphStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    query_process._children.end()
    assert embedded.cypher("RETURN 1 AS x")["x"][0] == 1
    assert embedded.cypher("RETURN 1 AS x", unsafe=True)["x"][0] == 1


def test_process_that_cannot_start_is_one_error(embedded: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    query_process._children.end()
    monkeypatch.setattr(sys, "executable", "/nowhere")
    query_process.warm_up()
    with pytest.raises(StoreError, match="the process that runs queries cannot be started: No such file"):
        embedded.cypher("RETURN 1 AS x")


@pytest.mark.parametrize("engine", ["embedded", "rdf"])
def test_query_sees_the_newest_version(engine: str, request: pytest.FixtureRequest) -> None:
    store: GraphStore = request.getfixturevalue(engine)
    with open_graph(store.uri if engine == "embedded" else f"oxigraph:{store.path}", read_only=True) as reader:  # type: ignore[attr-defined]
        query = (
            "MATCH (t:Tag) RETURN count(*) AS n" if engine == "embedded" else "SELECT (COUNT(*) AS ?n) { ?t a :Tag }"
        )
        ask = reader.cypher if engine == "embedded" else reader.sparql
        before = ask(query)["n"][0]
        label = store.schema.nodes["Tag"].key  # type: ignore[union-attr]
        if engine == "embedded":
            store.cypher(f"CREATE (:Tag {{{label}: 'new'}})", write=True)
        else:
            store.sparql(f"INSERT DATA {{ :new a :Tag ; :{label} 'new' }}", write=True)
        assert ask(query)["n"][0] == before + 1


def test_command_imports_nothing_from_the_working_folder(tmp_path: Path) -> None:
    for name in ("pandas", "typer", "pyoxigraph", "ladybug"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close(); raise SystemExit(9)")
    root = str(Path(query_process.__file__).parents[2])
    command = [sys.executable, "-m", "kgrec", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True)
    assert done.stdout.startswith("kgrec ")
    assert not (tmp_path / "ran").exists()
