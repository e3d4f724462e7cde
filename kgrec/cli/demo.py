"""`kgrec demo`: the whole main job on ml-100k with its knowledge graph, in an embedded graph."""

from __future__ import annotations

import time
from pathlib import Path

from kgrec.cli.output import show, show_facts, show_text
from kgrec.config import Config
from kgrec.evaluation.evaluate import metrics_table
from kgrec.jobs.benchmark import peak_memory_mb
from kgrec.jobs.train import publish_run, train_run
from kgrec.recommender import Recommender
from kgrec.store import open_graph
from kgrec.store.load import load

USER = "196"


def run_demo(folder: Path, source: str | None = None) -> None:
    """Load, train, measure, publish and query ml-100k; show each result.

    Args:
        folder: where graph and runs go; made if it is not there.
        source: a local ml-100k folder; fetched and checked by hash if not given.
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
    show_text(f"\n3. {published['recommendations']} recommendations are in the graph; for user {USER}:")
    model = Recommender.load(run.folder)
    recommended = model.recommend([USER], k=10, names=True)
    show(recommended, False)
    show_text(f"\n4. why the first one?\n{model.explain(USER, recommended['item_id'][0])}")

    seconds = time.perf_counter() - start
    show_text(f"\ndone in {seconds:.0f} s, {run.info['encoded']} texts encoded, peak memory {peak_memory_mb()} MB")
    show_text(f"Try next:\n  {next_query(graph)}")


def next_query(graph: str) -> str:
    """Return a command that queries the published recommendations."""
    cypher = "MATCH (u:User)-[r:RECOMMENDED]->(m:Movie) WHERE u.user_id = '196' RETURN m.title, r.score ORDER BY r.rank"
    return f'kgrec cypher {graph} "{cypher}"'


def _short(counts: dict[str, int], shown: int = 8) -> dict[str, int]:
    largest = sorted(counts, key=lambda name: -counts[name])[:shown]
    rest = len(counts) - len(largest)
    return {name: counts[name] for name in largest} | ({"further relationship types": rest} if rest > 0 else {})
