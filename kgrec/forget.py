"""Forget a user or an item: out of graph, runs and cache, with a search for what is left and a receipt."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa

from kgrec.errors import RunError, UnknownItem, UnknownUser
from kgrec.forget_run import Node, n_edges, rewrite, without
from kgrec.jobs import runs_folder
from kgrec.persist import load_model
from kgrec.progress import say
from kgrec.runs import Run, list_runs, new_name
from kgrec.snapshot import GraphSnapshot
from kgrec.split import split_by
from kgrec.store import open_store
from kgrec.store.base import GraphStore
from kgrec.text import VectorCache, describe
from kgrec.traces import Search
from kgrec.training import parts_of

Role = Literal["user", "item"]

NOT_SEARCHED: Final = (
    "what the graph was loaded from: loading it again brings the id back",
    "backups, exports and copies of the graph or of its runs",
    "blocks that the disk holds of files that are gone",
)
ON_A_SERVER: Final = "files, transaction logs and backups of the server"


def forget(graph: str, role: Role, id_: str, runs: str | Path | None = None) -> dict[str, Any]:
    """Remove a user or an item from everything that kgrec keeps, search for what is left, and write a receipt.

    First the graph, with what is recommended to the user, or of the item; then every run kept (see
    `kgrec.forget_run`), and from the cache the vectors of texts that nobody else has. Interrupted, it can be run
    again. The receipt goes to the folder `<graph>.receipts`, and does not hold the id, but a salted SHA-256 of it.

    Args:
        graph: URI of the graph.
        role: "user" or "item".
        id_: the key of the node.
        runs: folder of runs; beside the graph if not given.

    Returns:
        The receipt; `found` in `searched` is empty where nothing is left, and `receipt` is its file.

    Raises:
        UnknownUser, UnknownItem: it is neither in the graph nor in a run.
        StoreError, RunError: the graph or a run cannot be written.
        UsageError: texts that named it have to be encoded anew, and the encoder of the run is not here.
    """
    start, root = time.perf_counter(), runs_folder(graph, runs)
    with open_store(graph) as store:
        before, kept = store.snapshot(), list_runs(root)
        labels = before.schema.roles.users if role == "user" else before.schema.roles.items
        nodes = [(label, id_) for label in labels]
        there = [node for node in nodes if node[0] in before.nodes and before.ids(node[0]).index(id_).as_py() >= 0]
        holding = [run for run in kept if _is_in(run, nodes)]
        _check_known(role, id_, before, bool(there or holding))
        after = without(before, nodes)
        say("dropping vectors of texts")
        cache = VectorCache()
        dropped = cache.drop(_texts_only_before(before, after, holding, nodes))
        removed = {"nodes": len(there), "relationships": n_edges(before) - n_edges(after)}
        for label, _ in there:
            for what, n in store.remove(label, id_).items():
                removed[what] = removed.get(what, 0) + n
        in_runs = {}
        for run in holding:
            say(f"rewriting run {run.name}")
            in_runs[run.name] = rewrite(run, nodes, role)
        say("searching")
        search = _search(store, id_, role, list_runs(root), [root, cache.folder])
    receipt = {
        "kgrec": version("kgrec"),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "graph": graph,
        "role": role,
        "digest": _digest(id_),
        "removed": {"graph": removed, "runs": in_runs, "cache": {"vectors": dropped}},
        "graph_digest": {"before": before.digest, "after": after.digest},
        "searched": search.report(),
        "not_searched": [*NOT_SEARCHED, *([] if _files_of(store) else [ON_A_SERVER])],
        "seconds": round(time.perf_counter() - start, 1),
    }
    return {**receipt, "receipt": str(_write(root, receipt))}


def matches(receipt: dict[str, Any], id_: str) -> bool:
    """Say whether a receipt is for an id."""
    digest = receipt["digest"]
    return bool(digest["sha256"] == hashlib.sha256((digest["salt"] + id_).encode()).hexdigest())


def _digest(id_: str) -> dict[str, str]:
    salt = secrets.token_hex(16)
    return {"salt": salt, "sha256": hashlib.sha256((salt + id_).encode()).hexdigest()}


def _check_known(role: Role, id_: str, graph: GraphSnapshot, known: bool) -> None:
    if known:
        return
    error, ids = (UnknownUser, graph.users.ids) if role == "user" else (UnknownItem, graph.items.ids)
    raise error([id_], ids, "It is neither in the graph nor in a run that is kept.")


def _is_in(run: Run, nodes: Sequence[Node]) -> bool:
    schema = run.info["schema"]["nodes"]
    keys = [(run.table(f"nodes-{x}").column(schema[x]["key"]), id_) for x, id_ in nodes if x in run.info["labels"]]
    return any(ids.index(id_).as_py() >= 0 for ids, id_ in keys)


def _texts_only_before(
    before: GraphSnapshot, after: GraphSnapshot, runs: Sequence[Run], nodes: Sequence[Node]
) -> set[str]:
    """Return the texts of a graph, and of what runs learnt from, that no node has without the forgotten ones."""
    gone, stay = _texts(before), _texts(after)
    for run in runs:
        for seen in _seen_by(run, before):
            gone |= _texts(seen)
            stay |= _texts(without(seen, nodes))
    return gone - stay


def _seen_by(run: Run, graph: GraphSnapshot) -> Iterator[GraphSnapshot]:
    """Yield the graphs that a run made texts of: what it learnt from, and where that can be told, what it chose on."""
    trained, config = load_model(run.folder)
    yield trained.model.train
    if run.info.get("data_digest") == graph.digest:
        yield parts_of(split_by(graph, run.info["split"]), config, "train+valid").inner


def _texts(graph: GraphSnapshot) -> set[str]:
    return set().union(*(describe(graph, label) for label in graph.nodes if graph.schema.nodes[label].text))


def _search(store: GraphStore, id_: str, role: Role, runs: Sequence[Run], places: Sequence[Path]) -> Search:
    after = store.snapshot()
    labels = after.schema.roles.users if role == "user" else after.schema.roles.items
    search = Search.of(id_, [pa.array(after.users.ids, pa.string()), pa.array(after.items.ids, pa.string())])
    search.in_graph(store.uri, after, labels)
    for run in runs:
        for label in set(labels) & set(run.info["labels"]):
            table = run.table(f"nodes-{label}")
            search.in_keys(f"{run.name}: keys of {label}", table.column(after.schema.nodes[label].key))
        if run.has_table("recommendations"):
            listed = run.table("recommendations").column(f"{role}_id")
            search.in_keys(f"{run.name}: recommendations", listed)
    search.in_files([*_files_of(store), *(place for place in places if place.exists())])
    return search


def _files_of(store: GraphStore) -> list[Path]:
    """Return the file or folder of an embedded graph; nothing for one on a server."""
    path = getattr(store, "path", None)
    return [] if path is None else [path]


def _write(root: Path, receipt: dict[str, Any]) -> Path:
    file = root.with_name(f"{root.stem}.receipts") / f"forget-{new_name()}.json"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(receipt, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise RunError(f"all is done, but the receipt {file} cannot be written: {error.strerror}") from error
    return file
