"""Going back: an earlier run is published whole again; and which runs are kept so that this stays possible."""

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
    """Publish an earlier run again: its lists and vectors change in one step; its model comes with it.

    Args:
        graph: URI of the graph.
        run: name of the run; the one published before the current one if not given.
        runs: folder of runs; beside the graph if not given.
        k: length of a list.

    Returns:
        "run", "recommendations", "vectors" as published, and "instead_of", the run that was.

    Raises:
        StoreLocked: another job is at work on the graph.
        UsageError: nothing was published before.
        RunError: the run's files are gone.
        StoreError: the graph cannot be written, or lacks what the run recommends; it is as it was.
    """
    root = runs_folder(graph, runs)
    with leased(graph), open_graph(graph) as store:
        current = store.published()
        reconcile(root, current)
        wanted = run or (previous(root, current) if current else None)
        if wanted is None:
            raise UsageError(
                f"{current or 'nothing'} is published in {graph}, and no run was before it; "
                f"name one: kgrec rollback {graph} RUN"
            )
        return {**publish(store, root, find_run(root, wanted), k, "rollback"), "instead_of": current}


def prune_runs(graph: str, keep: int, runs: str | Path | None = None) -> dict[str, Any]:
    """Remove all runs but the newest ones, the published one and the one published before it.

    Args:
        graph: URI of the graph; it is only read.
        keep: how many of the newest to keep, from 1.
        runs: folder of runs; beside the graph if not given.

    Returns:
        "removed" and "kept": names, oldest first.

    Raises:
        UsageError: `keep` is below 1.
        RunError: a folder cannot be removed.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}; expected at least 1")
    root = runs_folder(graph, runs)
    with open_graph(graph, read_only=True) as store:
        current = store.published()
    names = [run.name for run in list_runs(root)]
    kept = {*names[-keep:], current, previous(root, current) if current else None}
    removed = [name for name in names if name not in kept]
    for name in removed:
        remove_run(root / name)
    return {"removed": removed, "kept": [name for name in names if name in kept]}
