"""Training job: train and evaluate on a graph, save the result as a run, and publish a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from kgrec.config import Config
from kgrec.data.split import Split
from kgrec.errors import UsageError
from kgrec.jobs.evaluate import cut_by_name, metrics_of, read_graph
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import erasures_blocked
from kgrec.runs.folder import Run, find_run, new_name, prepare_root, runs_folder
from kgrec.runs.publish import lists_table, publish
from kgrec.runs.save_load import save_model
from kgrec.store import open_graph
from kgrec.store.job_lock import leased

logger = logging.getLogger(__name__)

LONGEST: Final = 100
"""Default length of the stored lists."""
SHORTEST: Final = 20
"""The same with very many users: as long as what is published."""
MAX_ENTRIES: Final = 20_000_000
"""Entries of all stored lists by default, at most, as long as each has `SHORTEST` (1 GB)."""


def train_run(
    graph: str, config: Config, *, split: str | None = None, k: int | None = None, runs: str | Path | None = None
) -> Run:
    """Train on a graph, recommend to every user, evaluate on the test split, and return the saved run.

    Args:
        graph: URI of the graph; read only.
        config: settings.
        split: name of a split; default: "given" if the data mark a test split, else "random".
        k: length of each stored list; default: 100, less if all lists together would be longer than `MAX_ENTRIES`, but
            at least 20.
        runs: folder of runs; default: beside the graph.

    Raises:
        UsageError, StoreError, RunError: as the steps raise, or users were erased during training; no run is saved.
    """
    if k is not None and k < 1:
        raise UsageError(f"k is too small: {k}. Expected at least 1")
    start = time.perf_counter()
    snapshot = read_graph(graph)
    k = k or min(LONGEST, max(SHORTEST, MAX_ENTRIES // max(snapshot.n_users, 1)))
    cut, name = cut_by_name(snapshot, split)
    root = prepare_root(runs_folder(graph, runs))
    model = Recommender(config).fit(cut)
    logger.info("recommending to every user")
    listed = model.recommend(snapshot.users.ids, k=k)
    info: dict[str, Any] = {"split": name, "protocol": cut.protocol, "metrics": None}
    if cut.is_test.any():
        logger.info("evaluating on the test split")
        info["metrics"] = metrics_of(model, cut)
    info["summary"] = summary_of(cut, model._trained.choices, listed, time.perf_counter() - start)
    info |= {"data_digest": snapshot.digest, "encoded": model._cache.encoded}
    with erasures_blocked(root, graph, snapshot):
        return save_model(root / new_name(), model._trained, config, info, {"recommendations": lists_table(listed)})


def publish_run(graph: str, run: str | None = None, runs: str | Path | None = None, k: int = 20) -> dict[str, Any]:
    """Write a run's text vectors and its lists into the graph, and record the publication.

    Args:
        graph: URI of the graph.
        run: name of a run, or folder of a saved model, which is copied to a run; default: the newest run.
        runs: folder of runs; default: beside the graph.
        k: length of each list.

    Raises:
        RunError: the run does not exist, or files of it are missing.
        StoreLocked: another job is running on the graph.
        StoreError: the graph cannot be written.
    """
    if k < 1:
        raise UsageError(f"k is too small: {k}. Expected at least 1")
    root = runs_folder(graph, runs)
    chosen_run = find_run(root, run)
    if chosen_run.folder.resolve().parent != root.resolve():
        return Recommender.load(chosen_run.folder).publish(graph, k, runs)
    with leased(graph), open_graph(graph) as store:
        return publish(store, root, chosen_run, k, "publish")


def summary_of(cut: Split, choices: Mapping[str, Any], listed: pd.DataFrame, seconds: float) -> dict[str, Any]:
    """Return the summary of a run: counts, training domains, protocol and seconds."""
    return {
        "users": cut.graph.n_users,
        "items": cut.graph.n_items,
        "behaviors learned from": len(cut.train_and_valid.behaviors),
        **_training_facts(choices),
        "recommendations": len(listed),
        "protocol": cut.protocol,
        "seconds": round(seconds, 1),
    }


def _training_facts(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return which domains each domain is learned from, and whether tuning was skipped for lack of behaviors."""
    facts = {
        f"{domain} is learned from": report["learned from"]
        + (f", not checked for negative transfer: {report['unchecked']}" if "unchecked" in report else "")
        for domain, report in choices.get("domains", {}).items()
    }
    if not any(choice["tried"] for choice in choices["signals"].values()):
        facts["settings"] = "defaults, and an equal blend: too few behaviors for a validation split"
    return facts
