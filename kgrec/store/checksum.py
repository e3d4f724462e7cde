"""A checksum in the graph's own file: damage is noticed, and a copy of the file carries it along.

It is one page after the engine's, which the engine neither reads nor misses: it counts its pages itself.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final

from kgrec.errors import StoreError

PAGE_BYTES: Final = 4096
"""Bytes of the checksum's page, and of the engine's."""

CHEAP_BYTES: Final = 64 << 20
"""Bytes of a file that is checked whenever it is opened: 40 ms where SHA-256 takes 1.6 GB/s."""

_LINE: Final = re.compile(rb"kgrec sha256 ([0-9a-f]{64})\n")


def seal(path: Path) -> None:
    """Add the checksum to a file.

    Raises:
        OSError: the disk refuses.
    """
    with path.open("rb+") as file:
        page = _page(hashlib.file_digest(file, "sha256").hexdigest().encode())
        file.seek(0, os.SEEK_END)
        file.write(page)


def unseal(path: Path) -> None:
    """Take the checksum off a file, if it has one.

    Raises:
        OSError: the disk refuses.
    """
    if _found(path):
        os.truncate(path, path.stat().st_size - PAGE_BYTES)


def check(path: Path, limit: int | None = None) -> bool:
    """Compare a file with its checksum.

    Args:
        path: the file.
        limit: bytes above which it is not looked at.

    Returns:
        Whether it was checked: it has a checksum, and is not above the limit.

    Raises:
        StoreError: it is not what was written, or cannot be read.
    """
    try:
        size = path.stat().st_size
        found = _found(path) if limit is None or size <= limit else None
        is_whole = found is None or (found[0] == _page(found[1]) and _sum(path, size - PAGE_BYTES) == found[1])
    except OSError as error:
        raise StoreError(f"cannot read the graph {path}: {error.strerror or error}") from error
    if not is_whole:
        raise StoreError(
            f"cannot open {path}: it is damaged: its content is not what was written; restore it from a backup, or "
            "load the data into a new graph. If another program changed it on purpose, take its checksum off: "
            f"truncate -s {size - PAGE_BYTES} {path}"
        )
    return found is not None


def _page(known: bytes) -> bytes:
    """Return the page of a checksum: it says so often that damage of the page itself shows."""
    line = b"kgrec sha256 " + known + b"\n"
    return (line * (PAGE_BYTES // len(line))).ljust(PAGE_BYTES, b"\n")


def _found(path: Path) -> tuple[bytes, bytes] | None:
    """Return the last page of a file and the checksum in it; None if it has none."""
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
