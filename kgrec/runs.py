"""Runs on disk: one folder for one trained, evaluated, publishable result.

    RUN/run.json                 format, versions, config, seed, digests, metrics, seconds
    RUN/choices.json             every setting tried and how well it did, and how the blend came about
    RUN/tables/NAME.parquet      nodes (their order is the id map), relationships, recommendations
    RUN/arrays/NAME.safetensors  what the signals learnt

A folder appears whole or not at all: it is written beside its place and moved there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from kgrec.errors import RunError
from kgrec.store import check_uri

FORMAT: Final = 2
A_DAY: Final = 86_400
"""Seconds after which what a writer left counts as given up, whoever it was."""


@dataclass(frozen=True)
class Run:
    """A run folder that was opened.

    Attributes:
        folder: where it is.
        info: the content of run.json.
    """

    folder: Path
    info: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.folder.name

    @property
    def choices(self) -> dict[str, Any]:
        """What training chose, and from what.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.folder / "choices.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({error}); train again, or restore the folder") from error

    def table(self, name: str) -> pa.Table:
        """Return a table of the run.

        Raises:
            RunError: it is missing or damaged.
        """
        path = self.folder / "tables" / f"{name}.parquet"
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"{path} cannot be read ({error}); train again, or restore the folder") from error

    def has_table(self, name: str) -> bool:
        """Say whether there is a table of a name."""
        return (self.folder / "tables" / f"{name}.parquet").is_file()

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays of the run.

        Raises:
            RunError: they are missing or damaged.
        """
        path = self.folder / "arrays" / f"{name}.safetensors"
        try:
            return dict(load_file(path))
        except Exception as error:  # safetensors raises errors of its own that derive from Exception only
            raise RunError(f"{path} cannot be read ({error}); train again, or restore the folder") from error


def new_name() -> str:
    """Return a name for a new run: the time in UTC, and something that no other run of that second has."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def root_of(graph: str | Path) -> Path:
    """Return the folder that holds the runs of a graph.

    It is beside a graph that is a file or a folder (`shop.lbug` and `oxigraph:shop` → `shop.runs`), and in the working
    directory for one on a server (`neo4j://host:7687/films` → `neo4j-host-7687-films.runs`).

    Raises:
        StoreError: the URI holds a password, which would be in the folder's name.
    """
    check_uri(graph)
    engine, separator, place = str(graph).partition("://")
    if separator:
        words = [engine.partition("+")[0], *re.findall(r"[\w.]+", place)]
        return Path(f"{'-'.join(words)}.runs")
    path = Path(str(graph).removeprefix("oxigraph:"))
    return path.with_name(f"{path.stem}.runs")


def prepare_root(root: Path) -> Path:
    """Make a folder of runs if it is missing: what cannot be written is known before the work, not after it.

    Raises:
        RunError: it cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{root} cannot be written: {error.strerror}; name another folder with --runs") from error
    return root


def write_run(
    folder: str | Path,
    info: Mapping[str, Any],
    tables: Mapping[str, pa.Table],
    arrays: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    choices: Mapping[str, Any] | None = None,
) -> Run:
    """Write a run folder, whole or not at all; an earlier run of that name is replaced.

    Raises:
        RunError: the folder exists and is not a run, or the disk refuses.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "run.json").is_file():
        raise RunError(f"{folder} exists and is not a run; name another folder")
    beside = folder.with_name(f".{folder.name}.{_owner()}")
    full = {"format": FORMAT, "created": datetime.now(UTC).isoformat(timespec="milliseconds"), **info}
    try:
        _fill(beside, full, tables, arrays, choices or {})
        _move(beside, folder)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Run(folder, full)


def read_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: it is not a run, is damaged, or was written by a newer kgrec, or one too old.
    """
    folder = Path(folder)
    path = folder / "run.json"
    if not path.is_file():
        raise RunError(f"{folder} is not a run: no run.json; expected a folder that `kgrec train` wrote")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = int(info["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); train again, or restore the folder") from error
    if version > FORMAT:
        raise RunError(f"{folder} has format {version}, this kgrec reads {FORMAT}; update kgrec")
    if version < FORMAT:
        raise RunError(f"{folder} has format {version}, this kgrec reads {FORMAT}; train again: kgrec train GRAPH")
    return Run(folder, info)


def list_runs(root: str | Path) -> list[Run]:
    """Return the runs below a folder, oldest first; what is not a readable run is passed over."""
    folders = sorted(path.parent for path in Path(root).glob("*/run.json") if not path.parent.name.startswith("."))
    runs = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except RunError:
            continue
    return sorted(runs, key=lambda run: str(run.info.get("created")))


def find_run(root: str | Path, name: str | None = None) -> Run:
    """Return a run by name, or the newest.

    Raises:
        RunError: there is none, or none of that name.
    """
    if name is not None and (Path(name) / "run.json").is_file():
        return read_run(name)
    if name is not None:
        if not (Path(root) / name / "run.json").is_file():
            known = ", ".join(run.name for run in list_runs(root)) or "none"
            raise RunError(f"no run {name!r} in {root}; there are: {known}")
        return read_run(Path(root) / name)
    runs = list_runs(root)
    if not runs:
        raise RunError(f"no run in {root}; train one first: kgrec train GRAPH")
    return runs[-1]


def remove_run(folder: Path) -> None:
    """Remove a run: out of sight in one step, so that what is cut off leaves no half of a run.

    Raises:
        RunError: the disk refuses.
    """
    hidden = folder.with_name(f".{folder.name}.{_owner()}")
    try:
        os.replace(folder, hidden)
        shutil.rmtree(hidden)
    except OSError as error:
        raise RunError(f"{folder} cannot be removed: {error}") from error


def remove_leftovers(root: Path) -> None:
    """Remove what writers of runs left below a folder when they were killed: of this host, or a day old."""
    for left in root.glob(".*.*-*-*/"):
        host, pid, _ = left.suffix.removeprefix(".").rsplit("-", 2)
        is_over = host == _host() and not Path(f"/proc/{pid}").exists()
        if is_over or time.time() - left.stat().st_mtime > A_DAY:
            shutil.rmtree(left, ignore_errors=True)


def _owner() -> str:
    return f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _host() -> str:
    return socket.gethostname().replace(".", "_")


def _fill(
    folder: Path,
    info: Mapping[str, Any],
    tables: Mapping[str, pa.Table],
    arrays: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    choices: Mapping[str, Any],
) -> None:
    (folder / "tables").mkdir(parents=True)
    (folder / "arrays").mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / "tables" / f"{name}.parquet", compression="zstd")
    for name, named in arrays.items():
        contiguous = {key: np.ascontiguousarray(array) for key, array in named.items()}
        save_file(contiguous, folder / "arrays" / f"{name}.safetensors")
    for name, content in (("choices", choices), ("run", info)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _move(beside: Path, folder: Path) -> None:
    if folder.exists():
        old = folder.with_name(f".{folder.name}.{_owner()}")
        os.replace(folder, old)
        os.replace(beside, folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(beside, folder)
