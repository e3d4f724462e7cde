"""Run folders: one folder per trained, evaluated and publishable model.

    RUN/run.json                 format, versions, config, seed, digests, metrics, seconds
    RUN/choices.json             all tried settings with their metric, and the report of the blend
    RUN/tables/NAME.parquet      nodes (their order is the id map), relationships, recommendations
    RUN/arrays/NAME.safetensors  state of the signals

A folder is written atomically: to a temporary folder, which is then moved to its place. `run.json` has a checksum of
each other file, and the run's number. Runs are ordered by number, because clocks can be wrong.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError

from kgrec._util import html
from kgrec._util.files import DAY_SECONDS, MARKER, checksum, locked, reason, strange_target, work_folder
from kgrec._util.files import remove_leftovers as remove_work_folders
from kgrec.errors import RunError, StoreError
from kgrec.runs.content_checks import check_choices, check_table
from kgrec.runs.folder_content import as_json, checksums, file_names, move_into_place, sync, write_content
from kgrec.runs.json_types import Facts, RunInfo
from kgrec.runs.untrusted_files import damaged, read_arrays, read_object, read_table, shown, size_of, unreadable, using
from kgrec.store.uri import GraphUri, check_uri

FORMAT: Final = 6
_NAME: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
"""Format of the names by `new_name`."""
_OWN: Final = frozenset({"run.json", "choices.json", "tables", "arrays"})
"""Names of the entries of a run folder."""


@dataclass(frozen=True)
class Run:
    """An opened run folder.

    Attributes:
        folder: path of the folder.
        info: content of run.json.
    """

    folder: Path
    info: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        models = (self.info.get("metrics") or {}).get("models", {})
        facts = {"created": self.info.get("created"), "folder": self.folder, **self.info.get("summary", {})}
        shown = html.title(f"Run {self.name}") + html.facts(facts)
        if not models:
            return shown
        metrics = list(next(iter(models.values())))
        rows = [(name, *(means.get(metric, "") for metric in metrics)) for name, means in models.items()]
        return shown + html.table(["model", *metrics], rows)

    @property
    def name(self) -> str:
        """The name of the run, which is that of its folder."""
        return self.folder.name

    @property
    def choices(self) -> dict[str, Any]:
        """The content of choices.json: the tuning results and the report of the blend.

        Raises:
            RunError: the file is missing or damaged.
        """
        self._check_content("choices.json")
        choices = read_object(self.folder, "choices.json")
        with using(self.folder / "choices.json"):
            check_choices(choices, self.info)
        return choices

    def table(self, name: str) -> pa.Table:
        """Return a table of the run.

        Raises:
            RunError: it is missing or damaged, or does not match run.json.
        """
        self._check_content(f"tables/{name}.parquet")
        table = read_table(self.folder, f"tables/{name}.parquet")
        if "schema" in self.info:
            with using(self.folder / "tables" / f"{name}.parquet"):
                check_table(name, table, self.info, lambda label: self.table(f"nodes-{label}"))
        return table

    def has_table(self, name: str) -> bool:
        """Return whether the run has a table of this name."""
        return (self.folder / "tables" / f"{name}.parquet").is_file()

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays of the run; all numbers are finite.

        Raises:
            RunError: they are missing or damaged.
        """
        self._check_content(f"arrays/{name}.safetensors")
        return read_arrays(self.folder, f"arrays/{name}.safetensors")

    def check_files(self) -> int:
        """Compare each file of the run with its checksum; return the number of files.

        Raises:
            RunError: a file is missing or damaged.
        """
        written = self.info.get("files", {})
        for name in written:
            self._check_content(name)
        return len(written)

    @property
    def number(self) -> int:
        """The consecutive number of the run in its folder, from 1; 0 for a run by an older version of kgrec."""
        number = self.info.get("number")
        return number if isinstance(number, int) else 0

    def _check_content(self, name: str) -> None:
        """Check a file of the run against its checksum in run.json, if it has one."""
        size_of(self.folder, name)
        path, known = self.folder / name, self.info.get("files", {}).get(name)
        try:
            is_other = known is not None and checksum(path) != known
        except OSError as error:
            raise unreadable(path, error.strerror) from error
        if is_other:
            raise unreadable(path, "its checksum does not match")


