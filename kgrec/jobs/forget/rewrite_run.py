"""A run without some nodes: their rows are dropped, and what learned from them is learned again where that is quick."""

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
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import Node
from kgrec.runs.folder import Run, remove_run
from kgrec.runs.save_load import FACTS, save_model
from kgrec.signals.base import Signal, Signals, refit
from kgrec.text import text_vectors
from kgrec.training.pipeline import Trained

MAX_REFIT_SECONDS: Final = 20.0
"""Seconds that learning signals again may take in all, roughly; the slowest beyond that only lose the nodes' rows."""

RETRAINED: Final = "retrained"
ROWS_REMOVED: Final = "rows removed; what all share was learned with it too, until the next refresh"
TUNED_STAYS: Final = "fine-tuned with it too, and has no rows to remove; the next refresh tunes anew, without it"
GONE: Final = "removed, with what was published of it: nothing is left that it could learn from"
TEXT_MODEL: Final = "text model"
RERANKER: Final = "re-ranking"


def without(graph: GraphSnapshot, nodes: Sequence[Node]) -> GraphSnapshot:
    """Return a graph without some nodes and the relationships at them; nodes that are not there are passed over."""
    for label, key in nodes:
        if label in graph.nodes:
            graph = _without(graph, label, graph.ids(label).index(key).as_py())
    return graph


def rewrite(run: Run, nodes: Sequence[Node], role: str, withdraw: Callable[[str], None]) -> dict[str, Any]:
    """Write a run anew without some nodes, whole or not at all; one in which no behavior is left is removed.

    Settings and blends stay: they are a few numbers for all users together. What was learned with the nodes too, and
        has
    no rows of theirs, is named in run.json under "learned_with": the next refresh learns it anew
    (kgrec/jobs/refresh/policy.py).

    Args:
        run: the run.
        nodes: labels and keys; all keys are the one id of a user or an item.
        role: "user" or "item".
        withdraw: takes back what is published of a run that will be removed, by its name.

    Returns:
        What went: relationships, recommendations, and what became of each signal, and of fine-tuned text models, or of
        the run.

    Raises:
        RunError: it is damaged, or cannot be written.
        UsageError: texts that named a node are others now, and the encoder of the run is not here.
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
    trained, again = _relearned(model, train)
    facts = {name: value for name, value in run.info.items() if name not in FACTS}
    facts["forgotten"] = run.info.get("forgotten", 0) + 1
    signals = {name: RETRAINED if name in again else ROWS_REMOVED for name in trained.model.signals}
    tuned = {TEXT_MODEL: trained.tuned, RERANKER: trained.model.second}
    kept = {name: TUNED_STAYS for name, learned in tuned.items() if learned}
    facts["learned_with"] = [*(name for name, done in signals.items() if done == ROWS_REMOVED), *kept]
    save_model(run.folder, trained, model.config, facts, tables)
    return {**removed, "signals": signals, **kept}


def _relearned(model: Recommender, train: GraphSnapshot) -> tuple[Trained, set[str]]:
    """Return what was trained, for a graph that has lost nodes, and the signals that were learned again."""
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
    again = learned.keys() - (for_new.keys() - learned_for_new.keys())
    return replace(model._trained, model=hybrid, vectors=vectors), again


def _quickest(signals: Signals, train: GraphSnapshot) -> dict[str, Signal]:
    """Return the signals that can be learned again within `MAX_REFIT_SECONDS` in all, the quickest first."""
    seconds = {name: signal.cost(signal.settings, train) for name, signal in signals.items()}
    order = sorted(signals, key=lambda name: seconds[name])
    total = np.cumsum([seconds[name] for name in order])
    return {name: signals[name] for name, so_far in zip(order, total, strict=True) if so_far <= MAX_REFIT_SECONDS}


def _lists(run: Run, column: str, id_: str) -> tuple[dict[str, pa.Table], int]:
    """Return a run's lists without an id, as a table by name, and the number of rows that went."""
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
    """Drop the relationships at a node; the nodes after it have one number less."""
    keep = np.ones(len(edges), bool)
    keep &= ~(at_source & (edges.src_num == num)) & ~(at_target & (edges.dst_num == num))
    kept = edges.where(keep)
    src = kept.src_num - (at_source & (kept.src_num > num))
    dst = kept.dst_num - (at_target & (kept.dst_num > num))
    return Edges(src, dst, kept.table, kept.confidence)
