"""A graph file with one writer and atomic changes: locked while it is open for writing, replaced in one step.

The lock is a `flock`. Unlike the engine's `fcntl` lock it separates two writers of the same process, and it is not lost
when the process opens and closes the file again.
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
    """Lock a file for writing and return its descriptor; closing the descriptor unlocks the file.

    The file and its folder are created if they do not exist.

    Raises:
        StoreLocked: another writer holds the lock; the message names its process.
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
        kind = strange_target(path)
        if kind and kind != "a folder":
            raise StoreError(f"cannot open {path} for writing: it is {kind}; expected a plain file, or a free name")
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
    """Return the name of the process that holds the lock of a file, or "another process" if it is unknown."""
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
    """Yield a copy of a file and the copy's lock; the copy replaces the file if the block succeeds.

    If the block fails, the copy is removed and the file stays as it was.

    Args:
        path: the file.
        empty: yield an empty file instead of a copy.

    Raises:
        StoreError: the copy cannot be made, for instance because the disk is full, or the file is damaged.
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
        raise StoreError(f"cannot write {path}: {reason(error)}; the file was not changed") from error


def own_path(uri: str, path: Path, read_only: bool) -> Path:
    """Return the absolute path of a graph; a symbolic link is followed only for reading.

    Raises:
        StoreError: the path is a symbolic link and the graph is opened for writing.
    """
    path = path.expanduser()
    if path.is_symlink() and not read_only:
        raise StoreError(
            f"cannot open {uri} for writing: it is a symbolic link, which a write would replace. "
            f"Expected the path of the graph: {path.resolve()}"
        )
    return path.resolve()


def identity(path: Path) -> tuple[int, ...]:
    """Return (inode, mtime, size) of a file, which changes when the file is replaced; `()` if it does not exist."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return ()
    return state.st_ino, state.st_mtime_ns, state.st_size
