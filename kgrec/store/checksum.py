"""Checksum of a graph file, stored in the file: it detects damage and is copied with the file.

It is one page after the last page of the engine, which ignores it because it keeps its own page count.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from kgrec.errors import StoreError

PAGE_BYTES: Final = 4096
"""Size of the checksum's page and of the engine's pages, in bytes."""

MAX_CHECKED_ON_OPEN_BYTES: Final = 64 << 20
"""Size in bytes up to which a file is checked each time it is opened; about 40 ms of SHA-256 at 1.6 GB/s."""

_LINE: Final = re.compile(rb"kgrec sha256 ([0-9a-f]{64})\n")


def seal(path: Path) -> None:
    """Append the checksum to a file.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("rb+") as file:
        page = _page(hashlib.file_digest(file, "sha256").hexdigest().encode())
        file.seek(0, os.SEEK_END)
        file.write(page)


def unseal(path: Path) -> None:
    """Remove the checksum from a file, if it has one.

    Raises:
        OSError: the file cannot be written.
    """
    if _sealed_page(path):
        os.truncate(path, path.stat().st_size - PAGE_BYTES)


def check(path: Path, limit: int | None = None) -> bool:
    """Compare a file with its checksum.

    Args:
        path: the file.
        limit: size in bytes above which the file is not checked.

    Returns:
        True if the file was checked; False if it has no checksum or is larger than the limit.

    Raises:
        StoreError: the file differs from its checksum or cannot be read.
    """
    try:
        size = path.stat().st_size
        seal = _sealed_page(path) if limit is None or size <= limit else None
        is_intact = seal is None or (seal[0] == _page(seal[1]) and _sum(path, size - PAGE_BYTES) == seal[1])
    except OSError as error:
        raise StoreError(f"cannot read the graph {path}: {error.strerror or error}") from error
    if not is_intact:
        raise StoreError(
            f"cannot open {path}: the file is damaged: its checksum does not match. Restore it from a "
            "backup, or load the data into a new graph. If another program changed it on purpose, remove the checksum. "
            f"Run: truncate -s {size - PAGE_BYTES} {path}"
        )
    return seal is not None


def _page(known: bytes) -> bytes:
    """Return the page of a checksum, which repeats the checksum so that damage of the page itself is detected."""
    line = b"kgrec sha256 " + known + b"\n"
    return (line * (PAGE_BYTES // len(line))).ljust(PAGE_BYTES, b"\n")


def _sealed_page(path: Path) -> tuple[bytes, bytes] | None:
    """Return the last page of a file and the checksum in it; None if the file has no checksum."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < PAGE_BYTES:
            return None
        file.seek(size - PAGE_BYTES)
        page = file.read()
    lines = _LINE.findall(page)
    return (page, max(set(lines), key=lines.count)) if lines else None


def _sum(path: Path, n_bytes: int) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(min(1 << 20, n_bytes)):
            digest.update(part)
            n_bytes -= len(part)
    return digest.hexdigest().encode()
