"""One writer at a time: a lock on the database file that lasts as long as its holder.

The engine's own lock (`fcntl`) is lost as soon as its process opens and closes the file once more, for instance for
reading. A `flock` is not, and it also keeps two writers of one process apart.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kgrec.errors import StoreError, StoreLocked


def lock(path: Path) -> int:
    """Lock a file for writing, creating it if needed; closing the returned descriptor unlocks it.

    Raises:
        StoreLocked: another writer holds it; says which process.
        StoreError: the file cannot be created or opened for writing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"cannot open {path} for writing: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        who = _holder(os.fstat(descriptor).st_ino)
        os.close(descriptor)
        raise StoreLocked(
            f"{path} is open for writing in {who}; wait until it is closed there, "
            f"or open it with read_only=True to read beside the writer"
        ) from error
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
