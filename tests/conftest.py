"""Small graphs that many tests read; every value is frozen, so tests share them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from kgrec.config import Config
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.jobs.train import publish_run, train_run
from kgrec.store import open_graph
from kgrec.store.load import load
from kgrec.testing.graphs import two_communities
from kgrec.text import encoder

if TYPE_CHECKING:
    from starlette.testclient import TestClient

pytest_plugins = ["kgrec.testing.text_models"]

MARKET = """\
name: market
nodes:
  User: {key: user_id, properties: {age: int}}
  Guest: {key: guest_id}
  Movie: {key: movie_id, name: title, properties: {title: string, genres: strings, year: int, added: datetime}}
  Book: {key: book_id, properties: {year: int, in_print: bool, shelf: string}}
  Author: {key: author_id}
relationships:
  BOUGHT: {from: [User, Guest], to: [Movie, Book], properties: {price: float, at: datetime}}
  VIEWED: {from: User, to: Movie}
  WROTE: {from: Author, to: Book, properties: {share: float, first: bool}}
roles:
  users: [User, Guest]
  items: [Movie, Book]
  behaviours:
    BOUGHT: {weight: price, time: at}
    VIEWED: {}
"""


CINEMA = Path(__file__).parent / "data" / "cinema"
FAST = "signals=popularity,ease"
"""Setting for tests that need a model, whichever."""


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, stdout, and stderr without the lines of the log."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]

LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} .*\n", re.M)


def without_log(err: str) -> str:
    """Return what a command wrote to stderr besides its log."""
    return LOG_LINE.sub("", err)


@pytest.fixture(autouse=True, scope="module")
def full_precision(request: pytest.FixtureRequest) -> Iterator[None]:
    """Encode in full precision, whatever the processor, where tests of texts compare digits."""
    with pytest.MonkeyPatch.context() as patch:
        if "/tests/text/" in request.path.as_posix():
            patch.setattr(encoder, "has_bfloat16", lambda device: False)
        yield


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Ctrl-C works in tests and in what they start, also where pytest itself runs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of torch: sums of several differ in their last digits from run to run."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def kgrec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the `kgrec` command in this process, wide enough that no message is folded."""
    from kgrec.__main__ import main

    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["kgrec", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            sys.exit(main())
        out, err = capsys.readouterr()
        return Result(int(end.value.code or 0), out, without_log(err))

    return run


@pytest.fixture(scope="session")
def trained_cinema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cinema graph with one run beside it; tests only read it."""
    graph = tmp_path_factory.mktemp("cinema") / "cinema.lbug"
    with open_graph(graph, create=True) as store:
        load("atomic", CINEMA, into=store)
    train_run(str(graph), Config.read(overrides=[FAST]))
    return graph


@pytest.fixture
def cinema(trained_cinema: Path, tmp_path: Path) -> Path:
    """A copy of `trained_cinema` that a test may change."""
    shutil.copytree(trained_cinema.parent, tmp_path / "cinema")
    return tmp_path / "cinema" / "cinema.lbug"


@pytest.fixture(scope="session")
def published_cinema(trained_cinema: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cinema graph with its run published; tests only read it."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(trained_cinema.parent, folder / "cinema")
    publish_run(str(folder / "cinema" / trained_cinema.name), None, None, 5)
    return folder / "cinema" / trained_cinema.name


@pytest.fixture(scope="session")
def reader(published_cinema: Path) -> Iterator[TestClient]:
    """A client of a service of the published cinema, that only reads."""
    from starlette.testclient import TestClient

    from kgrec.serve.app import create_app

    with TestClient(create_app(str(published_cinema)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def published(published_cinema: Path, tmp_path: Path) -> str:
    """A copy of the published graph that a test may change."""
    shutil.copytree(published_cinema.parent, tmp_path / "cinema")
    return str(tmp_path / "cinema" / published_cinema.name)


@pytest.fixture
def client(published: str) -> Iterator[TestClient]:
    """A client of a service of the graph `published`, which it may change."""
    from starlette.testclient import TestClient

    from kgrec.serve.app import create_app

    with TestClient(create_app(published)) as client:
        yield client


@pytest.fixture(scope="session")
def communities() -> GraphSnapshot:
    """A graph in which every user's one withheld item is known."""
    return GraphSnapshot.from_tables(two_communities(seed=0))


@pytest.fixture(scope="session")
def market_schema() -> Schema:
    """Two labels of users, two of items, two behaviors, and every type of property."""
    return Schema.parse(MARKET, where="market.yaml")


@pytest.fixture(scope="session")
def market(market_schema: Schema) -> GraphTables:
    """Tables of `market_schema` as a loader gives them: not checked, not sorted."""
    nodes = {
        "User": pa.table({"user_id": ["u2", "u1"], "age": pa.array([None, 30])}),
        "Guest": pa.table({"guest_id": ["g1"]}),
        "Movie": pa.table(
            {
                "movie_id": ["m3", "m1", "m2"],
                "title": ["Solaris", "Alien", None],
                "genres": [["drama", "space"], ["space"], None],
                "year": [1972, 1979, None],
                "added": [datetime(2020, 1, 2), None, datetime(2021, 3, 4)],
            }
        ),
        "Book": pa.table(
            {"book_id": ["b1", "b2"], "year": [1961, 1979], "in_print": [True, None], "shelf": ["A", "B"]}
        ),
        "Author": pa.table({"author_id": ["a1"]}),
    }
    edges = {
        ("User", "BOUGHT", "Movie"): _bought(["u1", "u1", "u2"], ["m2", "m1", "m1"], [3, 1, 2]),
        ("User", "BOUGHT", "Book"): _bought(["u2"], ["b1"], [4]),
        ("Guest", "BOUGHT", "Book"): _bought(["g1", "g1"], ["b1", "b2"], [5, 6]),
        ("User", "VIEWED", "Movie"): pa.table({"src": ["u1"], "dst": ["m1"]}),
        ("Author", "WROTE", "Book"): pa.table(
            {"src": ["a1", "a1"], "dst": ["b2", "b1"], "share": [0.5, None], "first": [True, False]}
        ),
    }
    return GraphTables(market_schema, nodes, edges)


def _bought(src: list[str], dst: list[str], days: list[int]) -> pa.Table:
    at = [datetime(2024, 1, day) for day in days]
    return pa.table({"src": src, "dst": dst, "price": [float(day) for day in days], "at": at})


@pytest.fixture(scope="session")
def neo4j_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a Neo4j server; NEO4J_USER and NEO4J_PASSWORD are set for it."""
    from kgrec.testing.neo4j_server import running

    with pytest.MonkeyPatch.context() as patch:
        given = os.environ.get("KGREC_TEST_NEO4J_URI")
        if given and "PYTEST_XDIST_WORKER" in os.environ:
            pytest.fail("two workers would empty one database for each other; run: python -m pytest -m neo4j")
        if given:
            yield given
            return
        patch.setenv("NEO4J_USER", "neo4j")
        patch.setenv("NEO4J_PASSWORD", "kgrec-test")
        with running(tmp_path_factory.mktemp("neo4j")) as server:
            yield server.uri


@pytest.fixture
def neo4j_uri(neo4j_server: str) -> str:
    """URI of an empty Neo4j database."""
    from kgrec.testing.neo4j_server import clear

    clear(neo4j_server)
    return neo4j_server


FULL_DISK = """
import resource, signal, sys
from kgrec.__main__ import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main()
"""


def with_little_room(room: int, *words: object) -> str:
    """Run a command that cannot write a file of more than `room` bytes; return what it says."""
    command = [sys.executable, "-c", FULL_DISK, str(room), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return without_log(done.stderr)
