"""Receipts of erasures: created before anything is removed, finished after the search, and without the id."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from kgrec._util.files import write_json
from kgrec.errors import RunError
from kgrec.runs.folder import new_name

BEGUN: Final = "begun: not everything is removed yet. Run the same command again"
FINISHED: Final = "finished"

NOT_SEARCHED: Final = (
    "Sources that the graph was loaded from. Loading them again restores the data; remove the id there too.",
    "Backups, snapshots, exports and copies of the graph or of its runs, including other names of the same file (hard "
    "links).",
    "Folders of runs that are not listed under looked_at, for instance of `kgrec train --runs FOLDER`.",
    "Text vector caches of other accounts and other hosts. Only the cache under looked_at was searched.",
    "Running programs, on this or another host, that have the graph or a trained model in memory. A running training "
    "saves no run with the removed node, but may later add vectors of its texts, without the id, to the cache.",
    "Data sent to other systems: displayed or exported recommendations, logs, TensorBoard, MLflow, OpenTelemetry.",
    "Unallocated disk blocks of deleted files, and swap space.",
)
"""Places that the search does not cover; the reader of a receipt must check them."""

ON_A_SERVER: Final = (
    "Files, transaction logs and backups of the database server.",
    "Folders of runs that were created under another host name of the server, or in another working directory.",
)


def folder_of(root: Path) -> Path:
    """Return the folder of receipts, which is beside the folder of runs."""
    return root.with_name(f"{root.stem}.receipts")


def begin(folder: Path, role: str, id_: str, facts: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Create a receipt, or return that of an interrupted erasure of the same id.

    Args:
        folder: folder of receipts.
        role: "user" or "item".
        id_: key of the node; the receipt has its salted SHA-256.
        facts: further entries.

    Returns:
        The file, and its content.

    Raises:
        RunError: the file cannot be written.
    """
    there = unfinished(folder, role, id_)
    if there:
        return there
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"nothing was removed: {folder} cannot be written: {error.strerror}") from error
    file = folder / f"forget-{new_name()}.json"
    receipt = {"kgrec": version("kgrec"), "state": BEGUN, "begun": now(), "role": role, "digest": _digest(id_), **facts}
    write_json(file, receipt)
    return file, receipt


def unfinished(folder: Path, role: str, id_: str) -> tuple[Path, dict[str, Any]] | None:
    """Return file and content of the receipt of an interrupted erasure of an id; None if there is none.

    Raises:
        RunError: a receipt cannot be read.
    """
    for file in sorted(folder.glob("forget-*.json"), reverse=True):
        try:
            receipt = json.loads(file.read_text(encoding="utf-8"))
            is_for = receipt["role"] == role and matches(receipt, id_)
            if is_for and receipt.get("state") == BEGUN:
                return file, receipt
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(f"{file} is not a readable receipt ({error}). Move it to another folder") from error
    return None


def finish(file: Path, receipt: dict[str, Any]) -> dict[str, Any]:
    """Write a finished receipt; return its content, with its path as "receipt".

    Raises:
        RunError: the file cannot be written; running the command again writes it.
    """
    done = {**receipt, "state": FINISHED, "time": now()}
    write_json(file, done)
    return {**done, "receipt": str(file)}


def matches(receipt: dict[str, Any], id_: str) -> bool:
    """Return whether a receipt is for an id."""
    digest = receipt["digest"]
    return bool(digest["sha256"] == hashlib.sha256((digest["salt"] + id_).encode()).hexdigest())


def now() -> str:
    """Return the current time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _digest(id_: str) -> dict[str, str]:
    salt = secrets.token_hex(16)
    return {"salt": salt, "sha256": hashlib.sha256((salt + id_).encode()).hexdigest()}
