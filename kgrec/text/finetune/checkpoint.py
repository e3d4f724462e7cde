"""Checkpoints of fine-tuning: weights, optimizer and step in one file, written atomically."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kgrec._util.files import atomic_path, cache_folder, remove_leftovers
from kgrec.errors import UsageError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{32}\.")
"""Start of the name of a checkpoint; other files are kgrec's only if their metadata say so."""

Tensors = Mapping[str, Mapping[str, torch.Tensor]]


@dataclass
class Progress:
    """Progress of fine-tuning.

    Attributes:
        step: steps done.
        losses: steps done and loss on held-out users, of every evaluation.
        done: training has finished.
    """

    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    done: bool = False

    @property
    def evaluations_since_best(self) -> int:
        """Number of evaluations since the best one."""
        losses = [loss for _, loss in self.losses]
        return len(losses) - 1 - losses.index(min(losses))


def checkpoints() -> Path:
    """Return the folder of checkpoints."""
    return cache_folder() / "tuning"


def save_checkpoint(file: Path, progress: Progress, tensors: Tensors, schema: str) -> None:
    """Write a checkpoint of a fine-tuning on texts of a schema, atomically.

    If the folder is not writable, fine-tuning continues without checkpoints.
    """
    flat = {f"{part}/{name}": t.contiguous() for part, named in tensors.items() for name, t in named.items()}
    metadata = {"progress": json.dumps(asdict(progress)), "schema": schema, "sum": _sum(flat)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as made:
            save_file(flat, made, metadata)
    except (OSError, UsageError) as error:
        logger.info(f"No checkpoint of fine-tuning was written: {error}")


def _sum(flat: Mapping[str, torch.Tensor]) -> str:
    """Return a checksum of tensors by name."""
    digest = hashlib.sha256()
    for name in sorted(flat):
        digest.update(name.encode())
        digest.update(flat[name].detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_checkpoint(file: Path) -> tuple[Progress, dict[str, dict[str, torch.Tensor]]] | None:
    """Return the progress and tensors of a checkpoint; None if the file is missing or damaged."""
    if not file.is_file():
        return None
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(file, framework="pt") as stored:
            values: dict[str, Any] = json.loads(stored.metadata()["progress"])
            flat = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
            if stored.metadata()["sum"] != _sum(flat):
                raise ValueError("its content is not what was written")
        for key, tensor in flat.items():
            part, _, name = key.partition("/")
            tensors.setdefault(part, {})[name] = tensor
        losses = [(int(step), float(loss)) for step, loss in values["losses"]]
        progress = Progress(int(values["step"]), losses, bool(values["done"]))
        if "best" not in tensors or not progress.losses:
            raise ValueError("it holds no weights")
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
        logger.info(f"{file} is damaged ({error}); fine-tuning starts from the beginning")
        return None
    return progress, tensors


def drop_checkpoints(schemas: Collection[str]) -> int:
    """Remove all checkpoints of some schemas, and unreadable ones; return the number removed.

    A checkpoint does not list its training users, so an erasure removes all that may contain the user.
    """
    remove_leftovers(checkpoints())
    plain_files = [file for file in checkpoints().glob("*.safetensors") if not file.is_symlink()]
    files = [
        file for file in plain_files if (of := _schema(file)) in schemas or (of is None and _NAME.match(file.name))
    ]
    files += [file for file in checkpoints().glob("*.part") if _NAME.match(file.name)]  # of a job that was killed
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def _schema(file: Path) -> str | None:
    try:
        with safe_open(file, framework="pt") as stored:
            return (stored.metadata() or {}).get("schema")
    except (OSError, SafetensorError):
        return None
