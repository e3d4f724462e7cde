"""Training a text model on behaviors step by step: what is done stays done, and held-out users say when to stop."""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from kgrec._util.progress import track
from kgrec.config import StepSettings, TuneMethod
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UsageError
from kgrec.text.adapters import adapted, after_step, learned_weights, load_weights, memory, regularization_loss
from kgrec.text.base import token_counter
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.finetune.checkpoint import Progress, checkpoints, load_checkpoint, save_checkpoint
from kgrec.text.finetune.dataset import Histories, Windows
from kgrec.text.tuned_weights import FineTunedWeights, Origin

logger = logging.getLogger(__name__)

LEARNING_RATES: Final[dict[TuneMethod, float]] = {"lora": 1e-3, "adalora": 1e-3, "prefix": 1e-2, "full": 3e-5}
WARM_UP_SHARE: Final = 0.1
"""Share of the steps over which the learning rate rises; from then on it falls to 0."""
EVALUATION_BATCHES: Final = 4
"""Batches of held-out users that a look takes."""


class Trainer(ABC):
    """One training, from where its checkpoint is to its end.

    It stops when held-out users are no longer better told, and keeps the weights that did best on them. Interrupted,
    it goes on from the last look, with the result of a run that was not; done once, it is not done again.

    Args:
        what: what people call it.
        train: the graph to learn from, without validation and test behaviors.
        encoder: the model as it is.
        settings: how.
        seed: makes the result repeat.
        depends: what else the result depends on, JSON-ready.

    Raises:
        UsageError: nobody has two items with text.
    """

    def __init__(
        self,
        what: str,
        train: GraphSnapshot,
        encoder: TransformersEncoder,
        settings: StepSettings,
        seed: int,
        depends: Sequence[Any] = (),
    ) -> None:
        self.what, self.train, self.encoder, self.seed, self.steps = what, train, encoder, seed, settings
        schema = train.schema
        self.origin = Origin(settings.method, settings.rank, encoder.digest, schema.name, schema.digest, train.digest)
        key = json.dumps([encoder.identity, train.digest, settings.model_dump(), seed, *depends])
        self.file = checkpoints() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
        self.histories = Histories(train, seed, token_counter(encoder))
        if not self.histories.asked.any():
            raise UsageError(
                "found nothing to fine-tune on: no user has two items with text in train; load more behaviors or texts"
            )
        self.progress, self.stored = load_checkpoint(self.file) or (Progress(), {})

    @abstractmethod
    def _model(self) -> Any:
        """Return the torch model as it is before the first step."""

    @abstractmethod
    def _loss(self, windows: Windows, rng: np.random.Generator) -> torch.Tensor:
        """Return the loss of some windows by the model as it is now."""

    def run(self) -> FineTunedWeights:
        """Return the weights that did best on held-out users, and how it went.

        Raises:
            MissingExtra: peft is not installed.
            UsageError: the model cannot be tuned so.
        """
        best = self.stored["best"] if self.progress.done else self._trained()
        return FineTunedWeights(
            self.origin, {name: tensor.numpy() for name, tensor in best.items()}, tuple(self.progress.losses)
        )

    def _trained(self) -> dict[str, torch.Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self._begin()
            steps = range(self.progress.step, self.steps.steps)
            for step in track(steps, f"{self.what} {self.encoder.name}", total=len(steps)):
                self._step(step)
                if (step + 1) % self.steps.check_every == 0 or step + 1 == self.steps.steps:
                    self._evaluate(step + 1)
                if self.progress.done:
                    break
        return self.best

    def _begin(self) -> None:
        """Make the model and its optimizer, as they are at the beginning or were at the last look."""
        settings = self.steps
        self.module = adapted(self._model(), settings.method, settings.rank, settings.steps)
        # Without dropout: a pair is seen about once, and vectors are learned as they are used.
        self.module.to(self.encoder.device).eval()
        self.weights = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, weight_decay=0.01)
        self.best = self.stored.get("best", {})
        if self.progress.losses:
            load_weights(self.module, self.stored["weights"])
            _put_back(self.optimizer, self.stored.get("optimizer", {}))
            for name, values in memory(self.module, settings.method).items():
                values.update(self.stored.get(name, {}))
        else:
            self._evaluate(0)

    def _step(self, step: int) -> None:
        """Change the weights once; what is drawn depends on the seed and the step alone, so that a run can go on."""
        rng = np.random.default_rng([self.seed, step])
        done = step / self.steps.steps
        for group in self.optimizer.param_groups:
            rate = self.steps.rate or LEARNING_RATES[self.steps.method]
            group["lr"] = rate * min(
                (done + 1 / self.steps.steps) / WARM_UP_SHARE, (1 - done) / (1 - WARM_UP_SHARE), 1.0
            )
        loss = self._loss(self.histories.draw(self.steps.batch, self.steps.history, rng), rng)
        torch.autograd.backward(loss + regularization_loss(self.module, self.steps.method))
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        after_step(self.module, self.steps.method, step + 1)
        self.optimizer.zero_grad()

    def _evaluate(self, step: int) -> None:
        """See how held-out users are told, keep the best weights, and write a checkpoint."""
        rng = np.random.default_rng(self.seed)
        with torch.no_grad():
            windows = self.histories.draw(EVALUATION_BATCHES * self.steps.batch, self.steps.history, rng, held_out=True)
            parts = np.array_split(np.arange(len(windows.user)), EVALUATION_BATCHES)
            batches = [Windows(windows.user[rows], windows.item[rows]) for rows in parts if len(rows)]
            loss = float(np.mean([float(self._loss(batch, rng)) for batch in batches])) if batches else 0.0
        progress = self.progress
        progress.step = step
        progress.losses.append((step, round(loss, 5)))
        if progress.waited == 0:
            self.best = learned_weights(self.module)
        progress.done = step == self.steps.steps or progress.waited >= self.steps.patience
        logger.info(f"{self.what.lower()}: loss {loss:.4f} on held-out users after {step} steps")
        self._save()

    def _save(self) -> None:
        if self.progress.done:
            return save_checkpoint(self.file, self.progress, {"best": self.best}, self.origin.schema)
        state = self.optimizer.state_dict()["state"]
        optimizer = {f"{number}/{name}": t for number, of in state.items() for name, t in of.items()}
        parts = {"best": self.best, "weights": learned_weights(self.module), "optimizer": optimizer}
        save_checkpoint(
            self.file, self.progress, {**parts, **memory(self.module, self.steps.method)}, self.origin.schema
        )


def _put_back(optimizer: torch.optim.Optimizer, stored: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in stored.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
