"""`kgrec demo --cross-domain`: films and books in one graph, and books for somebody who only ever saw films."""

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
from kgrec.jobs.train import train_run
from kgrec.recommender import Recommender
from kgrec.store import open_graph
from kgrec.store.load import load
from kgrec.training.report import domains_table

FILES: Final = "films_and_books"
CONFIG: Final = Config(signals=("popularity", "item_knn", "ease", "metapaths", "embeddings", "tfidf"))
"""The signals that need no long training: the demo takes seconds, and gives the same on every machine."""


def run_cross_domain_demo(folder: Path) -> None:
    """Load the packaged films and books, train on both, and recommend in each domain to who acts in the other alone.

    Args:
        folder: where files, graph and runs go; made if it is not there.
    """
    start, files, graph = time.perf_counter(), folder / FILES, str(folder / f"{FILES}.lbug")
    files.mkdir(parents=True, exist_ok=True)
    for packaged in (resources.files("kgrec") / FILES).iterdir():
        write_atomic(files / packaged.name, packaged.read_text(encoding="utf-8"))
    with open_graph(graph, create=True) as store:
        tables = load("atomic", files, into=store)
    show_facts(f"1. films and books, all made up, in {files} are a graph: {graph}", tables.counts(), False)

    run = train_run(graph, CONFIG, split="last")
    show_text(f"\n2. trained on both as run {run.name}, and measured ({run.info['protocol']})")
    show(metrics_table(run.info["metrics"]), False)
    show_text("\n3. does one domain harm the other? NDCG@20 on the validation cut")
    show(domains_table(run.choices), False)

    model = Recommender.load(run.folder)
    train = model._model.train
    for number, (known, wanted) in enumerate((("film", "book"), ("book", "film")), start=4):
        user = only_in(train, known)
        show_text(f"\n{number}. user {user} knows no {wanted}; after\n   {', '.join(history(train, user))}\n   come")
        show(model.recommend([user], k=5, domain=wanted, names=True), False)
    show_text(f"\ndone in {time.perf_counter() - start:.0f} s\nTry next:\n  kgrec runs show {graph}")


def only_in(train: GraphSnapshot, domain: str) -> str:
    """Return the first user who acts in a domain and in no other."""
    names = sorted(set(train.item_domains))
    counts, _ = train.user_domains
    here = counts[:, names.index(domain)]
    return str(train.users.ids[((here > 0) & (counts.sum(axis=1) == here)).argmax()])


def history(train: GraphSnapshot, user: str) -> list[str]:
    """Return the names of the items that a user has."""
    return list(train.item_names[train.interactions[train.users.nums([user])[0]].indices])
