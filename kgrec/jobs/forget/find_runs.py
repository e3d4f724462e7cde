"""Where a forget has to look: every run in every folder of a graph's runs; what cannot be read is an error."""

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
"""What a folder has that is a run, or was one."""


def places_of(graph: str, root: Path) -> list[Path]:
    """Return the folders of a graph's runs that are there.

    Args:
        graph: URI of the graph.
        root: the folder that was asked for.

    Returns:
        That folder and the one beside the graph, each once.
    """
    there = {place.resolve(): place for place in (root_of(graph), root) if place.is_dir()}
    return list(reversed(there.values()))


def runs_with(roots: Sequence[Path], nodes: Sequence[Node]) -> tuple[list[Run], list[Run]]:
    """Return the runs below folders that hold a node, and the others.

    Raises:
        RunError: some cannot be read, are links, or are being written, so they may hold it; names each.
    """
    problems: list[str] = []
    holding: list[Run] = []
    others: list[Run] = []
    for root in roots:
        for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
            found = list(_problems(Path(entry.path), roots))
            if not found and entry.is_dir(follow_symlinks=False) and _is_run(Path(entry.path)):
                try:
                    run = read_run(entry.path)
                    check_own(run.folder)
                    (holding if _is_in(run, nodes) else others).append(run)
                except KgrecError as error:
                    found = [str(error)]
                except (LookupError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
                    found = [f"{entry.path} is damaged ({error!r})"]
            problems += found
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise RunError(
            f"nothing was removed, since it may also be where this cannot look:{listed}\n"
            "Restore each of them, or remove it (rm -r), then run this again"
        )
    return holding, others


def _is_run(folder: Path) -> bool:
    return any((folder / sign).exists() for sign in _SIGNS)


def _problems(path: Path, roots: Sequence[Path]) -> Iterator[str]:
    """Yield why what is in a folder of runs cannot be looked at."""
    if path.is_symlink():
        target = path.resolve()
        if target.parent not in [root.resolve() for root in roots] or not target.exists():
            yield f"{path} is a link to {target}; put what it links to in its place, or remove the link"
        return
    if not path.is_dir():
        return
    if is_bare(path):
        return
    if path.name.startswith("."):
        yield f"{path} is a run that is being written, or that a killed job of another host left"
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
    found = False
    for label in labels:  # all of them, so that none that cannot be read is passed over
        ids = run.table(f"nodes-{label}").column(schema[label]["key"])
        found |= any(ids.index(pa.scalar(id_, ids.type)).as_py() >= 0 for x, id_ in nodes if x == label)
    if run.has_table("recommendations"):
        run.table("recommendations")
    return found
