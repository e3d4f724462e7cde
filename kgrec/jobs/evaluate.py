"""The jobs that measure: a run on its held-out behaviors, or settings under a protocol."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kgrec._util.types import FloatArray, IntArray
from kgrec.config import Config
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.single_domain import single_domain_split
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, split_by
from kgrec.errors import UsageError
from kgrec.evaluation.evaluate import Measured, measure, metrics
from kgrec.evaluation.protocols import cut_for
from kgrec.hybrid.model import HYBRID
from kgrec.metrics.ranking import evaluate
from kgrec.ranking.top_k import rank_all
from kgrec.recommender import Recommender
from kgrec.runs.folder import find_run, runs_folder
from kgrec.store import open_graph
from kgrec.store.inputs import as_split
from kgrec.training.pipeline import FitOn

logger = logging.getLogger(__name__)


KS = (10, 20)
"""List lengths that runs are measured at."""

SINGLE_DOMAIN_HYBRID = "hybrid, single domain"
"""What a hybrid is called that learned from the domain that is asked for, and from no other."""

COLD_FIRST = "cold items first, at random"
"""What is called a list that begins with the items that nobody has chosen."""


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
    cut, _ = cut_by_name(snapshot, trained_run.info["split"])
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


def read_graph(graph: str) -> GraphSnapshot:
    """Read a graph to learn from; linked users are one."""
    with open_graph(graph, read_only=True) as store:
        return merge_linked_users(store.snapshot())


def cut_by_name(snapshot: GraphSnapshot, split: str | None) -> tuple[Split, str]:
    """Cut by name; without one by the marks in the data, or at random where there are none."""
    if split is None:
        split = "given" if as_split(snapshot).is_test.any() else "random"
    return split_by(snapshot, split), split
