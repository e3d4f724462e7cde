"""Training loop of text models, with checkpoints and early stopping on held-out users."""

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
from kgrec.text.adapters import adapted, after_step, learned_weights, load_weights, method_state, regularization_loss
from kgrec.text.base import token_counter
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.finetune.checkpoint import Progress, checkpoints, load_checkpoint, save_checkpoint
from kgrec.text.finetune.dataset import Histories, Windows
from kgrec.text.tuned_weights import FineTunedWeights, Origin

logger = logging.getLogger(__name__)

LEARNING_RATES: Final[dict[TuneMethod, float]] = {"lora": 1e-3, "adalora": 1e-3, "prefix": 1e-2, "full": 3e-5}
WARM_UP_SHARE: Final = 0.1
"""Share of the steps over which the learning rate rises; after that it falls to 0."""
EVALUATION_BATCHES: Final = 4
"""Batches of held-out users in an evaluation."""


class Trainer(ABC):
    """One training, resumed from its checkpoint.

    It stops when the loss on held-out users no longer improves, and keeps the best weights. An interrupted training
    resumes from the last evaluation with the same result. A finished training is loaded instead of repeated.

    Args:
        what: display name of the training.
        train: the training graph, without validation and test interactions.
        encoder: the original model.
        settings: of training.
        seed: makes the result reproducible.
        depends: other JSON-ready values that the result depends on.

    Raises:
        UsageError: no user has two items with text.
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
        if not self.histories.is_target.any():
            raise UsageError(
                "no data to fine-tune on: no user has two items with text in the training graph. "
                "Load more interactions or texts"
            )
        self.progress, self.stored = load_checkpoint(self.file) or (Progress(), {})

    @abstractmethod
    def _model(self) -> Any:
        """Return the torch model before the first step."""

    @abstractmethod
    def _loss(self, windows: Windows, rng: np.random.Generator) -> torch.Tensor:
        """Return the loss of the current model on some windows."""

    def run(self) -> FineTunedWeights:
        """Train, and return the weights with the lowest loss on held-out users, with all losses.

        Raises:
            MissingExtra: peft is not installed.
            UsageError: the model does not support the method.
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
        """Create the model and its optimizer, in their initial state or that of the checkpoint."""
        settings = self.steps
        self.module = adapted(self._model(), settings.method, settings.rank, settings.steps)
        # No dropout: each pair is seen about once, and vectors should equal those at inference.
        self.module.to(self.encoder.device).eval()
        self.weights = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, weight_decay=0.01)
        self.best = self.stored.get("best", {})
        if self.progress.losses:
            load_weights(self.module, self.stored["weights"])
            _restore_optimizer(self.optimizer, self.stored.get("optimizer", {}))
            for name, values in method_state(self.module, settings.method).items():
                values.update(self.stored.get(name, {}))
        else:
            self._evaluate(0)

    def _step(self, step: int) -> None:
        """Do one optimizer step; samples depend on the seed and the step alone, so that training can resume."""
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
        """Measure the loss on held-out users, keep the best weights, and write a checkpoint."""
        rng = np.random.default_rng(self.seed)
        with torch.no_grad():
            windows = self.histories.draw(EVALUATION_BATCHES * self.steps.batch, self.steps.history, rng, held_out=True)
            parts = np.array_split(np.arange(len(windows.user)), EVALUATION_BATCHES)
            batches = [Windows(windows.user[rows], windows.item[rows]) for rows in parts if len(rows)]
            loss = float(np.mean([float(self._loss(batch, rng)) for batch in batches])) if batches else 0.0
        progress = self.progress
        progress.step = step
        progress.losses.append((step, round(loss, 5)))
        if progress.evaluations_since_best == 0:
            self.best = learned_weights(self.module)
        progress.done = step == self.steps.steps or progress.evaluations_since_best >= self.steps.patience
        logger.info(f"{self.what.lower()}: loss {loss:.4f} on held-out users after {step} steps")
        self._save()

    def _save(self) -> None:
        if self.progress.done:
            return save_checkpoint(self.file, self.progress, {"best": self.best}, self.origin.schema)
        state = self.optimizer.state_dict()["state"]
        optimizer = {f"{number}/{name}": t for number, of in state.items() for name, t in of.items()}
        parts = {"best": self.best, "weights": learned_weights(self.module), "optimizer": optimizer}
        save_checkpoint(
            self.file, self.progress, {**parts, **method_state(self.module, self.steps.method)}, self.origin.schema
        )


def _restore_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in stored.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
