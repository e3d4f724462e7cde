"""Atomic writing of files and folders, which never follows links and removes only what kgrec created.

A file or folder is made in a work folder `.kgrec-ID` beside its target, which only this account can access, and then
moved to its target in one step. The work folder holds a marker with its ID that is locked while the writer runs. The
marker identifies leftovers of a killed writer, and nothing else is ever removed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import platformdirs
from filelock import lock_descriptor

from kgrec.errors import RunError, UsageError

MARKER: Final = "kgrec.json"
"""Name of the marker file, which holds the ID of the folder that kgrec created."""

_WORK: Final = ".kgrec-"
_MARKER_SECONDS: Final = 60
"""Seconds after which a work folder without a marker counts as a leftover; its writer creates a marker first."""

DAY_SECONDS: Final = 86_400
"""Seconds after which a work folder of another host counts as a leftover."""

_KINDS: Final = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def strange_target(path: Path) -> str | None:
    """Return in words what is at the target path of a file; None if the path is free or a plain file.

    Links are not followed, since whoever placed one would choose the file that is overwritten.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        return f"a symbolic link to {os.readlink(path)}"
    return None if stat.S_ISREG(mode) else kind_of(mode)


def kind_of(mode: int) -> str:
    """Return the kind of file of an `os.lstat` mode in words, such as "a folder"."""
    return next((name for is_of, name in _KINDS if is_of(mode)), "a device")


def check_target(path: str | Path) -> None:
    """Check that the target path of a file is free or a plain file.

    Raises:
        UsageError: the path is a link, a folder, a device or the like.
    """
    kind = strange_target(Path(path))
    if kind:
        raise UsageError(f"{path} is {kind}; expected a plain file, or a free name")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file that replaces `path` atomically if the block succeeds.

    A new file gets the mode of the account's umask; a replaced file keeps its mode.

    Args:
        path: target of the file.

    Raises:
        UsageError: `path` is a link, a folder, a device or the like.
        OSError: the file cannot be written; `path` is unchanged.
    """
    path = Path(path)
    check_target(path)
    with work_folder(path) as work:
        yield work / path.name
        place(work / path.name, path)


def place(made: Path, path: Path) -> None:
    """Sync a file in its work folder to disk and move it to its target.

    Raises:
        OSError: the file cannot be written.
    """
    descriptor = os.open(made, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        _set_mode(descriptor, path, made.parent / MARKER)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(made, path)


def _set_mode(descriptor: int, path: Path, marker: Path) -> None:
    """Set the mode and owner of the file that is replaced, or the mode of a new file if there is none."""
    try:
        old = path.lstat()
    except FileNotFoundError:
        with suppress(PermissionError):  # a file system without modes
            os.fchmod(descriptor, stat.S_IMODE(marker.stat().st_mode))
        return
    mode, new = stat.S_IMODE(old.st_mode), os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError:
            mode &= ~0o70 | (mode & 0o07) << 3  # another group gets no more rights than all users
    with suppress(PermissionError):  # a file system without modes
        os.fchmod(descriptor, mode)


def write_atomic(path: str | Path, text: str) -> None:
    """Write text to a file atomically and durably.

    Raises:
        RunError: the file cannot be written.
        UsageError: `path` is a link, a folder, a device or the like.
    """
    try:
        with atomic_path(path) as made:
            made.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write JSON to a file atomically and durably.

    Raises:
        RunError: the file cannot be written.
        UsageError: `path` is a link, a folder, a device or the like.
    """
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Yield a new work folder beside a file or folder to make; it is removed after the block.

    Leftovers of killed writers in the same parent folder are removed before.

    Args:
        path: target of the file or folder.

    Raises:
        OSError: the folder cannot be created.
    """
    remove_leftovers(path.parent)
    id_ = uuid.uuid4().hex
    work = path.with_name(f"{_WORK}{id_}")
    try:
        os.mkdir(work, 0o700)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    held = None
    try:
        held = os.open(work / MARKER, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # without locks no folder is treated as a leftover either
            lock_descriptor(held)
        os.write(held, json.dumps({"id": id_, "host": socket.gethostname()}).encode())
        yield work
    finally:
        if held is not None:
            os.close(held)
        _remove_work(work)


def remove_leftovers(folder: Path) -> None:
    """Remove the work folders of killed writers from a folder."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for left in os.scandir(folder):
            if left.name.startswith(_WORK) and left.is_dir(follow_symlinks=False):
                _remove_if_left(Path(left.path))


def _remove_if_left(work: Path) -> None:
    """Remove a work folder with a valid, unlocked marker that is of this host or older than a day."""
    with suppress(OSError):
        if is_bare(work):
            if time.time() - work.stat().st_mtime > _MARKER_SECONDS:
                _remove_work(work)
            return
        descriptor = os.open(work / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not lock_descriptor(descriptor, blocking=False):
                return
            marker = _parsed(os.read(descriptor, 1 << 16))
            is_ours = marker.get("id") == work.name.removeprefix(_WORK)
            is_old = time.time() - os.fstat(descriptor).st_mtime > DAY_SECONDS
            is_over = is_ours and (is_old or marker.get("host") == socket.gethostname())
        finally:
            os.close(descriptor)
        if is_over:
            _remove_work(work)


def _remove_work(work: Path) -> None:
    """Remove a work folder, its marker last, so that an interrupted removal still leaves a recognizable leftover."""
    with suppress(OSError):
        for path in work.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != MARKER:
                path.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def is_bare(work: Path) -> bool:
    """Return True if a folder is an empty work folder, whose writer was killed while creating or removing it.

    Raises:
        OSError: the folder cannot be read.
    """
    return re.fullmatch(r"\.kgrec-[0-9a-f]{32}", work.name) is not None and all(
        entry.name == MARKER and entry.lstat().st_size == 0 for entry in work.iterdir()
    )


def is_work_folder(path: Path) -> bool:
    """Return True if `work_folder` created a folder, judged by its marker or because it is bare.

    Raises:
        OSError: the folder cannot be read.
    """
    if path.is_symlink() or not path.is_dir():
        return False
    return is_bare(path) or (
        path.name.startswith(_WORK) and read_marker(path).get("id") == path.name.removeprefix(_WORK)
    )


def read_marker(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's marker; empty if there is no valid marker."""
    try:
        descriptor = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return {}
    with os.fdopen(descriptor, "rb") as file:
        return _parsed(file.read()) if stat.S_ISREG(os.fstat(descriptor).st_mode) else {}


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def reason(error: Exception) -> str:
    """Return the reason of an error without number and path, such as `no space left on device`."""
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return text[:1].lower() + text[1:]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; a link is not followed.

    Raises:
        OSError: the file cannot be read or is not a plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder during the block, against other processes and threads; meant for short blocks.

    On file systems that cannot lock folders, such as some network file systems, the block runs without a lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            lock_descriptor(descriptor, poll_interval=0.005)
        yield
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Return the cache folder of kgrec: KGREC_CACHE of the environment, else kgrec's folder in the user's cache."""
    return Path(os.environ.get("KGREC_CACHE") or platformdirs.user_cache_dir("kgrec"))
