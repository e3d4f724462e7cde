"""Runs on disk: one folder for one trained, evaluated, publishable result.

    RUN/run.json                 format, versions, config, seed, digests, metrics, seconds
    RUN/choices.json             every setting tried and how well it did, and how the blend came about
    RUN/tables/NAME.parquet      nodes (their order is the id map), relationships, recommendations
    RUN/arrays/NAME.safetensors  what the signals learned

A folder appears whole or not at all: it is written beside its place and moved there. `run.json` holds a checksum of
every other file, and the run's number, by which runs are ordered: a clock may be wrong.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import save_file

from kgrec._util import html
from kgrec._util.files import DAY_SECONDS, MARKER, checksum, locked, reason, strange_target, work_folder
from kgrec._util.files import remove_leftovers as remove_work_folders
from kgrec.errors import RunError, StoreError
from kgrec.runs.content_checks import Facts, RunInfo, check_choices, check_table
from kgrec.runs.untrusted_files import damaged, read_arrays, read_object, read_table, shown, size_of, unreadable, using
from kgrec.store.uri import GraphUri, check_uri

FORMAT: Final = 3
_NAME: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
"""Names that `new_name` gives."""
_OWN: Final = frozenset({"run.json", "choices.json", "tables", "arrays"})
"""What is in a run folder."""


@dataclass(frozen=True)
class Run:
    """A run folder that was opened.

    Attributes:
        folder: where it is.
        info: the content of run.json.
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
        rows = [(name, *(found.get(metric, "") for metric in metrics)) for name, found in models.items()]
        return shown + html.table(["model", *metrics], rows)

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
        self._check_content("choices.json")
        found = read_object(self.folder, "choices.json")
        with using(self.folder / "choices.json"):
            check_choices(found, self.info)
        return found

    def table(self, name: str) -> pa.Table:
        """Return a table of the run.

        Raises:
            RunError: it is missing or damaged, or is not what run.json says.
        """
        self._check_content(f"tables/{name}.parquet")
        table = read_table(self.folder, f"tables/{name}.parquet")
        if "schema" in self.info:
            with using(self.folder / "tables" / f"{name}.parquet"):
                check_table(name, table, self.info, lambda label: self.table(f"nodes-{label}"))
        return table

    def has_table(self, name: str) -> bool:
        """Say whether there is a table of a name."""
        return (self.folder / "tables" / f"{name}.parquet").is_file()

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return named arrays of the run; all numbers are finite.

        Raises:
            RunError: they are missing or damaged.
        """
        self._check_content(f"arrays/{name}.safetensors")
        return read_arrays(self.folder, f"arrays/{name}.safetensors")

    def check_files(self) -> int:
        """Compare every file of the run with its checksum; return how many there were.

        Raises:
            RunError: one is missing or damaged.
        """
        written = self.info.get("files", {})
        for name in written:
            self._check_content(name)
        return len(written)

    @property
    def number(self) -> int:
        """The how-manieth run of its folder it is, from 1; 0 for one that an older kgrec wrote."""
        number = self.info.get("number")
        return number if isinstance(number, int) else 0

    def _check_content(self, name: str) -> None:
        """See that the content of a file of the run is what was written, where run.json says what that was."""
        size_of(self.folder, name)
        path, known = self.folder / name, self.info.get("files", {}).get(name)
        try:
            is_other = known is not None and checksum(path) != known
        except OSError as error:
            raise unreadable(path, error.strerror) from error
        if is_other:
            raise unreadable(path, "its content is not what was written")


def new_name() -> str:
    """Return a name for a new run: the time in UTC, and something that no other run of that second has."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def root_of(graph: str | Path) -> Path:
    """Return the folder that holds the runs of a graph; see `GraphUri.runs_folder`.

    Raises:
        StoreError: the URI holds a password, which would be in the folder's name.
    """
    return GraphUri.parse(graph).runs_folder


