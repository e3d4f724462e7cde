"""`kgrec demo`: load, train, evaluate and publish ml-100k with its knowledge graph, or a graph of films and books."""

from __future__ import annotations

import time
from importlib import resources
from pathlib import Path
from typing import Final

from kgrec._util.files import write_atomic
from kgrec.cli.output import show, show_facts, show_text
from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.evaluation.evaluate import metrics_table
from kgrec.jobs.benchmark import peak_memory_mb
from kgrec.jobs.train import publish_run, train_run
from kgrec.recommender import Recommender
from kgrec.store import open_graph
from kgrec.store.load import load
from kgrec.training.report import domains_table

DEMO_USER: Final = "196"
PACKAGED_FOLDER: Final = "films_and_books"
DEMO_CONFIG: Final = Config(signals=("popularity", "item_knn", "ease", "metapaths", "embeddings", "tfidf"))
"""Signals without gradient training, so that the demo takes seconds and is reproducible on every machine."""


def run_demo(folder: Path, source: str | None = None) -> None:
    """Load, train, evaluate, publish and query ml-100k; print each result.

    Args:
        folder: for the graph and the runs; created if missing.
        source: a local ml-100k folder; by default ml-100k is downloaded and verified by its hash.
    """
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    graph = str(folder / "movies.lbug")
    with open_graph(graph, create=True) as store:
        tables = load("movielens", source, into=store)
    show_facts(f"1. ml-100k is a graph: {graph}", _short(tables.counts()), False)

    run = train_run(graph, Config())
    show_text(f"\n2. trained and measured as run {run.name} ({run.info['protocol']})")
    show(metrics_table(run.info["metrics"]), False)

    published = publish_run(graph, run.name)
    show_text(f"\n3. {published['recommendations']} recommendations are in the graph; for user {DEMO_USER}:")
    model = Recommender.load(run.folder)
    recommended = model.recommend([DEMO_USER], k=10, names=True)
    show(recommended, False)
    show_text(f"\n4. why the first one?\n{model.explain(DEMO_USER, recommended['item_id'][0])}")

    seconds = time.perf_counter() - start
    show_text(f"\ndone in {seconds:.0f} s, {run.info['encoded']} texts encoded, peak memory {peak_memory_mb()} MB")
    show_text(f"Try next:\n  {next_query(graph)}")


def next_query(graph: str) -> str:
    """Return a shell command that queries the published recommendations."""
    cypher = "MATCH (u:User)-[r:RECOMMENDED]->(m:Movie) WHERE u.user_id = '196' RETURN m.title, r.score ORDER BY r.rank"
    return f'kgrec cypher {graph} "{cypher}"'


def _short(counts: dict[str, int], shown: int = 8) -> dict[str, int]:
    largest = sorted(counts, key=lambda name: -counts[name])[:shown]
    rest = len(counts) - len(largest)
    return {name: counts[name] for name in largest} | ({"further relationship types": rest} if rest > 0 else {})


def run_cross_domain_demo(folder: Path) -> None:
    """Load the packaged films and books, train on both, and recommend to cold-start users of each domain.

    Args:
        folder: for the files, the graph and the runs; created if missing.
    """
    start, files, graph = time.perf_counter(), folder / PACKAGED_FOLDER, str(folder / f"{PACKAGED_FOLDER}.lbug")
    files.mkdir(parents=True, exist_ok=True)
    for packaged in (resources.files("kgrec.cli") / PACKAGED_FOLDER).iterdir():
        write_atomic(files / packaged.name, packaged.read_text(encoding="utf-8"))
    with open_graph(graph, create=True) as store:
        tables = load("atomic", files, into=store)
    show_facts(f"1. films and books, all made up, in {files} are a graph: {graph}", tables.counts(), False)

    run = train_run(graph, DEMO_CONFIG, split="last")
    show_text(f"\n2. trained on both as run {run.name}, and measured ({run.info['protocol']})")
    show(metrics_table(run.info["metrics"]), False)
    show_text("\n3. negative transfer between the domains: NDCG@20 on the validation split")
    show(domains_table(run.choices), False)

    model = Recommender.load(run.folder)
    train = model._model.train
    for number, (known, wanted) in enumerate((("film", "book"), ("book", "film")), start=4):
        user = _only_in(train, known)
        show_text(f"\n{number}. user {user} knows no {wanted}; after\n   {', '.join(_history(train, user))}\n   come")
        show(model.recommend([user], k=5, domain=wanted, names=True), False)
    show_text(f"\ndone in {time.perf_counter() - start:.0f} s\nTry next:\n  kgrec runs show {graph}")


def _only_in(train: GraphSnapshot, domain: str) -> str:
    """Return the first user with interactions in this domain only."""
    names = sorted(set(train.item_domains))
    counts, _ = train.user_domains
    here = counts[:, names.index(domain)]
    return str(train.users.ids[((here > 0) & (counts.sum(axis=1) == here)).argmax()])


def _history(train: GraphSnapshot, user: str) -> list[str]:
    """Return the names of the items in a user's history."""
    return list(train.item_names[train.interactions[train.users.nums([user])[0]].indices])
