"""The jobs behind the commands: train a graph into a run, measure a run, publish one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kgrec._util.types import FloatArray, IntArray
from kgrec.config import Config
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.single_domain import single_domain_split
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, split_by
from kgrec.errors import StoreError, UsageError
from kgrec.evaluation.evaluate import HYBRID, Measured, measure, metrics
from kgrec.evaluation.protocols import cut_for
from kgrec.metrics.ranking import evaluate
from kgrec.ranking.top_k import rank_all
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import keeping
from kgrec.runs.folder import Run, find_run, new_name, prepare_root, root_of
from kgrec.runs.publish import lists_table, publish
from kgrec.runs.save_load import save_model
from kgrec.store import open_graph
from kgrec.store.inputs import as_split
from kgrec.store.job_lock import leased
from kgrec.store.uri import GraphUri, check_uri
from kgrec.training.pipeline import FitOn

logger = logging.getLogger(__name__)

KS = (10, 20)
"""List lengths that runs are measured at."""

SINGLE_DOMAIN_HYBRID = "hybrid, single domain"
"""What a hybrid is called that learned from the domain that is asked for, and from no other."""

COLD_FIRST = "cold items first, at random"
"""What is called a list that begins with the items that nobody has chosen."""


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
    cut, name = _cut(snapshot, split)
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


def evaluate_run(graph: str, run: str | None = None, runs: str | Path | None = None) -> dict[str, Any]:
    """Measure a run again on the behaviors of the graph that its split holds out.

    Raises:
        UsageError: the run held nothing out, or the graph has changed since.
    """
    trained_run = find_run(runs_folder(graph, runs), run)
    snapshot = read_graph(graph)
    if snapshot.digest != trained_run.info["data_digest"]:
        raise UsageError(
            f"{graph} has changed since run {trained_run.name} was trained; train again: kgrec train {graph}"
        )
    model = Recommender.load(trained_run.folder)
    cut, _ = _cut(snapshot, trained_run.info["split"])
    return metrics(measure(model._model, cut, KS), cut.protocol, model.config.seed)


def evaluate_protocol(graph: str, protocol: str, config: Config) -> dict[str, Any]:
    """Train with some settings on a graph cut for a protocol, measure, and keep nothing.

    Under cross-domain, what learned from the target alone is measured beside it; under cold-item, a list of new items.

    Raises:
        UsageError: an unknown protocol, or nothing to ask by it.
    """
    snapshot = read_graph(graph)
    cut = cut_for(snapshot, protocol)
    measured = measure(Recommender(config).fit(cut)._model, cut, KS)
    if protocol == "cross-domain":
        measured = add_single_domain(measured, cut, config)
    if protocol == "cold-item":
        measured = _add_cold_first(measured, cut, config.seed)
    return metrics(measured, cut.protocol, config.seed)


def add_single_domain(
    measured: Mapping[str, Measured], split: Split, config: Config, fit_on: FitOn = "train+valid"
) -> dict[str, Measured]:
    """Measure, for each domain, what learns from that domain alone, beside what was measured of the whole graph.

    Args:
        measured: domain → what `measure` found.
        split: that it was measured on.
        config, fit_on: as for the whole graph.
    """
    beside = {}
    for domain, of in measured.items():
        logger.info(f"training on {domain} alone")
        only = single_domain_split(split, domain)
        own = measure(Recommender(config).fit(only, fit_on)._model, only, of.evaluations[HYBRID].ks)[domain]
        beside[domain] = replace(of, evaluations={SINGLE_DOMAIN_HYBRID: own.evaluations[HYBRID], **of.evaluations})
    return beside


def _add_cold_first(measured: Mapping[str, Measured], split: Split, seed: int) -> dict[str, Measured]:
    """Measure lists that begin with the new items, in random order, beside what was measured.

    Only new items are relevant, so they show how much of a figure needs no knowledge of taste.
    """
    known, rng = split.train_and_valid.interactions, np.random.default_rng(seed)
    is_new, beside = known.getnnz(axis=0) == 0, {}
    for domain, of in measured.items():
        within = split.whole.item_domains == domain

        def at_random(users: IntArray) -> FloatArray:
            return np.asarray(rng.random((len(users), len(is_new)), np.float32) + is_new)

        ks = of.evaluations[HYBRID].ks
        ranking = rank_all(at_random, of.user_num, max(ks), known, within)
        beside[domain] = replace(
            of, evaluations={COLD_FIRST: evaluate(ranking, of.relevant, known, ks), **of.evaluations}
        )
    return beside


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


def runs_folder(graph: str, runs: str | Path | None = None) -> Path:
    """Return the folder of a graph's runs: `runs`, or the one beside the graph.

    Raises:
        StoreError: neither that folder nor the graph is there, so the graph's name is most likely wrong; or the URI
            holds a password.
    """
    check_uri(graph)
    root = Path(runs or root_of(graph))
    if not root.exists() and not GraphUri.parse(graph).exists:
        raise StoreError(f"no graph at {graph}; load data first: kgrec load LOADER SOURCE --into {graph}")
    return root


def read_graph(graph: str) -> GraphSnapshot:
    """Read a graph to learn from; linked users are one."""
    with open_graph(graph, read_only=True) as store:
        return merge_linked_users(store.snapshot())


def _cut(snapshot: GraphSnapshot, split: str | None) -> tuple[Split, str]:
    """Cut by name; without one by the marks in the data, or at random where there are none."""
    if split is None:
        split = "given" if as_split(snapshot).is_test.any() else "random"
    return split_by(snapshot, split), split


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
