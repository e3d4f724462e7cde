"""Erasure from a run: drop the rows of some nodes, and refit the signals that are quick to refit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.data.edges import Edges
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.snapshot import GraphSnapshot
from kgrec.hybrid.model import HybridModel
from kgrec.hybrid.segment_models import SegmentModels, fit_single_domain
from kgrec.jobs.refresh.policy import RERANKER, TEXT_MODEL
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import Node
from kgrec.runs.folder import Run, remove_run
from kgrec.runs.save_load import FACTS, save_model
from kgrec.signals.base import Signal, Signals, refit
from kgrec.text import text_vectors
from kgrec.training.pipeline import Trained

MAX_REFIT_SECONDS: Final = 20.0
"""Approximate total time for refitting signals; slower signals only lose the rows of the nodes."""

RETRAINED: Final = "retrained without it"
ROWS_REMOVED: Final = "rows removed; the next refresh retrains the shared parameters, which were trained with it"
TUNED_STAYS: Final = "has no rows to remove; the next refresh fine-tunes it again, without it"
GONE: Final = "removed and unpublished: no behaviors are left to train on"


def without(graph: GraphSnapshot, nodes: Sequence[Node]) -> GraphSnapshot:
    """Return a graph without some nodes and their relationships; nodes that it does not have are ignored."""
    for label, key in nodes:
        if label in graph.nodes:
            graph = _without(graph, label, graph.ids(label).index(key).as_py())
    return graph


def rewrite(run: Run, nodes: Sequence[Node], role: str, withdraw: Callable[[str], None]) -> dict[str, Any]:
    """Rewrite a run atomically without some nodes; remove it if it has no behaviors left.

    Settings and blends stay: they are a few numbers for all users together. Shared parameters that were trained with
    the nodes are listed in run.json under "learned_with", and the next refresh retrains them
    (kgrec/jobs/refresh/policy.py).

    Args:
        run: the run.
        nodes: labels and keys; all keys are the id of one user or item.
        role: "user" or "item".
        withdraw: unpublishes a run by its name, before it is removed.

    Returns:
        Number of relationships and recommendations removed, and the outcome for each signal and fine-tuned text model,
        or for the run.

    Raises:
        RunError: the run is damaged, or cannot be written.
        UsageError: texts that mentioned a node must be encoded again, and the run's encoder is not installed.
    """
    model = Recommender.load(run.folder)
    old = model._model.train
    train = without(old, nodes)
    tables, n_listed = _lists(run, f"{role}_id", nodes[0][1])
    removed = {"relationships": n_edges(old) - n_edges(train), "recommendations": n_listed}
    if not len(train.behaviors):
        withdraw(run.name)
        remove_run(run.folder)
        return {**removed, "run": GONE}
    trained, refitted = _refitted(model, train)
    facts = {name: value for name, value in run.info.items() if name not in FACTS}
    facts["forgotten"] = run.info.get("forgotten", 0) + 1
    signals = {name: RETRAINED if name in refitted else ROWS_REMOVED for name in trained.model.signals}
    tuned = {TEXT_MODEL: trained.tuned, RERANKER: trained.model.second}
    kept = {name: TUNED_STAYS for name, learned in tuned.items() if learned}
    facts["learned_with"] = [*(name for name, done in signals.items() if done == ROWS_REMOVED), *kept]
    save_model(run.folder, trained, model.config, facts, tables)
    return {**removed, "signals": signals, **kept}


def _refitted(model: Recommender, train: GraphSnapshot) -> tuple[Trained, set[str]]:
    """Return the trained model for a graph without some nodes, and the names of the signals that were refitted."""
    old, seed = model._model, model.config.seed
    vectors = text_vectors(train, model._encoder, model._known_texts)
    delta, for_new = GraphDelta(old.train, train, vectors), old.segment_models.cold_start
    learned, learned_for_new = (refit(_quickest(of, train), train, vectors, seed) for of in (old.signals, for_new))
    signals = {name: learned[name] if name in learned else s.fold_in(delta) for name, s in old.signals.items()}
    slow = {name: signal for name, signal in for_new.items() if name not in learned_for_new}
    folded = replace(old.segment_models, cold_start=slow).fold_in(delta)
    single_domain = {
        domain: {**own, **fit_single_domain({x: own[x] for x in own if x in learned}, train, domain, vectors, seed)}
        for domain, own in folded.single_domain.items()
    }
    segment_models = SegmentModels(single_domain, {**folded.cold_start, **learned_for_new})
    blends = {domain: blend for domain, blend in old.blends.items() if domain in train.item_domains}
    second = old.second and old.second.for_graph(train)
    hybrid = HybridModel(train, signals, blends, old.added_after_fit & set(train.items.ids), segment_models, second)
    refitted = learned.keys() - (for_new.keys() - learned_for_new.keys())
    return replace(model._trained, model=hybrid, vectors=vectors), refitted


def _quickest(signals: Signals, train: GraphSnapshot) -> dict[str, Signal]:
    """Return the signals, quickest first, whose refits together take at most `MAX_REFIT_SECONDS`."""
    seconds = {name: signal.cost(signal.settings, train) for name, signal in signals.items()}
    order = sorted(signals, key=lambda name: seconds[name])
    total = np.cumsum([seconds[name] for name in order])
    return {name: signals[name] for name, so_far in zip(order, total, strict=True) if so_far <= MAX_REFIT_SECONDS}


def _lists(run: Run, column: str, id_: str) -> tuple[dict[str, pa.Table], int]:
    """Return a run's recommendations without an id (table name → table), and the number of removed rows."""
    if not run.has_table("recommendations"):
        return {}, 0
    listed = run.table("recommendations")
    kept = listed.filter(pc.not_equal(listed.column(column), id_))
    return {"recommendations": kept}, listed.num_rows - kept.num_rows


def n_edges(graph: GraphSnapshot) -> int:
    """Return the number of relationships of a graph."""
    return sum(map(len, graph.edges.values()))


def _without(graph: GraphSnapshot, label: str, num: int) -> GraphSnapshot:
    if num < 0:
        return graph
    edges = {t: _renumbered(e, t[0] == label, t[2] == label, num) for t, e in graph.edges.items()}
    edges = {t: e for t, e in edges.items() if len(e)}
    table = graph.nodes[label]
    rest = table.filter(pa.array(np.arange(table.num_rows) != num)).combine_chunks()
    nodes = {name: rest if name == label else other for name, other in graph.nodes.items()}
    return GraphSnapshot(graph.schema, {name: t for name, t in nodes.items() if t.num_rows}, edges)


def _renumbered(edges: Edges, at_source: bool, at_target: bool, num: int) -> Edges:
    """Return relationships without those at node `num`, with the row numbers of later nodes decreased by one."""
    keep = np.ones(len(edges), bool)
    keep &= ~(at_source & (edges.src_num == num)) & ~(at_target & (edges.dst_num == num))
    kept = edges.where(keep)
    src = kept.src_num - (at_source & (kept.src_num > num))
    dst = kept.dst_num - (at_target & (kept.dst_num > num))
    return Edges(src, dst, kept.table, kept.confidence)
