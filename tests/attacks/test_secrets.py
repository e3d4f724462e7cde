"""A password in a URI is refused and appears in no message, file, log, metric or span."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kgrec
from kgrec._util.secrets import holds_password, redacted
from kgrec.config import Config
from kgrec.data.to_networkx import to_networkx
from kgrec.errors import DataError, KgrecError, Problem, StoreError, UsageError
from kgrec.jobs.copy import copy_graph
from kgrec.jobs.evaluate import evaluate_run
from kgrec.jobs.forget.job import forget
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.jobs.rollback import roll_back
from kgrec.jobs.train import publish_run, train_run
from kgrec.query.named import run_named
from kgrec.query.similar import nearest_nodes
from kgrec.runs.folder import find_run, root_of, runs_folder
from kgrec.store import open_graph
from kgrec.store.job_lock import leased
from kgrec.store.ladybug.store import LadybugStore
from kgrec.store.neo4j import connect

SECRET = "hunter2"
URIS = (
    f"neo4j://me:{SECRET}@localhost:1",
    f"bolt+s://me:{SECRET}/x?y#z@localhost:1/db",
    f"neo4j://me:a@{SECRET}@localhost:1",
    f"neo4j://me%3A{SECRET}%40localhost:1",
    f"NEO4J://me:{SECRET}@localhost:1",
    f"neo4j:/me:{SECRET}@localhost:1",
    f"neo4j:me:{SECRET}@localhost:1",
    f"me:{SECRET}@localhost:1",
    f"neo4j://localhost:1?password={SECRET}",
    f"https://{SECRET}@localhost/shop",
    f"oxigraph:neo4j://me:{SECRET}@localhost:1",
)

JOBS: dict[str, Callable[[str], Any]] = {
    "open": open_graph,
    "root": root_of,
    "runs": lambda uri: runs_folder(uri, "."),
    "train": lambda uri: train_run(uri, Config(), runs="."),
    "evaluate": lambda uri: evaluate_run(uri, runs="."),
    "publish": lambda uri: publish_run(uri, runs="."),
    "refresh": lambda uri: refresh(RefreshRequest(uri, "source", runs="runs")),
    "rollback": lambda uri: roll_back(uri, runs="."),
    "forget": lambda uri: forget(uri, "user", "u1", runs="."),
    "copy": lambda uri: copy_graph("shop.lbug", uri),
    "lease": lambda uri: leased(uri).__enter__(),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(work: Callable[[], object]) -> str:
    """The message of the error that work ends with; no error of its chain holds the secret."""
    with pytest.raises(KgrecError) as caught:
        work()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error!r} {error} {vars(error)}"
        error = error.__cause__ or error.__context__
    return str(caught.value)


@pytest.mark.parametrize("uri", URIS)
def test_uri_with_password_is_refused_with_advice(uri: str, place: Path) -> None:
    assert "NEO4J_USER and NEO4J_PASSWORD" in told(lambda: open_graph(uri, create=True))
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("job", JOBS)
def test_jobs_never_print_the_password_of_a_uri(job: str, place: Path) -> None:
    if job == "copy":
        open_graph("shop.lbug", create=True).close()
    assert "NEO4J_PASSWORD" in told(lambda: JOBS[job](URIS[0])) or job == "copy"
    assert not any(SECRET in path.name for path in place.rglob("*"))


def test_refused_refresh_stores_no_password(kgrec: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for graph, source in ((URIS[0], "cinema"), ("shop.lbug", f"https://me:{SECRET}@host/data")):
        told = kgrec("refresh", graph, "--source", source, "--metrics", "kgrec.prom", "--log", "json", "--runs", "runs")
        assert told.code in (1, 2)
        assert "a user or a password" in told.err
        assert SECRET not in told.err + told.out
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("command", [("load", "tables"), ("check", "tables")])
def test_source_with_password_is_refused(kgrec: Any, command: tuple[str, ...]) -> None:
    into = ("--into", "shop.lbug") if command[0] == "load" else ()
    told = kgrec(*command, f"https://me:{SECRET}@host/data.csv", *into)
    assert (told.code, "~/.netrc" in told.err, SECRET in told.err + told.out) == (2, True, False)


def test_query_source_with_password_is_refused() -> None:
    schema = kgrec.Schema.load("commerce")
    mapping = {"nodes": {"Product": {"source": {"graph": URIS[0], "query": "MATCH (n) RETURN n.id AS product_id"}}}}
    told(lambda: kgrec.load("tables", mapping, schema=schema))


@pytest.mark.parametrize("words", [("train",), ("runs", "list"), ("runs", "prune", "--keep", "1"), ("audit", "data")])
def test_command_does_not_print_a_password(kgrec: Any, words: tuple[str, ...], place: Path) -> None:
    told = kgrec(*words, URIS[0], *(() if words[0] == "audit" else ("--runs", ".")))
    assert told.code == 1
    assert SECRET not in told.err + told.out


def test_setting_with_password_is_refused() -> None:
    assert "'encoder.model'" in told(lambda: Config.read(overrides=[f"encoder.model=https://me:{SECRET}@host/model"]))
    assert "'encoder'" in told(lambda: Config.checked({"encoder": f"https://host/model?token={SECRET}"}))


def test_tracker_with_password_is_refused() -> None:
    from kgrec.runs.tracking import to_mlflow

    run: Any = None
    for uri in (f"https://me:{SECRET}@mlflow", f"postgresql://me:{SECRET}@db/mlflow"):
        assert "MLFLOW_TRACKING_PASSWORD" in told(lambda uri=uri: to_mlflow(run, uri, "shop.lbug"))


def test_error_quoting_a_uri_hides_its_user() -> None:
    for uri in (f"https://me:{SECRET}@host/x.csv", f"jdbc:x://h/d?user=a&password={SECRET}"):
        problem = Problem("shop.yaml", f"no file {uri}", "a file")
        for text in (str(problem), str(DataError([problem])), str(StoreError(f"{uri}: away")), str(UsageError(uri))):
            assert SECRET not in text
            assert "***" in text


@pytest.mark.parametrize(
    "text",
    [
        "neo4j://host:7687/films",
        "http://example.org:8080/@me/a:b@c",
        "oxigraph:shop@2",
        "a@b.lbug",
        "mailto:me@example.org",
        "?page=2&sort=name",
    ],
)
def test_address_without_user_is_unchanged(text: str) -> None:
    assert redacted(text) == text
    assert not holds_password(text)


def test_environment_password_is_in_no_error(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    pytest.importorskip("neo4j")
    monkeypatch.setattr(connect, "_RETRY_SECONDS", 0.2)
    for password in (SECRET, f"{SECRET}\udcff"):
        monkeypatch.setenv("NEO4J_PASSWORD", password)
        told(lambda: open_graph("neo4j://localhost:1", create=True))
    monkeypatch.delenv("NEO4J_PASSWORD")
    monkeypatch.setenv("KGREC_CREDENTIALS", "credentials.yaml")
    (place / "credentials.yaml").write_text(f"localhost:1: {{user: me, password: {SECRET}: no}}")
    told(lambda: open_graph("neo4j://localhost:1", create=True))


NEAR_MISSES: dict[str, Callable[[Path], Any]] = {
    "recommend": lambda graph: model_of(graph).recommend(["u9x"]),
    "similar users": lambda graph: model_of(graph).similar_users(["u9x"]),
    "explain": lambda graph: model_of(graph).explain("u9x", "f1"),
    "forget": lambda graph: forget(str(graph), "user", "u9x"),
    "remove": lambda graph: asked(graph, lambda store: store.remove("User", "u9x")),
    "query": lambda graph: asked(graph, lambda store: run_named(store, "user_taste", {"user": "u9x"})),
    "query of nodes": lambda graph: asked(
        graph, lambda store: run_named(store, "connecting_items", {"one": "u9x", "other": "t1"})
    ),
    "network": lambda graph: asked(graph, lambda store: to_networkx(store.snapshot(), "u9x")),
    "vector": lambda graph: asked(graph, lambda store: nearest_nodes(store, node="u9x", label="User")),
}


def model_of(graph: Path) -> kgrec.Recommender:
    """The model of the one run beside a graph."""
    return kgrec.Recommender.load(find_run(root_of(graph)).folder)


def asked(graph: Path, work: Callable[[Any], Any]) -> None:
    """Do something with a graph."""
    with open_graph(graph, create=True) as store:
        work(store)


@pytest.mark.parametrize("asks", NEAR_MISSES)
def test_unknown_user_error_lists_no_users(asks: str, cinema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LadybugStore, "vector", lambda *_: None)
    with pytest.raises(KgrecError, match="'u9x'") as caught:
        NEAR_MISSES[asks](cinema)
    assert not re.search(r"\bu\d+\b", str(caught.value))


def test_command_lists_near_users_only_on_request(kgrec: Any, cinema: Path) -> None:
    told = kgrec("explain", cinema, "u9x", "f1")
    assert (told.code, "u9 " in told.err) == (2, False)
    assert "users with similar ids: u9" in kgrec("--near-users", "explain", cinema, "u9x", "f1").err
