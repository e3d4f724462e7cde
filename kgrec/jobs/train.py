"""The jobs behind the commands: train a graph into a run, measure a run, publish one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kgrec.config import Config
from kgrec.data.split import Split
from kgrec.errors import UsageError
from kgrec.evaluation.evaluate import measure, metrics
from kgrec.jobs.evaluate import KS, cut_by_name, read_graph
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import keeping
from kgrec.runs.folder import Run, find_run, new_name, prepare_root, runs_folder
from kgrec.runs.publish import lists_table, publish
from kgrec.runs.save_load import save_model
from kgrec.store import open_graph
from kgrec.store.job_lock import leased

logger = logging.getLogger(__name__)


def train_run(
    graph: str, config: Config, *, split: str | None = None, k: int = 100, runs: str | Path | None = None
) -> Run:
    """Train on a graph, measure on its held-out behaviors, recommend to every user, and keep it all as a run.

    Args:
        graph: URI of the graph; it is only read.
        config: settings.
        split: name of a split; the marks in the data if there are any, else "random".
        k: length of the recommendation lists that the run keeps.
        runs: folder of runs; beside the graph if not given.

    Raises:
        UsageError, StoreError, RunError: as the steps do, or users were forgotten meanwhile; no run is left behind.
    """
    if k < 1:
        raise UsageError(f"k={k}; expected at least 1")
    start = time.perf_counter()
    snapshot = read_graph(graph)
    cut, name = cut_by_name(snapshot, split)
    root = prepare_root(runs_folder(graph, runs))
    model = Recommender(config).fit(cut)
    logger.info("recommending to every user")
    listed = model.recommend(snapshot.users.ids, k=k)
    info: dict[str, Any] = {"split": name, "protocol": cut.protocol, "metrics": None}
    if cut.is_test.any():
        logger.info("measuring on the held-out behaviors")
        info["metrics"] = metrics(measure(model._model, cut, KS), cut.protocol, config.seed)
    info["summary"] = summary_of(cut, model._trained.choices, listed, time.perf_counter() - start)
    info |= {"data_digest": snapshot.digest, "encoded": model._cache.encoded}
    with keeping(root, graph, snapshot):
        return save_model(root / new_name(), model._trained, config, info, {"recommendations": lists_table(listed)})


def publish_run(graph: str, run: str | None = None, runs: str | Path | None = None, k: int = 20) -> dict[str, Any]:
    """Write a run's text vectors and its lists, to length k, into the graph, and note that it was done.

    Args:
        graph: URI of the graph.
        run: name of a run of the graph, or the folder of a saved model, which becomes a run; the newest if not given.
        runs: folder of runs; beside the graph if not given.
        k: length of a list.

    Raises:
        RunError: there is no such run, or files of it are gone.
        StoreLocked: another job is at work on the graph.
        StoreError: the graph cannot be written.
    """
    if k < 1:
        raise UsageError(f"k={k}; expected at least 1")
    root = runs_folder(graph, runs)
    found = find_run(root, run)
    if found.folder.resolve().parent != root.resolve():
        return Recommender.load(found.folder).publish(graph, k, runs)
    with leased(graph), open_graph(graph) as store:
        return publish(store, root, found, k, "publish")


def summary_of(cut: Split, choices: Mapping[str, Any], listed: pd.DataFrame, seconds: float) -> dict[str, Any]:
    """Return the facts of a run that are shown first."""
    return {
        "users": cut.whole.n_users,
        "items": cut.whole.n_items,
        "behaviors learned from": len(cut.train_and_valid.behaviors),
        **_told(choices),
        "recommendations": len(listed),
        "protocol": cut.protocol,
        "seconds": round(seconds, 1),
    }


def _told(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return from what each of several domains is learned, and that nothing could be chosen where that is so."""
    told = {
        f"{domain} is learned from": report["learned from"]
        + (f", not checked for harm: {report['unchecked']}" if "unchecked" in report else "")
        for domain, report in choices.get("domains", {}).items()
    }
    if not any(choice["tried"] for choice in choices["signals"].values()):
        told["settings"] = "defaults, and an equal blend: too few behaviors for a validation cut"
    return told
