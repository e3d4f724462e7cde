"""Erasure job: remove a user or an item from graph, runs and cache, search for residue, and write a receipt."""

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
from kgrec.events.erase import erase, events_of
from kgrec.events.log import events_folder
from kgrec.jobs.forget import receipts
from kgrec.jobs.forget.find_runs import places_of, runs_with
from kgrec.jobs.forget.receipts import matches
from kgrec.jobs.forget.residue import Search
from kgrec.jobs.forget.rewrite_run import n_edges, rewrite, without
from kgrec.recommender import Recommender
from kgrec.runs.erasure_guard import Node, saves_blocked
from kgrec.runs.folder import Run, list_runs, remove_leftovers, runs_folder
from kgrec.runs.publications import append
from kgrec.store import open_graph
from kgrec.store.base import GraphStore
from kgrec.store.job_lock import leased
from kgrec.text import TextEncoder, VectorCache, encoded_texts
from kgrec.text.finetune.checkpoint import drop_checkpoints
from kgrec.training.pipeline import training_sets

__all__ = ["forget", "matches"]

Role = Literal["user", "item"]


def forget(graph: str, role: Role, id_: str, runs: str | Path | None = None) -> dict[str, Any]:
    """Erase a user or an item from everything that kgrec stores, search for residue, and return the receipt.

    The job locks the graph and removes leftovers of killed jobs. Then it removes, in this order:

    - from the cache, vectors of texts that no other node has, and fine-tuning checkpoints;
    - from the graph, the node, with the recommendations to the user or of the item;
    - from the event logs, its events;
    - from each run, its rows (see `kgrec.jobs.forget.rewrite_run`). A run without other behaviors is removed, and
      unpublished if it is live.

    Runs are searched in the given folder and in the one beside the graph. If one is unreadable, nothing is removed.

    The receipt is a file in the folder `<graph>.receipts`. It has a salted SHA-256 of the id instead of the id. It is
    created before anything is removed, so that the next call can complete an interrupted erasure.

    Args:
        graph: URI of the graph.
        role: "user" or "item".
        id_: key of the node.
        runs: folder of runs; default: beside the graph.

    Returns:
        The receipt; `searched` has empty `found` and `unread` if no residue is left, and `receipt` is the file.

    Raises:
        UnknownUser, UnknownItem: the id is neither in the graph nor in a run.
        StoreLocked: another job is running on the graph.
        StoreError, RunError: the graph or a run cannot be read or written.
        UsageError: texts that mentioned the node must be encoded again, and the run's encoder is not installed.
    """
    start, root, cache = time.perf_counter(), runs_folder(graph, runs), VectorCache()
    roots, kept, events = places_of(graph, root), receipts.folder_of(root), events_folder(root)
    with leased(graph) as check_lease, open_graph(graph) as store, saves_blocked(roots):
        for place in roots:
            remove_leftovers(place)
        target = _target(store.snapshot(), role, id_, roots)
        known = target.existing or target.runs or events_of(events, role, id_)
        if not known and not receipts.unfinished(kept, role, id_):
            raise _unknown(role, id_, target.graph)
        texts, present = _erased_texts(target), [events] if events.is_dir() else []
        places = [path.resolve() for path in (*_files_of(store), *roots, cache.folder, *present)]
        file, receipt = receipts.begin(
            kept,
            role,
            id_,
            {"graph": graph, "looked_at": list(map(str, places)), "graph_digest": {"before": target.graph.digest}},
        )
        check_lease()
        removed = {**_remove(store, target, texts, cache), "events": erase(events, role, id_)}
        searched = _search(store, role, id_, roots, [cache.folder, events]).report()
        outcome = _outcome(store, target, removed, searched, receipt["graph_digest"])
        return receipts.finish(file, {**receipt, **outcome, "seconds": round(time.perf_counter() - start, 1)})


@dataclass(frozen=True)
class _Target:
    """The user or item to erase.

    Attributes:
        role: "user" or "item".
        nodes: the id with each label of the role.
        graph: the graph, which may have these nodes.
        runs: the runs that have one of these nodes.
    """

    role: Role
    nodes: Sequence[Node]
    graph: GraphSnapshot
    runs: Sequence[Run]

    @cached_property
    def existing(self) -> list[Node]:
        """The nodes that exist in the graph."""
        return [node for node in self.nodes if _has(self.graph, node)]

    @cached_property
    def remaining_graph(self) -> GraphSnapshot:
        """The graph without the nodes."""
        return without(self.graph, self.nodes)


def _target(graph: GraphSnapshot, role: Role, id_: str, roots: Sequence[Path]) -> _Target:
    """Return the nodes of an id in a graph, and the runs in folders that contain them."""
    nodes = [(label, id_) for label in _labels(graph, role)]
    return _Target(role, nodes, graph, runs_with(roots, nodes))


