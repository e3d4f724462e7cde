"""Versions of an RDF store in one folder: a change is made on a copy, which becomes the current version in one step.

    shop/lock        held by the writer
    shop/current     name of the version that counts
    shop/graph-7/    a version: files of RocksDB; those that hold data never change, so a copy links them
    shop/graph-7/kgrec.json    which version it is, and a checksum of each file

A change removes the versions before the current one; a reader that has an older one open opens the current one. What
has no such marker is not a version of kgrec's, and stays.
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
    """Return the version that counts, or None if there is none yet.

    Raises:
        StoreError: the folder is not a graph.
    """
    pointer = folder / "current"
    if os.path.lexists(pointer):
        name = "" if strange_target(pointer) else pointer.read_text(encoding="utf-8", errors="replace").strip()
        if not _VERSION.fullmatch(name) or (folder / name).is_symlink():
            raise _no_graph(folder, "whose file `current` is not kgrec's")
        return folder / name
    if folder.is_file():
        raise _no_graph(folder, "a file")
    strange = sorted(path.name for path in folder.iterdir() if not _is_own(path)) if folder.is_dir() else []
    if strange:
        raise _no_graph(folder, f"which holds {strange[0]}")
    return None


def _no_graph(folder: Path, found: str) -> StoreError:
    return StoreError(f"{folder}, {found}, is not a graph of kgrec; expected a new folder, or one that kgrec made")


def _is_own(path: Path) -> bool:
    """Say whether kgrec made what is in the folder of a graph that has no version yet."""
    if path.name == "lock":
        return strange_target(path) is None and path.stat().st_size == 0
    return is_work_folder(path) or _is_marked(path)


def _is_marked(version: Path) -> bool:
    return not version.is_symlink() and read_marker(version).get("version") == version.name


def discard(folder: Path, is_new: bool) -> None:
    """Remove what was made of a graph that nothing was written to; the folder itself only if it `is_new`."""
    _remove_all_but(folder, None)
    (folder / "lock").unlink(missing_ok=True)
    if is_new:
        with suppress(OSError):  # somebody has put something there
            folder.rmdir()


def change(
    folder: Path,
    work: Callable[[pyoxigraph.Store], object],
    empty: bool = False,
    before: Callable[[Path], object] | None = None,
) -> None:
    """Run `work` on a copy of the current version, which becomes the current one if all goes well.

    Args:
        folder: of the graph.
        work: writes to the copy, and keeps no reference to it.
        empty: give it an empty version in place of a copy, and remove the one before at once.
        before: writes to the copy's folder before `work` does, in another process.

    Raises:
        StoreError: it cannot be written, for instance because the disk is full; the graph is as it was.
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
        raise StoreError(f"cannot write {folder}: {reason(error)}; it is as it was") from error
    except BaseException:
        _undo(folder, after)
        raise


def check(version: Path, limit: int | None = None) -> bool:
    """Compare a version's files with their checksums.

    Args:
        version: its folder.
        limit: bytes above which it is not looked at.

    Returns:
        Whether it was checked: it has checksums, and is not above the limit.

    Raises:
        StoreError: a file is not what was written, or does not belong there.
        OSError: it cannot be read.
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
            f"cannot open {version}: {odd[0] if odd else MARKER} is damaged: it is not what was written; restore the "
            f"graph from a backup, or load the data into a new one. If another program changed it on purpose, remove "
            f"{version / MARKER}"
        )
    return True


def _undo(folder: Path, after: Path) -> None:
    """Remove a version that did not become the current one."""
    pointer = folder / "current"
    if _is_marked(after) and not (pointer.is_file() and pointer.read_text(encoding="utf-8") == after.name):
        shutil.rmtree(after, ignore_errors=True)


def _write(version: Path, work: Callable[[pyoxigraph.Store], object]) -> None:
    store = oxigraph()(str(version))
    work(store)
    store.flush()
    del store  # closes it: while it is open the engine goes on to merge files, under a reader's hands


def _seal(made: Path, before: Path | None) -> None:
    """Write the marker of a version, with a checksum of each file; all reach the disk, with the modes of `before`.

    The checksum of a file that is linked is taken over: damage does not become what was written.
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
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        os.close(descriptor)


def _data_files(version: Path) -> list[str]:
    """Return the names of the files that hold a version: not the engine's log for people, lock, and kgrec's marker."""
    names = (path.name for path in version.iterdir())
    return sorted(name for name in names if name not in ("LOCK", MARKER) and not re.fullmatch(r"LOG(\..*)?", name))


def _number(version: Path) -> int:
    return int(version.name.removeprefix("graph-")) if _VERSION.fullmatch(version.name) else 0


def _remove_all_but(folder: Path, kept: Path | None) -> None:
    """Remove the versions that kgrec made: by their marker, or older ones without it that hold nothing else."""
    for version in folder.glob("graph-*"):
        is_older = kept is not None and 0 < _number(version) < _number(kept) and _is_engines(version)
        if version != kept and (_is_marked(version) or is_older):
            with work_folder(version) as work:  # out of sight in one step: half a version would have no marker
                os.replace(version, work / version.name)
                shutil.rmtree(work / version.name)


def _is_engines(version: Path) -> bool:
    """Say whether a folder without a marker holds the engine's files and nothing else."""
    names = [] if version.is_symlink() else [path.name for path in version.iterdir()]
    return "CURRENT" in names and MARKER not in names and all(map(_OF_ENGINE.fullmatch, names))


def _link_data(source: str, target: str) -> None:
    if source.endswith(".sst"):
        os.link(source, target)
    elif not source.endswith("LOCK"):
        shutil.copy2(source, target)
