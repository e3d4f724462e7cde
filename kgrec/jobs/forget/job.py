"""Forget a user or an item: out of graph, runs and cache, with a search for what is left and a receipt."""

from __future__ import annotations

import glob
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from kgrec._util.progress import track
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import split_by
from kgrec.errors import UnknownItem, UnknownUser
from kgrec.jobs.forget import receipts
from kgrec.jobs.forget.find_runs import places_of, runs_with
from kgrec.jobs.forget.receipts import matches
from kgrec.jobs.forget.residue import Search
from kgrec.jobs.forget.rewrite_run import n_edges, rewrite, without
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import Node, nobody_keeps
from kgrec.runs.folder import Run, list_runs, remove_leftovers, runs_folder
from kgrec.runs.publications import append
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.job_lock import leased
from kgrec.text import CountTokens, VectorCache, describe, token_counter
from kgrec.text.finetune.checkpoint import drop_checkpoints
from kgrec.training.pipeline import training_sets

__all__ = ["forget", "matches"]

Role = Literal["user", "item"]


def forget(graph: str, role: Role, id_: str, runs: str | Path | None = None) -> dict[str, Any]:
    """Remove a user or an item from everything that kgrec keeps, search for what is left, and write a receipt.

    No other job may be at work on the graph; what a killed one left of runs goes first. From the cache go the vectors
    of texts that nobody else has, and checkpoints of fine-tuning; then the node from the graph, with what is
    recommended to the user, or of the item; then every run kept is rewritten (see `kgrec.jobs.forget.rewrite_run`);
    one that knew nobody else goes, with what is published of it. The runs are those in the folder asked for and in the
    one beside the graph. If one of them cannot be read, nothing is removed.

    The receipt goes to the folder `<graph>.receipts`, and does not hold the id, but a salted SHA-256 of it. It is begun
    before anything is removed, so that the next call, if this one is cut off at any moment, goes on and finishes it.

    Args:
        graph: URI of the graph.
        role: "user" or "item".
        id_: the key of the node.
        runs: folder of runs; beside the graph if not given.

    Returns:
        The receipt; `found` and `unread` in `searched` are empty where nothing is left, and `receipt` is its file.

    Raises:
        UnknownUser, UnknownItem: it is neither in the graph nor in a run.
        StoreLocked: another job is at work on the graph.
        StoreError, RunError: the graph or a run cannot be read or written.
        UsageError: texts that named it have to be encoded anew, and the encoder of the run is not here.
    """
    start, root, cache = time.perf_counter(), runs_folder(graph, runs), VectorCache()
    roots, kept = places_of(graph, root), receipts.folder_of(root)
    with leased(graph) as check_lease, open_graph(graph) as store, nobody_keeps(roots):
        for place in roots:
            remove_leftovers(place)
        target = _target(store.snapshot(), role, id_, roots)
        if not target.present and not target.runs and not receipts.unfinished(kept, role, id_):
            raise _unknown(role, id_, target.graph)
        texts = _texts_only_before(target)
        places = [path.resolve() for path in (*_files_of(store), *roots, cache.folder)]
        file, receipt = receipts.begin(
            kept,
            role,
            id_,
            {"graph": graph, "looked_at": list(map(str, places)), "graph_digest": {"before": target.graph.digest}},
        )
        check_lease()
        removed = _remove(store, target, texts, cache)
        searched = _search(store, role, id_, roots, cache).report()
        outcome = _outcome(store, target, removed, searched, receipt["graph_digest"])
        return receipts.finish(file, {**receipt, **outcome, "seconds": round(time.perf_counter() - start, 1)})


@dataclass(frozen=True)
class _Target:
    """What is to be forgotten.

    Attributes:
        role: "user" or "item".
        nodes: every node that the id may be of.
        graph: the graph that may hold them.
        runs: the runs that hold one of them.
    """

    role: Role
    nodes: Sequence[Node]
    graph: GraphSnapshot
    runs: Sequence[Run]

    @cached_property
    def present(self) -> list[Node]:
        """The nodes that the graph has."""
        return [node for node in self.nodes if _has(self.graph, node)]

    @cached_property
    def graph_after(self) -> GraphSnapshot:
        """The graph without them."""
        return without(self.graph, self.nodes)


def _target(graph: GraphSnapshot, role: Role, id_: str, roots: Sequence[Path]) -> _Target:
    """Look for a user or an item in a graph, and in the runs below folders."""
    nodes = [(label, id_) for label in _labels(graph, role)]
    holding, _ = runs_with(roots, nodes)
    return _Target(role, nodes, graph, holding)


