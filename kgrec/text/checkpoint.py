"""Where an interrupted fine-tuning goes on: its weights, the optimiser and the step, in one file, written whole."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from kgrec.progress import say

Tensors = Mapping[str, Mapping[str, torch.Tensor]]


@dataclass
class Progress:
    """How far fine-tuning came.

    Attributes:
        step: steps done.
        losses: steps done and loss on held-out users, at every look.
        done: whether nothing is left to do.
    """

    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    done: bool = False

    @property
    def waited(self) -> int:
        """Looks since the best one."""
        losses = [loss for _, loss in self.losses]
        return len(losses) - 1 - losses.index(min(losses))


def keep(file: Path, progress: Progress, tensors: Tensors) -> None:
    """Write a checkpoint, whole or not at all; a folder that cannot be written to costs the resuming, not the run."""
    flat = {f"{part}/{name}": t.contiguous() for part, named in tensors.items() for name, t in named.items()}
    part = file.with_name(f"{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(flat, part, {"progress": json.dumps(asdict(progress))})
        part.replace(file)
    except OSError as error:
        say(f"Fine-tuning could not be resumed from here: {error}")
    finally:
        with suppress(OSError):
            part.unlink()


def find(file: Path) -> tuple[Progress, dict[str, dict[str, torch.Tensor]]] | None:
    """Return what `keep` wrote; None where there is nothing, or a damaged file."""
    if not file.is_file():
        return None
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    try:
        with safe_open(file, framework="pt") as stored:
            values: dict[str, Any] = json.loads(stored.metadata()["progress"])
            for key in stored.keys():  # noqa: SIM118
                part, _, name = key.partition("/")
                tensors.setdefault(part, {})[name] = stored.get_tensor(key)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        say(f"{file} is damaged ({error}); fine-tuning begins anew")
        return None
    return Progress(values["step"], [(step, loss) for step, loss in values["losses"]], values["done"]), tensors