def prepare_root(root: Path) -> Path:
    """Make a folder of runs if it is missing: what cannot be written is known before the work, not after it.

    Raises:
        RunError: it cannot be made, or this account may not write to it.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise RunError(f"{root} cannot be written: {reason(error)}; name another folder with --runs") from error
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
    check_own(folder)
    full = {"format": FORMAT, "created": datetime.now(UTC).isoformat(timespec="milliseconds"), **info}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with work_folder(folder) as work:
            made = work / folder.name
            _fill(made, tables, arrays, choices or {})
            full["files"] = _sums(made)
            with locked(folder.parent):
                full["number"] = info.get("number") or _next_number(folder.parent)
                (made / "run.json").write_text(_json(full), encoding="utf-8")
                _sync(made, folder, work / MARKER)
                _move(made, folder, work)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{folder} cannot be written: {reason(error)}") from error
    return Run(folder, full)


def read_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: it is not a run, is damaged, or was written by a newer kgrec, or one too old.
    """
    folder = Path(folder)
    path = folder / "run.json"
    if not _is_there(path):
        raise RunError(f"{folder} is not a run: no run.json; expected a folder that `kgrec train` wrote")
    info = read_object(folder, "run.json")
    version = info.get("format")
    if not isinstance(version, int):
        raise damaged(path, f"format: found {shown(version)}; expected {FORMAT}")
    if version > FORMAT:
        raise RunError(f"{folder} has format {version}, this kgrec reads {FORMAT}; update kgrec")
    if version < FORMAT:
        raise RunError(f"{folder} has format {version}, this kgrec reads {FORMAT}; train again: kgrec train GRAPH")
    with using(path):
        RunInfo.model_validate(info)
    return Run(folder, Facts(path, info))


def list_runs(root: str | Path) -> list[Run]:
    """Return the runs below a folder, oldest first; what is not a readable run is passed over.

    Raises:
        RunError: the folder cannot be read.
    """
    return _read_all(root)[0]


def unreadable_runs(root: str | Path) -> dict[str, RunError]:
    """Return why runs below a folder cannot be read: name → error.

    Raises:
        RunError: the folder cannot be read.
    """
    return _read_all(root)[1]


def find_run(root: str | Path, name: str | None = None) -> Run:
    """Return a run by name, or the newest; what is no name of one below the folder is taken as a path.

    Raises:
        RunError: there is none, none of that name, one that cannot be read may be the newest, or the folder cannot be.
    """
    names = {folder.name for folder in _folders(Path(root))}
    if name is not None:
        if name in names:
            return read_run(Path(root) / name)
        if _is_there(Path(name) / "run.json"):
            return read_run(name)
        if not (Path(root) / name).is_dir():
            known = ", ".join(run.name for run in list_runs(root)) or "none"
            raise RunError(f"no run {name!r} in {root}; there are: {known}")
        return read_run(Path(root) / name)
    runs, faulty = _read_all(root)
    last = runs[-1].name if runs else ""
    for damaged_one, error in faulty.items():
        if not runs or (_NAME.fullmatch(damaged_one) and damaged_one > last):
            raise RunError(f"{error}. It may be the newest run: name another one, or remove {Path(root) / damaged_one}")
    if not runs:
        raise RunError(f"no run in {root}; train one first: kgrec train GRAPH")
    return runs[-1]


