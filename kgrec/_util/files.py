"""Files written whole or not at all, never through a link; and nothing is removed that kgrec did not make.

A file or folder is made in a work folder beside its place, `.kgrec-ID`, which no other account can enter, and moved to
its place in one step. The work folder holds a marker with that ID, locked while its writer lives: what a killed writer
left is known by it, and nothing else is ever taken for a leftover.
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
"""File in a folder that kgrec made, with the folder's own ID in it."""

_WORK: Final = ".kgrec-"
_MADE_IN: Final = 60
"""Seconds after which a work folder without a marker counts as left behind: its writer makes one at once."""

DAY_SECONDS: Final = 86_400
"""Seconds after which a work folder of another host counts as left behind."""

_KINDS: Final = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def strange_target(path: Path) -> str | None:
    """Return what is at a path where a file shall be written, in words; None for nothing or a plain file.

    Links are not followed: who planted one would choose what is overwritten.

    Raises:
        OSError: the folder cannot be looked into.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        return f"a symbolic link to {os.readlink(path)}"
    return None if stat.S_ISREG(mode) else kind_of(mode)


def kind_of(mode: int) -> str:
    """Return in words what has a mode, as `os.lstat` gives it, such as "a folder"."""
    return next((name for is_of, name in _KINDS if is_of(mode)), "a device")


def check_target(path: str | Path) -> None:
    """Refuse to write a file where something else than a plain file is.

    Raises:
        UsageError: it is a link, a folder, a device or the like.
    """
    found = strange_target(Path(path))
    if found:
        raise UsageError(f"{path} is {found}; expected a plain file, or a name that is free")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a path to write a file to; it takes the place of `path` if the block ends well, whole or not at all.

    A new file gets the mode that the account's umask gives; one that replaces another keeps that one's mode.

    Args:
        path: the file.

    Raises:
        UsageError: at `path` is a link, a folder, a device or the like.
        OSError: the disk refuses; `path` is as it was.
    """
    path = Path(path)
    check_target(path)
    with work_folder(path) as work:
        yield work / path.name
        place(work / path.name, path)


def place(made: Path, path: Path) -> None:
    """Move a file from its work folder to its place, after it has reached the disk.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(made, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        _set_mode(descriptor, path, made.parent / MARKER)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(made, path)


def _set_mode(descriptor: int, path: Path, marker: Path) -> None:
    """Give a file the mode and owner of the one that it replaces, or without one the mode of a new file."""
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
            mode &= ~0o70 | (mode & 0o07) << 3  # another group may not do more than everybody may
    with suppress(PermissionError):  # a file system without modes
        os.fchmod(descriptor, mode)


def write_atomic(path: str | Path, text: str) -> None:
    """Write text to a file that is there whole or not at all, also after a power cut.

    Raises:
        RunError: the disk refuses.
        UsageError: at `path` is a link, a folder, a device or the like.
    """
    try:
        with atomic_path(path) as made:
            made.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write JSON to a file that is there whole or not at all, also after a power cut.

    Raises:
        RunError: the disk refuses.
        UsageError: at `path` is a link, a folder, a device or the like.
    """
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside a file or folder, to make it in; it is removed in the end.

    Args:
        path: what is to be made; what killed writers left in its folder goes first.

    Raises:
        OSError: the disk refuses.
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
        with suppress(OSError):  # where nothing can be locked, nothing is taken for a leftover either
            lock_descriptor(held)
        os.write(held, json.dumps({"id": id_, "host": socket.gethostname()}).encode())
        yield work
    finally:
        if held is not None:
            os.close(held)
        _remove_work(work)


def remove_leftovers(folder: Path) -> None:
    """Remove the work folders that killed writers left in a folder."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for left in os.scandir(folder):
            if left.name.startswith(_WORK) and left.is_dir(follow_symlinks=False):
                _remove_if_left(Path(left.path))


def _remove_if_left(work: Path) -> None:
    """Remove a work folder if its marker says so, and its writer is gone: of this host, or for a day."""
    with suppress(OSError):
        if is_bare(work):
            if time.time() - work.stat().st_mtime > _MADE_IN:
                _remove_work(work)
            return
        descriptor = os.open(work / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not lock_descriptor(descriptor, blocking=False):
                return
            found = _parsed(os.read(descriptor, 1 << 16))
            is_ours = found.get("id") == work.name.removeprefix(_WORK)
            is_old = time.time() - os.fstat(descriptor).st_mtime > DAY_SECONDS
            is_over = is_ours and (is_old or found.get("host") == socket.gethostname())
        finally:
            os.close(descriptor)
        if is_over:
            _remove_work(work)


def _remove_work(work: Path) -> None:
    """Remove a work folder, its marker last: what is cut off is still known as a leftover."""
    with suppress(OSError):
        for path in work.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != MARKER:
                path.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)


def is_bare(work: Path) -> bool:
    """Say whether a folder is a work folder that holds nothing: its writer was killed as it made or removed it.

    Raises:
        OSError: the folder cannot be looked into.
    """
    return re.fullmatch(r"\.kgrec-[0-9a-f]{32}", work.name) is not None and all(
        entry.name == MARKER and entry.lstat().st_size == 0 for entry in work.iterdir()
    )


def is_work_folder(path: Path) -> bool:
    """Say whether a folder is one that `work_folder` made, by its marker or because it is bare.

    Raises:
        OSError: the folder cannot be looked into.
    """
    if path.is_symlink() or not path.is_dir():
        return False
    return is_bare(path) or (
        path.name.startswith(_WORK) and read_marker(path).get("id") == path.name.removeprefix(_WORK)
    )


def read_marker(folder: Path) -> dict[str, Any]:
    """Return what the marker in a folder says; nothing if there is none, or it is something else."""
    try:
        descriptor = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return {}
    with os.fdopen(descriptor, "rb") as file:
        return _parsed(file.read()) if stat.S_ISREG(os.fstat(descriptor).st_mode) else {}


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def reason(error: Exception) -> str:
    """Return why the system refused, without number and path: `no space left on device`; else what the error says."""
    text = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return text[:1].lower() + text[1:]


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it; a link is not followed.

    Raises:
        OSError: it cannot be read, or is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes and threads out of the block that lock the same folder; for moments, not for jobs.

    A file system that cannot lock a folder, such as some on a network, goes without.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            lock_descriptor(descriptor, poll_interval=0.005)
        yield
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Return where kgrec keeps what can be made again: the environment's KGREC_CACHE, else the user's cache folder."""
    return Path(os.environ.get("KGREC_CACHE") or platformdirs.user_cache_dir("kgrec"))