def new_name() -> str:
    """Return a name for a new run: the time in UTC, and 4 random hexadecimal digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def root_of(graph: str | Path) -> Path:
    """Return the default folder for the runs of a graph; see `GraphUri.runs_folder`.

    Raises:
        StoreError: the URI contains a password, which would become part of the folder's name.
    """
    return GraphUri.parse(graph).runs_folder


def prepare_root(root: Path) -> Path:
    """Create a folder of runs if it is missing, so that a path that cannot be written fails before training.

    Raises:
        RunError: the folder cannot be created or written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise RunError(f"{root} cannot be written: {reason(error)}. Choose another folder with --runs") from error
    return root


def write_run(
    folder: str | Path,
    info: Mapping[str, Any],
    tables: Mapping[str, pa.Table],
    arrays: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    choices: Mapping[str, Any] | None = None,
) -> Run:
    """Write a run folder atomically; a run of the same name is replaced.

    Raises:
        RunError: the folder exists and is not a run, or cannot be written.
    """
    folder = Path(folder)
    check_own(folder)
    full = {"format": FORMAT, "created": datetime.now(UTC).isoformat(timespec="milliseconds"), **info}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(folder) as work:
            made = work / folder.name
            write_content(made, tables, arrays, choices or {})
            full["files"] = checksums(made)
            with locked(folder.parent):
                full["number"] = info.get("number") or _next_number(folder.parent)
                (made / "run.json").write_text(as_json(full), encoding="utf-8")
                sync(made, folder, work / MARKER)
                move_into_place(made, folder, work)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder} cannot be written: {reason(error)}") from error
    return Run(folder, full)


def read_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: the folder is not a run, is damaged, or has an unsupported format.
    """
    folder = Path(folder)
    path = folder / "run.json"
    if not _is_there(path):
        raise RunError(f"{folder} is not a run: it has no run.json. Expected a folder by `kgrec train`")
    info = read_object(folder, "run.json")
    version = info.get("format")
    if not isinstance(version, int):
        raise damaged(path, f"format: found {shown(version)}; expected {FORMAT}")
    if version > FORMAT:
        raise RunError(f"{folder} has format {version}. Expected {FORMAT}. Update kgrec")
    if version < FORMAT:
        raise RunError(f"{folder} has format {version}. Expected {FORMAT}. Run: kgrec train GRAPH")
    with using(path):
        RunInfo.model_validate(info)
    return Run(folder, Facts(path, info))


def list_runs(root: str | Path) -> list[Run]:
    """Return the runs in a folder, oldest first; unreadable runs are skipped.

    Raises:
        RunError: the folder cannot be read.
    """
    return _read_all(root)[0]


def unreadable_runs(root: str | Path) -> dict[str, RunError]:
    """Return the unreadable runs in a folder: name → error.

    Raises:
        RunError: the folder cannot be read.
    """
    return _read_all(root)[1]


def find_run(root: str | Path, name: str | None = None) -> Run:
    """Return the run of a name, or by default the newest; a name that is not in the folder is taken as a path.

    Raises:
        RunError: the run does not exist or is unreadable, the newest may be an unreadable one, or the folder is
            unreadable.
    """
    names = {folder.name for folder in _folders(Path(root))}
    if name is not None:
        if name in names:
            return read_run(Path(root) / name)
        if _is_there(Path(name) / "run.json"):
            return read_run(name)
        if not (Path(root) / name).is_dir():
            known = ", ".join(run.name for run in list_runs(root)) or "none"
            raise RunError(f"no run {name!r} in {root}. Expected one of: {known}")
        return read_run(Path(root) / name)
    runs, faulty = _read_all(root)
    last = runs[-1].name if runs else ""
    for damaged_one, error in faulty.items():
        if not runs or (_NAME.fullmatch(damaged_one) and damaged_one > last):
            raise RunError(f"{error}. It may be the newest run. Name another run, or remove {Path(root) / damaged_one}")
    if not runs:
        raise RunError(f"no run in {root}. Run: kgrec train GRAPH")
    return runs[-1]


def _read_all(root: str | Path) -> tuple[list[Run], dict[str, RunError]]:
    """Return the runs in a folder, oldest first, and the unreadable ones, name → error."""
    runs, faulty = [], {}
    for folder in _folders(Path(root)):
        is_run = _NAME.fullmatch(folder.name) or os.path.lexists(folder / "run.json")
        if is_run and not folder.name.startswith("."):
            try:
                runs.append(read_run(folder))
            except RunError as error:
                faulty[folder.name] = error
    return sorted(runs, key=lambda run: (run.number, str(run.info.get("created")))), faulty


def _folders(root: Path) -> list[Path]:
    """Return the subfolders of a folder; empty if it does not exist.

    Raises:
        RunError: the folder exists and cannot be read, so that its runs are unknown.
    """
    try:
        with os.scandir(root) as entries:
            return sorted(root / entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{root} cannot be read: {reason(error)}. It may contain runs") from error


def _is_there(path: Path) -> bool:
    """Return whether a path exists; a dangling link does.

    Raises:
        RunError: the path cannot be inspected.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise unreadable(path, reason(error)) from error
    return True