def _remove(store: GraphStore, target: _Target, texts: set[str], cache: VectorCache) -> dict[str, Any]:
    """Remove a target from the cache, the graph and the runs, in this order; return how much went."""
    schemas = {target.graph.schema.digest, *(run.info["digests"]["schema"] for run in target.runs)}
    n_relationships = n_edges(target.graph) - n_edges(target.graph_after)
    return {
        "cache": {"vectors": cache.drop(texts), "checkpoints": drop_checkpoints(schemas)},
        "graph": {
            "nodes": len(target.present),
            "relationships": n_relationships,
            **_removed(store, target.present),
        },
        "runs": {
            run.name: rewrite(run, target.nodes, target.role, partial(_withdraw, store, run.folder.parent))
            for run in track(target.runs, "rewriting runs")
        },
    }


def _outcome(
    store: GraphStore, target: _Target, removed: dict[str, Any], searched: dict[str, Any], digest: dict[str, str]
) -> dict[str, Any]:
    """Return what a finished receipt says beyond a begun one."""
    on_a_server = [] if _files_of(store) else receipts.ON_A_SERVER
    return {
        "removed": removed,
        "graph_digest": {**digest, "after": target.graph_after.digest},
        "searched": searched,
        "not_searched": [*receipts.NOT_SEARCHED, *on_a_server],
    }


def _labels(graph: GraphSnapshot, role: Role) -> tuple[str, ...]:
    return graph.schema.roles.users if role == "user" else graph.schema.roles.items


def _unknown(role: Role, id_: str, graph: GraphSnapshot) -> UnknownUser | UnknownItem:
    error, ids = (UnknownUser, graph.users.ids) if role == "user" else (UnknownItem, graph.items.ids)
    return error([id_], ids, "It is neither in the graph nor in a run that is kept.")


def _removed(store: GraphStore, nodes: Sequence[Node]) -> Counter[str]:
    """Remove nodes; return how much of what was published went with them."""
    return sum((Counter(store.remove(*node)) for node in nodes), Counter())


def _withdraw(store: GraphStore, root: Path, run: str) -> None:
    """Take back what is published of a run: it was learned from nobody else."""
    if store.published() == run:
        store.unpublish()
        append(root, None, "unpublish")


def _has(graph: GraphSnapshot, node: Node) -> bool:
    label, id_ = node
    return label in graph.nodes and graph.ids(label).index(id_).as_py() >= 0


def _texts_only_before(target: _Target) -> set[str]:
    """Return the texts of a graph, and of what runs learned from, that no node has without the forgotten ones."""
    gone: set[str] = set()
    stay: set[str] = set()
    for run in target.runs:
        model = Recommender.load(run.folder)
        count = token_counter(model._encoder)
        for seen in (target.graph, *_seen_by(run, model, target.graph)):
            gone |= _texts(seen, count)
            stay |= _texts(without(seen, target.nodes), count)
    return gone - stay


def _seen_by(run: Run, model: Recommender, graph: GraphSnapshot) -> Iterator[GraphSnapshot]:
    """Yield the graphs that a run made texts of: what it learned from, and where that can be told, what it chose on."""
    yield model._model.train
    whole = merge_linked_users(graph)
    if run.info.get("data_digest") == whole.digest:
        yield training_sets(split_by(whole, run.info["split"]), model.config, "train+valid").tuning_graph


def _texts(graph: GraphSnapshot, count: CountTokens) -> set[str]:
    return set().union(*(describe(graph, label, count) for label in graph.nodes if graph.schema.nodes[label].text))


def _search(store: GraphStore, role: Role, id_: str, roots: Sequence[Path], cache: VectorCache) -> Search:
    """Look for an id in the graph, in the runs below folders, and in the cache."""
    after = store.snapshot()
    labels = _labels(after, role)
    search = Search.for_id(id_, [pa.array(after.users.ids, pa.string()), pa.array(after.items.ids, pa.string())])
    search.in_graph(store.uri, after, labels)
    for run in (run for root in roots for run in list_runs(root)):
        _search_run(search, run, role, labels)
    search.in_files([*_files_of(store), *(place for place in (*roots, cache.folder) if place.exists())])
    return search


def _search_run(search: Search, run: Run, role: Role, labels: Sequence[str]) -> None:
    """Look at the keys of the nodes that a run learned from, and at whom or what it recommends."""
    for label in set(labels) & set(run.info["labels"]):
        key = run.info["schema"]["nodes"][label]["key"]
        search.in_keys(f"{run.name}: keys of {label}", run.table(f"nodes-{label}").column(key))
    if run.has_table("recommendations"):
        listed = run.table("recommendations").column(f"{role}_id")
        search.in_keys(f"{run.name}: recommendations", listed)


def _files_of(store: GraphStore) -> list[Path]:
    """Return the file or folder of an embedded graph, and files beside it by its name; nothing for one on a server."""
    path: Path | None = getattr(store, "path", None)
    if path is None or path.is_dir():
        return [path] if path else []
    return [path, *(beside for beside in sorted(path.parent.glob(f"{glob.escape(path.name)}.*")) if beside.is_file())]