def _read_all(root: str | Path) -> tuple[list[Run], dict[str, RunError]]:
    """Return the runs below a folder, oldest first, and name → error of those that cannot be read."""
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
    """Return the folders in a folder; none where there is no such folder.

    Raises:
        RunError: it cannot be read; what is in it is then not known, rather than absent.
    """
    try:
        with os.scandir(root) as entries:
            return sorted(root / entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{root} cannot be read: {reason(error)}; it may hold runs") from error


def _is_there(path: Path) -> bool:
    """Say whether there is anything at a path, a link that leads nowhere too.

    Raises:
        RunError: the system does not tell.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise unreadable(path, reason(error)) from error
    return True


def remove_run(folder: Path) -> None:
    """Remove a run: out of sight in one step, so that what is cut off leaves no half of a run.

    Raises:
        RunError: the folder is a link, or holds what is not of a run, or the disk refuses.
    """
    check_own(folder)
    try:
        with work_folder(folder) as work:
            os.replace(folder, work / folder.name)
            shutil.rmtree(work / folder.name)
    except OSError as error:
        raise RunError(f"{folder} cannot be removed: {reason(error)}") from error


def remove_leftovers(root: Path) -> None:
    """Remove what writers of runs left below a folder when they were killed; nothing that kgrec did not make.

    Before work folders had markers, a run was made in `.NAME.HOST-PID-ID`; one that was whole is known as a run.
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
    """Refuse to replace or remove a folder that holds anything that kgrec did not write.

    Raises:
        RunError: says what it is, or holds.
    """
    found = strange_target(folder)
    if found and found != "a folder":
        raise RunError(f"{folder} is {found}, not a run; name another folder")
    if found is None and not folder.exists():
        return
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder} exists and is not a run; name another folder")
    run = read_run(folder)
    strange = sorted({path.name for path in folder.iterdir()} - _OWN)
    written = run.info.get("files")
    if not strange and isinstance(written, dict):
        strange = sorted(set(_names(folder)) - {*written, "run.json"})
    if strange:
        raise RunError(f"{folder} holds {strange[0]}, which kgrec did not write; move it elsewhere, and run this again")


def _next_number(root: Path) -> int:
    return 1 + max((run.number for run in list_runs(root)), default=0)


def _fill(
    folder: Path,
    tables: Mapping[str, pa.Table],
    arrays: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    choices: Mapping[str, Any],
) -> None:
    for part in ("", "tables", "arrays"):
        (folder / part).mkdir()
    for name, table in tables.items():
        pq.write_table(table, folder / "tables" / f"{name}.parquet", compression="zstd")
    for name, named in arrays.items():
        contiguous = {key: np.ascontiguousarray(array) for key, array in named.items()}
        save_file(contiguous, folder / "arrays" / f"{name}.safetensors")
    (folder / "choices.json").write_text(_json(choices), encoding="utf-8")


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


def _names(folder: Path) -> list[str]:
    """Return the files below a folder by their paths in it; of a run folder two levels."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def _sums(folder: Path) -> dict[str, str]:
    return {name: checksum(folder / name) for name in _names(folder)}


def _sync(made: Path, folder: Path, marker: Path) -> None:
    """Give all files of a run one mode, that of the run which it replaces, or of any new file; see them on the disk."""
    old = folder / "run.json"
    mode = stat.S_IMODE((old if old.is_file() else marker).stat().st_mode)
    for path in (made, made / "tables", made / "arrays"):
        if old.is_file():
            path.chmod(stat.S_IMODE(folder.stat().st_mode))
    for name in _names(made):
        descriptor = os.open(made / name, os.O_RDONLY)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        os.close(descriptor)


def _move(made: Path, folder: Path, work: Path) -> None:
    if folder.exists():
        (work / "before").mkdir()
        os.replace(folder, work / "before" / folder.name)
    os.replace(made, folder)


def runs_folder(graph: str, runs: str | Path | None = None) -> Path:
    """Return the folder of a graph's runs: `runs`, or the one beside the graph.

    Raises:
        StoreError: neither that folder nor the graph is there, so the graph's name is most likely wrong; or the URI
            holds a password.
    """
    check_uri(graph)
    root = Path(runs or root_of(graph))
    if not root.exists() and not GraphUri.parse(graph).exists:
        raise StoreError(f"no graph at {graph}; load data first: kgrec load LOADER SOURCE --into {graph}")
    return root