def remove_run(folder: Path) -> None:
    """Remove a run: move it to a temporary folder, then delete that, so that an interruption leaves no partial run.

    Raises:
        RunError: the folder is a link, contains other files, or cannot be removed.
    """
    check_own(folder)
    try:
        with work_folder(folder) as work:
            os.replace(folder, work / folder.name)
            shutil.rmtree(work / folder.name)
    except OSError as error:
        raise RunError(f"{folder} cannot be removed: {reason(error)}") from error


def remove_leftovers(root: Path) -> None:
    """Remove the temporary folders of killed jobs in a folder of runs; other files are not touched.

    Older versions of kgrec wrote runs to `.NAME.HOST-PID-ID`, without a marker; complete ones are recognized as runs.
    """
    remove_work_folders(root)
    for left in root.glob(".*.*-*-*/run.json"):
        name = re.fullmatch(r"\..+\.(.+)-(\d+)-[0-9a-f]{8}", left.parent.name)
        if name is None:
            continue
        is_over = name[1] == socket.gethostname().replace(".", "_") and not Path(f"/proc/{name[2]}").exists()
        if is_over or time.time() - left.stat().st_mtime > DAY_SECONDS:
            with suppress(RunError):
                remove_run(left.parent)


def check_own(folder: Path) -> None:
    """Check that a folder is missing, or is a run without other files, so that it can be replaced or removed.

    Raises:
        RunError: the path is something else, or contains other files.
    """
    kind = strange_target(folder)
    if kind and kind != "a folder":
        raise RunError(f"{folder} is {kind}, not a run. Choose another folder")
    if kind is None and not folder.exists():
        return
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder} exists and is not a run. Choose another folder")
    run = read_run(folder)
    strange = sorted({path.name for path in folder.iterdir()} - _OWN)
    written = run.info.get("files")
    if not strange and isinstance(written, dict):
        strange = sorted(set(file_names(folder)) - {*written, "run.json"})
    if strange:
        raise RunError(f"{folder} contains {strange[0]}, which kgrec did not write. Move it away, then run this again")


def _next_number(root: Path) -> int:
    return 1 + max((run.number for run in list_runs(root)), default=0)


def runs_folder(graph: str, runs: str | Path | None = None) -> Path:
    """Return the folder of a graph's runs: `runs`, or the one beside the graph.

    Raises:
        StoreError: neither the folder nor the graph exists, so that the graph's name is probably wrong; or the URI
            contains a password.
    """
    check_uri(graph)
    root = Path(runs or root_of(graph))
    if not root.exists() and not GraphUri.parse(graph).exists:
        raise StoreError(f"no graph at {graph}. Run: kgrec load LOADER SOURCE --into {graph}")
    return root
