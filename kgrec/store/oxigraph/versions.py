"""Versions of an RDF store in one folder: each change is made on a copy that atomically becomes the current version.

    shop/lock                  locked by the writer
    shop/current               name of the current version
    shop/graph-7/              a version: files of RocksDB; its data files never change, so a copy hard-links them
    shop/graph-7/kgrec.json    marker: name of the version and a checksum of each file

A change removes the versions older than the one it replaces; a reader of a removed version reopens the current one.
Folders without a marker were not made by kgrec and are kept.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kgrec._util.files import (
    MARKER,
    atomic_path,
    checksum,
    is_work_folder,
    read_marker,
    reason,
    strange_target,
    work_folder,
)
from kgrec.errors import StoreError
from kgrec.rdf.triples import oxigraph

if TYPE_CHECKING:
    import pyoxigraph

_VERSION: Final = re.compile(r"graph-[1-9]\d{0,17}")
_OF_ENGINE: Final = re.compile(r"\d+\.(sst|log)|CURRENT|IDENTITY|LOCK|LOG(\.old\.\d+)?|(MANIFEST|OPTIONS)-\d+")


def current(folder: Path) -> Path | None:
    """Return the folder of the current version, or None if there is no version yet.

    Raises:
        StoreError: the folder is not a graph.
    """
    pointer = folder / "current"
    if os.path.lexists(pointer):
        name = "" if strange_target(pointer) else pointer.read_text(encoding="utf-8", errors="replace").strip()
        if not _VERSION.fullmatch(name) or (folder / name).is_symlink():
            raise _no_graph(folder, "its file `current` names no version")
        return folder / name
    if folder.is_file():
        raise _no_graph(folder, "it is a file")
    strange = sorted(path.name for path in folder.iterdir() if not _is_own(path)) if folder.is_dir() else []
    if strange:
        raise _no_graph(folder, f"it holds {strange[0]}")
    return None


def _no_graph(folder: Path, found: str) -> StoreError:
    return StoreError(f"{folder} is not a graph: {found}. Expected a new folder, or one that kgrec created")


def _is_own(path: Path) -> bool:
    """Return True if kgrec created this entry of the folder of a graph without a version."""
    if path.name == "lock":
        return strange_target(path) is None and path.stat().st_size == 0
    return is_work_folder(path) or _is_marked(path)


def _is_marked(version: Path) -> bool:
    return not version.is_symlink() and read_marker(version).get("version") == version.name


def discard(folder: Path, is_new: bool) -> None:
    """Remove the files of a graph that was never written to, and the folder if kgrec created it (`is_new`)."""
    _remove_all_but(folder, None)
    (folder / "lock").unlink(missing_ok=True)
    if is_new:
        with suppress(OSError):  # another program added a file
            folder.rmdir()


def change(
    folder: Path,
    work: Callable[[pyoxigraph.Store], object],
    empty: bool = False,
    before: Callable[[Path], object] | None = None,
) -> None:
    """Run `work` on a copy of the current version; the copy becomes the current version if `work` succeeds.

    Args:
        folder: folder of the graph.
        work: function that writes to the copy and keeps no reference to it.
        empty: start from an empty version instead of a copy, and remove the old version immediately.
        before: function that writes to the copy's folder in another process before `work` runs.

    Raises:
        StoreError: the folder cannot be written, for instance because the disk is full; the graph is unchanged.
    """
    there = current(folder)
    after = folder / f"graph-{1 + max(map(_number, folder.glob('graph-*')), default=0)}"
    try:
        _remove_all_but(folder, there)
        with work_folder(after) as place:
            made = place / after.name
            if there and not empty:
                shutil.copytree(there, made, copy_function=_link_data)
            if before:
                before(made)
            _write(made, work)
            _seal(made, there)
            os.replace(made, after)
        with atomic_path(folder / "current") as pointer:
            pointer.write_text(after.name, encoding="utf-8")
        if empty:
            _remove_all_but(folder, after)
    except OSError as error:
        _undo(folder, after)
        raise StoreError(f"cannot write {folder}: {reason(error)}; the graph was not changed") from error
    except BaseException:
        _undo(folder, after)
        raise


def check(version: Path, limit: int | None = None) -> bool:
    """Compare a version's files with their checksums.

    Args:
        version: folder of the version.
        limit: total size in bytes above which the version is not checked.

    Returns:
        True if the version was checked; False if it has no checksums or is larger than the limit.

    Raises:
        StoreError: a file differs from its checksum, is missing, or does not belong to the version.
        OSError: a file cannot be read.
    """
    if not os.path.lexists(version / MARKER):
        return False
    known, files = read_marker(version).get("files"), _data_files(version)
    if limit is not None and sum((version / name).lstat().st_size for name in files) > limit:
        return False
    known = known if isinstance(known, dict) else {}
    odd = sorted(known.keys() ^ set(files)) or [name for name in files if checksum(version / name) != known[name]]
    if odd or not _is_marked(version):
        raise StoreError(
            f"cannot open {version}: {odd[0] if odd else MARKER} is damaged: its checksum does not match. Restore "
            "the graph from a backup, or load the data into a new graph. If another program changed it on purpose, "
            f"remove {version / MARKER}"
        )
    return True


def _undo(folder: Path, after: Path) -> None:
    """Remove a version that did not become the current version."""
    pointer = folder / "current"
    if _is_marked(after) and not (pointer.is_file() and pointer.read_text(encoding="utf-8") == after.name):
        shutil.rmtree(after, ignore_errors=True)


def _write(version: Path, work: Callable[[pyoxigraph.Store], object]) -> None:
    store = oxigraph()(str(version))
    work(store)
    store.flush()
    del store  # closes the store: an open engine keeps merging files while readers use them


def _seal(made: Path, before: Path | None) -> None:
    """Write the marker with a checksum of each file, apply the modes of `before`, and sync all files to disk.

    A file that is linked to `before` keeps its earlier checksum, so that damage in it is still detected.
    """
    known = read_marker(before).get("files", {}) if before else {}
    sums: dict[str, str] = {}
    for name in _data_files(made):
        is_linked = before is not None and name in known and (before / name).exists()
        if is_linked and before is not None and (before / name).samefile(made / name):
            sums[name] = known[name]
        else:
            sums[name] = checksum(made / name)
    (made / MARKER).unlink(missing_ok=True)
    (made / MARKER).write_text(json.dumps({"version": made.name, "files": sums}), encoding="utf-8")
    if before:
        made.chmod(stat.S_IMODE(before.stat().st_mode))
    mode = stat.S_IMODE((before / "CURRENT").stat().st_mode) if before else None
    for file in made.iterdir():
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _data_files(version: Path) -> list[str]:
    """Return the names of the data files of a version: all files except the engine's log and lock, and the marker."""
    names = (path.name for path in version.iterdir())
    return sorted(name for name in names if name not in ("LOCK", MARKER) and not re.fullmatch(r"LOG(\..*)?", name))


def _number(version: Path) -> int:
    return int(version.name.removeprefix("graph-")) if _VERSION.fullmatch(version.name) else 0


def _remove_all_but(folder: Path, kept: Path | None) -> None:
    """Remove all versions except `kept`: those with a marker, and older ones that hold only files of the engine."""
    for version in folder.glob("graph-*"):
        is_older = kept is not None and 0 < _number(version) < _number(kept) and _is_written_by_engine(version)
        if version != kept and (_is_marked(version) or is_older):
            with work_folder(version) as work:  # moved away atomically: a partly deleted version would have no marker
                os.replace(version, work / version.name)
                shutil.rmtree(work / version.name)


def _is_written_by_engine(version: Path) -> bool:
    """Return True if a folder without a marker holds only files of the engine."""
    names = [] if version.is_symlink() else [path.name for path in version.iterdir()]
    return "CURRENT" in names and MARKER not in names and all(map(_OF_ENGINE.fullmatch, names))


def _link_data(source: str, target: str) -> None:
    if source.endswith(".sst"):
        os.link(source, target)
    elif not source.endswith("LOCK"):
        shutil.copy2(source, target)