def _remove(store: GraphStore, target: _Target, texts: set[str], cache: VectorCache) -> dict[str, Any]:
    """Remove a target from the cache, the graph and the runs, in this order; return counts of what was removed."""
    schemas = {target.graph.schema.digest, *(run.info["digests"]["schema"] for run in target.runs)}
    n_relationships = n_edges(target.graph) - n_edges(target.remaining_graph)
    return {
        "cache": {"vectors": cache.drop(texts), "checkpoints": drop_checkpoints(schemas)},
        "graph": {
            "nodes": len(target.existing),
            "relationships": n_relationships,
            **_removed(store, target.existing),
        },
        "runs": {
            run.name: rewrite(run, target.nodes, target.role, partial(_withdraw, store, run.folder.parent))
            for run in track(target.runs, "rewriting runs")
        },
    }


def _outcome(
    store: GraphStore, target: _Target, removed: dict[str, Any], searched: dict[str, Any], digest: dict[str, str]
) -> dict[str, Any]:
    """Return the entries that a finished receipt has beyond a begun one."""
    on_a_server = [] if _files_of(store) else receipts.ON_A_SERVER
    return {
        "removed": removed,
        "graph_digest": {**digest, "after": target.remaining_graph.digest},
        "searched": searched,
        "not_searched": [*receipts.NOT_SEARCHED, *on_a_server],
    }


def _labels(graph: GraphSnapshot, role: Role) -> tuple[str, ...]:
    return graph.schema.roles.users if role == "user" else graph.schema.roles.items


def _unknown(role: Role, id_: str, graph: GraphSnapshot) -> UnknownUser | UnknownItem:
    error, ids = (UnknownUser, graph.users.ids) if role == "user" else (UnknownItem, graph.items.ids)
    return error([id_], ids, "It is neither in the graph nor in a run.")


def _removed(store: GraphStore, nodes: Sequence[Node]) -> Counter[str]:
    """Remove nodes from the graph; return counts of the published data removed with them."""
    return sum((Counter(store.remove(*node)) for node in nodes), Counter())


def _withdraw(store: GraphStore, root: Path, run: str) -> None:
    """Unpublish a run if it is the live run, because it will be removed."""
    if store.published() == run:
        store.unpublish()
        append(root, None, "unpublish")


def _has(graph: GraphSnapshot, node: Node) -> bool:
    label, id_ = node
    return label in graph.nodes and graph.ids(label).index(id_).as_py() >= 0


def _erased_texts(target: _Target) -> set[str]:
    """Return the texts, in the graph and in the training data of runs, that only the erased nodes have or cause."""
    before: set[str] = set()
    after: set[str] = set()
    for run in target.runs:
        model = Recommender.load(run.folder)
        for seen in (target.graph, *_encoded_graphs(run, model, target.graph)):
            before |= _texts(seen, model._encoder)
            after |= _texts(without(seen, target.nodes), model._encoder)
    return before - after


def _encoded_graphs(run: Run, model: Recommender, graph: GraphSnapshot) -> Iterator[GraphSnapshot]:
    """Yield the graphs whose texts a run has encoded: the training graph and, if reproducible, the tuning graph."""
    yield model._model.train
    merged = merge_linked_users(graph)
    if run.info.get("data_digest") == merged.digest:
        yield training_sets(split_by(merged, run.info["split"]), model.config, "train+valid").tuning_graph


def _texts(graph: GraphSnapshot, encoder: TextEncoder) -> set[str]:
    return set().union(*encoded_texts(graph, encoder).values())


def _search(store: GraphStore, role: Role, id_: str, roots: Sequence[Path], others: Sequence[Path]) -> Search:
    """Return the result of a search for an id in the graph, in the runs of folders, and in other folders."""
    after = store.snapshot()
    labels = _labels(after, role)
    search = Search.for_id(id_, [pa.array(after.users.ids, pa.string()), pa.array(after.items.ids, pa.string())])
    search.in_graph(store.uri, after, labels)
    for run in (run for root in roots for run in list_runs(root)):
        _search_run(search, run, role, labels)
    search.in_files([*_files_of(store), *(place for place in (*roots, *others) if place.exists())])
    return search


def _search_run(search: Search, run: Run, role: Role, labels: Sequence[str]) -> None:
    """Search the keys of a run's nodes, and the ids in its recommendations."""
    for label in set(labels) & set(run.info["labels"]):
        key = run.info["schema"]["nodes"][label]["key"]
        search.in_keys(f"{run.name}: keys of {label}", run.table(f"nodes-{label}").column(key))
    if run.has_table("recommendations"):
        listed = run.table("recommendations").column(f"{role}_id")
        search.in_keys(f"{run.name}: recommendations", listed)


def _files_of(store: GraphStore) -> list[Path]:
    """Return the file or folder of an embedded graph and the files NAME.* beside it; empty for a graph on a server."""
    path: Path | None = getattr(store, "path", None)
    if path is None or path.is_dir():
        return [path] if path else []
    return [path, *(beside for beside in sorted(path.parent.glob(f"{glob.escape(path.name)}.*")) if beside.is_file())]
