"""Search for the runs that an erasure must rewrite. A run that cannot be read is an error, since it may hold the id."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from kgrec._util.files import is_bare
from kgrec.errors import KgrecError, RunError
from kgrec.runs.erasure_guard import Node
from kgrec.runs.folder import Run, check_own, read_run, root_of

_SIGNS = ("run.json", "choices.json", "tables", "arrays")
"""Names of which a folder has at least one if it is a run, or the rest of one."""


def places_of(graph: str, root: Path) -> list[Path]:
    """Return the existing folders with runs of a graph: the given one and the one beside the graph, each once.

    Args:
        graph: URI of the graph.
        root: the given folder.
    """
    there = {place.resolve(): place for place in (root_of(graph), root) if place.is_dir()}
    return list(reversed(there.values()))


def runs_with(roots: Sequence[Path], nodes: Sequence[Node]) -> list[Run]:
    """Return the runs in folders that contain one of the nodes.

    Raises:
        RunError: lists every run that is unreadable, a link, or still being written: it may contain the nodes.
    """
    problems: list[str] = []
    holding: list[Run] = []
    for root in roots:
        for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
            faults = list(_problems(Path(entry.path), roots))
            if not faults and entry.is_dir(follow_symlinks=False) and _is_run(Path(entry.path)):
                try:
                    run = read_run(entry.path)
                    check_own(run.folder)
                    if _is_in(run, nodes):
                        holding.append(run)
                except KgrecError as error:
                    faults = [str(error)]
                except (LookupError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
                    faults = [f"{entry.path} is damaged ({error!r})"]
            problems += faults
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise RunError(
            f"nothing was removed: the id may also be in runs that cannot be searched:{listed}\n"
            "Restore each of them, or remove it (rm -r), then run this again"
        )
    return holding


def _is_run(folder: Path) -> bool:
    return any((folder / sign).exists() for sign in _SIGNS)


def _problems(path: Path, roots: Sequence[Path]) -> Iterator[str]:
    """Yield the reasons why an entry of a folder of runs cannot be searched."""
    if path.is_symlink():
        target = path.resolve()
        if target.parent not in [root.resolve() for root in roots] or not target.exists():
            yield f"{path} is a link to {target}. Replace the link by its target, or remove it"
        return
    if not path.is_dir():
        return
    if is_bare(path):
        return
    if path.name.startswith("."):
        yield f"{path} is a run that is being written, or the rest of one by a killed job of another host"
        return
    if _is_run(path):
        unlisted: list[OSError] = []
        for folder, folders, files in os.walk(path, onerror=unlisted.append):
            yield from filter(None, (_fault(Path(folder) / name) for name in (*folders, *files)))
        yield from (f"{error.filename} cannot be read: {error.strerror}" for error in unlisted)


def _fault(path: Path) -> str | None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"{path} is a link to {path.resolve()}"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return f"{path} is neither a file nor a folder"
    return None if os.access(path, os.R_OK) else f"{path} cannot be read: permission denied"


def _is_in(run: Run, nodes: Sequence[Node]) -> bool:
    schema, labels = run.info["schema"]["nodes"], list(run.info["labels"])
    is_in = False
    for label in labels:  # all labels, so that each table is checked to be readable
        ids = run.table(f"nodes-{label}").column(schema[label]["key"])
        is_in |= any(ids.index(pa.scalar(id_, ids.type)).as_py() >= 0 for x, id_ in nodes if x == label)
    if run.has_table("recommendations"):
        run.table("recommendations")
    return is_in
