"""Receipts of forgetting: begun before anything is removed, finished when all is, and without the id."""

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

BEGUN: Final = "begun: not everything is removed yet; run the same command again"
FINISHED: Final = "finished"

NOT_SEARCHED: Final = (
    "The sources that the graph was loaded from. Loading them again brings the data back; remove them there too.",
    "Backups, snapshots, exports and copies of the graph or of its runs, other names of the same file (hard links) "
    "included.",
    "Folders of runs in other places than those under looked_at, for instance of `kgrec train --runs FOLDER`.",
    "Caches of text vectors of other accounts and of other hosts. Only the cache under looked_at was searched.",
    "Programs that are running and hold the graph or a trained model in memory, on this host or another. A training "
    "among them keeps no run with what was removed, but may add vectors of its texts, without the id, "
    "to the cache later.",
    "What was sent elsewhere: recommendations shown or exported, logs, TensorBoard, MLflow, OpenTelemetry.",
    "Unallocated disk blocks of deleted files, and swap space.",
)
"""Sentences for whoever has to judge from a receipt what else is to be done."""

ON_A_SERVER: Final = (
    "Files, transaction logs and backups of the database server.",
    "Folders of runs made under another name of the server, or in another working directory.",
)


def folder_of(root: Path) -> Path:
    """Return the folder of the receipts beside a folder of runs."""
    return root.with_name(f"{root.stem}.receipts")


def begin(folder: Path, role: str, id_: str, facts: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Write that a forget has begun, unless an earlier one of the same id was cut off.

    Args:
        folder: of the receipts.
        role: "user" or "item".
        id_: the key, of which a salted SHA-256 is written.
        facts: what else to write.

    Returns:
        The file, and what it says.

    Raises:
        RunError: the disk refuses.
    """
    there = unfinished(folder, role, id_)
    if there:
        return there
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}; nothing was removed") from error
    file = folder / f"forget-{new_name()}.json"
    receipt = {"kgrec": version("kgrec"), "state": BEGUN, "begun": now(), "role": role, "digest": _digest(id_), **facts}
    write_json(file, receipt)
    return file, receipt


def unfinished(folder: Path, role: str, id_: str) -> tuple[Path, dict[str, Any]] | None:
    """Return the receipt of a forget of an id that was cut off, and its file; None if there is none.

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
            raise RunError(f"{file} is no receipt that can be read ({error}); move it elsewhere") from error
    return None


def finish(file: Path, receipt: dict[str, Any]) -> dict[str, Any]:
    """Write a finished receipt, and return it with its file.

    Raises:
        RunError: the disk refuses; running the command again writes it.
    """
    done = {**receipt, "state": FINISHED, "time": now()}
    write_json(file, done)
    return {**done, "receipt": str(file)}


def matches(receipt: dict[str, Any], id_: str) -> bool:
    """Say whether a receipt is for an id."""
    digest = receipt["digest"]
    return bool(digest["sha256"] == hashlib.sha256((digest["salt"] + id_).encode()).hexdigest())


def now() -> str:
    """Return the time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _digest(id_: str) -> dict[str, str]:
    salt = secrets.token_hex(16)
    return {"salt": salt, "sha256": hashlib.sha256((salt + id_).encode()).hexdigest()}
