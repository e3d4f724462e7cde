"""A file with one writer that changes whole: locked while it is open for writing, replaced in one step.

The lock is a `flock`, which unlike the engine's own (`fcntl`) keeps two writers of one process apart, and is not lost
when its process opens and closes the file once more.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from kgrec._util.files import place, reason, strange_target, work_folder
from kgrec.errors import StoreError, StoreLocked
from kgrec.store.checksum import check, seal, unseal


def lock(path: Path) -> int:
    """Lock a file for writing, creating it, and its folder, if needed; closing the returned descriptor unlocks it.

    Raises:
        StoreLocked: another writer holds it; says which process.
        StoreError: the file cannot be created or opened for writing.
    """
    while True:
        descriptor = _locked(path)
        if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
        os.close(descriptor)  # a writer replaced the file in between


def _locked(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = strange_target(path)
        if found and found != "a folder":
            raise StoreError(f"cannot open {path} for writing: it is {found}; expected a plain file, or a free name")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise StoreError(f"cannot open {path} for writing: {error.strerror}") from error
    if not lock_descriptor(descriptor, blocking=False):
        who = _holder(os.fstat(descriptor).st_ino)
        os.close(descriptor)
        raise StoreLocked(
            f"{path} is open for writing in {who}; wait until it is closed there, "
            f"or open it with read_only=True to read beside the writer"
        )
    return descriptor


def _holder(inode: int) -> str:
    """Name the process that holds a lock on a file, as far as the system tells."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return "another process"
    for line in lines:
        _, kind, _, _, pid, file, *_ = line.replace("-> ", "").split()
        if kind == "FLOCK" and file.endswith(f":{inode}"):
            return "this process" if int(pid) == os.getpid() else f"process {pid}"
    return "another process"


@contextmanager
def replacement(path: Path, empty: bool = False) -> Iterator[tuple[Path, int]]:
    """Yield a copy of a file and the copy's lock; it takes the file's place if the block ends well, else it is removed.

    Args:
        path: the file.
        empty: yield an empty file in place of a copy.

    Raises:
        StoreError: the copy cannot be made, for instance because the disk is full; or the file is damaged.
    """
    try:
        with work_folder(path) as work:
            copy = work / path.name
            if not empty:
                check(path)
                shutil.copyfile(path, copy)
                unseal(copy)
            locked = lock(copy)
            try:
                yield copy, locked
                seal(copy)
                place(copy, path)
            except BaseException:
                os.close(locked)
                raise
    except OSError as error:
        raise StoreError(f"cannot write {path}: {reason(error)}; it is as it was") from error


def own_path(uri: str, path: Path, read_only: bool) -> Path:
    """Return the absolute path of a graph: through a link for reading, never for writing.

    Raises:
        StoreError: it is a link, and the graph is to be written.
    """
    path = path.expanduser()
    if path.is_symlink() and not read_only:
        raise StoreError(
            f"cannot open {uri} for writing: it is a symbolic link; name the graph itself, {path.resolve()}: "
            "what kgrec writes takes a file's place, and its runs are beside it"
        )
    return path.resolve()


def identity(path: Path) -> tuple[int, ...]:
    """Return what tells a file from the one that took its place; nothing if there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return ()
    return state.st_ino, state.st_mtime_ns, state.st_size
