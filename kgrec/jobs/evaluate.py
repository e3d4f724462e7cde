"""Evaluation jobs: a run on its held-out behaviors, or settings under a protocol."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from kgrec._util.types import FloatArray, IntArray
from kgrec.config import Config
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.single_domain import single_domain_split
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, split_by
from kgrec.errors import UsageError
from kgrec.evaluation.evaluate import measure, metrics
from kgrec.evaluation.measured import Measured
from kgrec.evaluation.protocols import cut_for
from kgrec.hybrid.model import HYBRID
from kgrec.metrics.ranking import evaluate
from kgrec.ranking.top_k import rank_all
from kgrec.recommender import Recommender
from kgrec.runs.folder import Run, find_run, runs_folder
from kgrec.store import open_graph
from kgrec.store.inputs import as_split
from kgrec.training.pipeline import FitOn

logger = logging.getLogger(__name__)


KS = (10, 20)
"""List lengths at which runs are evaluated."""

MAX_TEST_USERS: Final = 20_000
"""Test users of a domain that a run is evaluated on, at most: more cost time with the square of the data."""

SINGLE_DOMAIN_HYBRID = "hybrid, single domain"
"""Name in the metrics of the hybrid that is trained on the evaluated domain alone."""

COLD_FIRST = "cold items first, at random"
"""Name in the metrics of lists that start with the cold items, in random order."""


def evaluate_run(graph: str, run: str | None = None, runs: str | Path | None = None) -> dict[str, Any]:
    """Return the metrics of a run on the test split of its graph.

    Raises:
        RunError: the run does not exist.
        UsageError: the run has no test split, or the graph has changed since it was trained.
    """
    trained_run = find_run(runs_folder(graph, runs), run)
    cut = split_of(graph, trained_run)
    model = Recommender.load(trained_run.folder)
    return metrics_of(model, cut)


def metrics_of(model: Recommender, cut: Split) -> dict[str, Any]:
    """Return the metrics of a model on the test interactions of a split, of a sample of very many test users."""
    seed = model.config.seed
    measured = measure(model._model, cut, KS, max_users=MAX_TEST_USERS, seed=seed)
    some = any(len(of.user_num) == MAX_TEST_USERS for of in measured.values())
    return metrics(measured, f"{cut.protocol}, {MAX_TEST_USERS:,} test users drawn" if some else cut.protocol, seed)


def evaluate_protocol(graph: str, protocol: str, config: Config) -> dict[str, Any]:
    """Return the metrics of settings under a protocol: split the graph, train, and evaluate; no run is saved.

    The baseline is a single-domain hybrid under cross-domain, and lists that start with cold items under cold-item.

    Raises:
        UsageError: an unknown protocol, or a graph without test cases for it.
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
    """Return the evaluations with that of a single-domain hybrid added for each domain, to show negative transfer.

    Args:
        measured: domain → evaluations of the hybrid that is trained on all domains.
        split: split of those evaluations.
        config, fit_on: settings of that hybrid, and the part of the split that it is fitted on.
    """
    extended = {}
    for domain, of in measured.items():
        logger.info(f"training on {domain} alone")
        only = single_domain_split(split, domain)
        own = measure(Recommender(config).fit(only, fit_on)._model, only, of.evaluations[HYBRID].ks)[domain]
        extended[domain] = replace(of, evaluations={SINGLE_DOMAIN_HYBRID: own.evaluations[HYBRID], **of.evaluations})
    return extended


def _add_cold_first(measured: Mapping[str, Measured], split: Split, seed: int) -> dict[str, Measured]:
    """Return the evaluations with a baseline added: lists that start with the cold items, in random order.

    Only cold items are relevant under this protocol, so the baseline is what a model without personalization reaches.
    """
    known, rng = split.train_and_valid.interactions, np.random.default_rng(seed)
    is_new, extended = known.getnnz(axis=0) == 0, {}
    for domain, of in measured.items():
        within = split.graph.item_domains == domain

        def at_random(users: IntArray) -> FloatArray:
            return np.asarray(rng.random((len(users), len(is_new)), np.float32) + is_new)

        ks = of.evaluations[HYBRID].ks
        ranking = rank_all(at_random, of.user_num, max(ks), known, within)
        extended[domain] = replace(
            of, evaluations={COLD_FIRST: evaluate(ranking, of.relevant, known, ks), **of.evaluations}
        )
    return extended


def read_graph(graph: str) -> GraphSnapshot:
    """Return a snapshot of a graph for training, with linked users merged."""
    with open_graph(graph, read_only=True) as store:
        return merge_linked_users(store.snapshot())


def split_of(graph: str, run: Run) -> Split:
    """Return the split that a run was trained on.

    Raises:
        UsageError: the run has no test split, or the graph has changed since it was trained.
    """
    if "split" not in run.info:
        raise UsageError(f"run {run.name} has no split. Expected a run of `kgrec train`")
    snapshot = read_graph(graph)
    if snapshot.digest != run.info["data_digest"]:
        raise UsageError(f"{graph} has changed since run {run.name} was trained. Run: kgrec train {graph}")
    split = split_by(snapshot, run.info["split"])
    if not split.is_test.any():
        raise UsageError(f"run {run.name} has no test split. Expected a run that holds behaviors out for testing")
    return split


def cut_by_name(snapshot: GraphSnapshot, split: str | None) -> tuple[Split, str]:
    """Return the split of a name, and the name; default: "given" if the data mark a test split, else "random"."""
    if split is None:
        split = "given" if as_split(snapshot).is_test.any() else "random"
    return split_by(snapshot, split), split
