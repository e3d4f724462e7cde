"""Rollback: publish an earlier run again, and prune runs that are no longer needed for a rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kgrec.errors import UsageError
from kgrec.runs.folder import find_run, list_runs, remove_run, runs_folder
from kgrec.runs.publications import previous, reconcile
from kgrec.runs.publish import publish
from kgrec.store import open_graph
from kgrec.store.job_lock import leased


def roll_back(graph: str, run: str | None = None, runs: str | Path | None = None, k: int = 20) -> dict[str, Any]:
    """Publish an earlier run again: its lists and vectors atomically replace those of the live run.

    Args:
        graph: URI of the graph.
        run: name of the run; default: the one published before the live run.
        runs: folder of runs; default: beside the graph.
        k: length of each list.

    Returns:
        "run", "recommendations", "vectors" as published, and "instead_of", the run that was live before.

    Raises:
        StoreLocked: another job is running on the graph.
        UsageError: there is no earlier run.
        RunError: files of the run are missing.
        StoreError: the graph cannot be written, or lacks users or items of the run; the graph is unchanged.
    """
    root = runs_folder(graph, runs)
    with leased(graph), open_graph(graph) as store:
        current = store.published()
        reconcile(root, current)
        wanted = run or (previous(root, current) if current else None)
        if wanted is None:
            state = f"{current} is the first one published" if current else "nothing is published"
            raise UsageError(
                f"no earlier run to roll back to: {state} in {graph}. "
                f"To publish a specific run: kgrec rollback {graph} RUN"
            )
        return {**publish(store, root, find_run(root, wanted), k, "rollback"), "instead_of": current}


def prune_runs(graph: str, keep: int, runs: str | Path | None = None) -> dict[str, Any]:
    """Remove all runs except the newest ones, the live run and the one published before it.

    Args:
        graph: URI of the graph; read only.
        keep: number of newest runs to keep, at least 1.
        runs: folder of runs; default: beside the graph.

    Returns:
        "removed" and "kept": names, oldest first.

    Raises:
        UsageError: `keep` is below 1.
        RunError: a folder cannot be removed.
    """
    if keep < 1:
        raise UsageError(f"--keep is too small: {keep}. Expected at least 1")
    root = runs_folder(graph, runs)
    with open_graph(graph, read_only=True) as store:
        current = store.published()
    names = [run.name for run in list_runs(root)]
    kept = {*names[-keep:], current, previous(root, current) if current else None}
    removed = [name for name in names if name not in kept]
    for name in removed:
        remove_run(root / name)
    return {"removed": removed, "kept": [name for name in names if name in kept]}
