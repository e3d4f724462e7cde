"""Fine-tuning of a text model on behaviours: what users took next says which texts belong together.

A user is what the text signal makes of them: the mean of the vectors of the items they took before, and of their own
text where they have one that is not about behaviours. The item that came next is told from the other items of the
batch, and from items that are near by the model as it was but that the user did not take. Only the given graph's
behaviours are seen, which is the train part of the validation cut: neither what settings are chosen on nor what is
measured on is known to the model.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch

from kgrec.config import TuneMethod, TuneSettings
from kgrec.errors import UsageError
from kgrec.progress import say, track
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray
from kgrec.text.adapters import adapted, after_step, learnt, memory, regularisation, take
from kgrec.text.cache import VectorCache
from kgrec.text.checkpoint import Progress, checkpoints, find, keep
from kgrec.text.contrast import contrast
from kgrec.text.encoder import Tokens, TransformersEncoder, n_fitting
from kgrec.text.model_folder import folder_digest
from kgrec.text.tokens import token_counter
from kgrec.text.tuned import Origin, Tuned
from kgrec.text.windows import Histories, Windows

RATES: Final[dict[TuneMethod, float]] = {"lora": 1e-3, "adalora": 1e-3, "prefix": 1e-2, "full": 3e-5}
WARM_UP: Final = 0.1
"""Share of the steps over which the learning rate rises; from then on it falls to 0."""
LOOK: Final = 4
"""Batches of held-out users that a look takes."""
BATCH_TOKENS: Final = 2048
"""Tokens that go through the model together, padding included."""


def tune(
    train: GraphSnapshot, encoder: TransformersEncoder, cache: VectorCache, settings: TuneSettings, seed: int = 0
) -> Tuned:
    """Return what fine-tuning on a graph's behaviours makes of an encoder's weights.

    It stops when held-out users are no longer better told, and keeps the weights that did best on them. Interrupted,
    it goes on from the last look, with the result of a run that was not; done once, it is not done again.

    Args:
        train: the graph to learn from, without validation and test behaviours.
        encoder: the model as it is.
        cache: where vectors of the model as it is are.
        settings: how.
        seed: makes the result repeat.

    Raises:
        UsageError: nobody has two items with text, or the model cannot be tuned so.
        MissingExtra: peft is not installed.
    """
    origin = Origin(
        settings.method,
        settings.rank,
        folder_digest(encoder.folder),
        train.schema.name,
        train.schema.digest,
        train.digest,
    )
    key = json.dumps([encoder.identity, train.digest, settings.model_dump(), seed])
    file = checkpoints() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    progress, best = _Tuning(train, encoder, cache, settings, seed, origin, file).run()
    return Tuned(origin, {name: tensor.numpy() for name, tensor in best.items()}, tuple(progress.losses))


class _Tuning:
    """One fine-tuning, from where its checkpoint is to its end."""

    def __init__(
        self,
        train: GraphSnapshot,
        encoder: TransformersEncoder,
        cache: VectorCache,
        settings: TuneSettings,
        seed: int,
        origin: Origin,
        file: Path,
    ) -> None:
        self.settings, self.seed, self.origin, self.file = settings, seed, origin, file
        self.encoder, self.cache = encoder, cache
        self.histories = Histories(train, seed, token_counter(encoder))
        if not self.histories.asked.any():
            raise UsageError(
                "found nothing to fine-tune on: no user has two items with text in train; load more behaviours or texts"
            )
        self.progress, self.stored = find(file) or (Progress(), {})

    def run(self) -> tuple[Progress, dict[str, torch.Tensor]]:
        """Return how it went, and the weights that did best on held-out users."""
        if self.progress.done:
            return self.progress, self.stored["best"]
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self._begin()
            steps = range(self.progress.step, self.settings.steps)
            for step in track(steps, f"Fine-tuning {self.encoder.name}", total=len(steps)):
                self._step(step)
                if (step + 1) % self.settings.check_every == 0 or step + 1 == self.settings.steps:
                    self._look(step + 1)
                if self.progress.done:
                    break
        return self.progress, self.best

    def _begin(self) -> None:
        """Make the model and its optimiser, as they are at the beginning or were at the last look."""
        settings = self.settings
        self.module = adapted(self.encoder.weights(), settings.method, settings.rank, settings.steps)
        # Without dropout: a pair is seen about once, and vectors are learnt as they are used.
        self.module.to(self.encoder.device).eval()
        self.weights = [p for p in self.module.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.weights, weight_decay=0.01)
        self.best = self.stored.get("best", {})
        if self.progress.losses:
            take(self.module, self.stored["weights"])
            _put_back(self.optimiser, self.stored.get("optimiser", {}))
            for name, values in memory(self.module, settings.method).items():
                values.update(self.stored.get(name, {}))
        else:
            self._look(0)

    def _step(self, step: int) -> None:
        """Change the weights once; what is drawn depends on the seed and the step alone, so that a run can go on."""
        rng = np.random.default_rng([self.seed, step])
        done = step / self.settings.steps
        for group in self.optimiser.param_groups:
            rate = self.settings.rate or RATES[self.settings.method]
            group["lr"] = rate * min((done + 1 / self.settings.steps) / WARM_UP, (1 - done) / (1 - WARM_UP), 1.0)
        loss = self._loss(self.histories.draw(self.settings.batch, self.settings.history, rng), rng)
        torch.autograd.backward(loss + regularisation(self.module, self.settings.method))
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        after_step(self.module, self.settings.method, step + 1)
        self.optimiser.zero_grad()

    def _look(self, step: int) -> None:
        """See how held-out users are told, keep the best weights, and write a checkpoint."""
        rng = np.random.default_rng(self.seed)
        with torch.no_grad():
            windows = self.histories.draw(LOOK * self.settings.batch, self.settings.history, rng, held_out=True)
            parts = np.array_split(np.arange(len(windows.user)), LOOK)
            batches = [Windows(windows.user[rows], windows.item[rows]) for rows in parts if len(rows)]
            loss = float(np.mean([float(self._loss(batch, rng)) for batch in batches])) if batches else 0.0
        progress = self.progress
        progress.step = step
        progress.losses.append((step, round(loss, 5)))
        if progress.waited == 0:
            self.best = learnt(self.module)
        progress.done = step == self.settings.steps or progress.waited >= self.settings.patience
        say(f"fine-tuning: loss {loss:.4f} on held-out users after {step} steps")
        self._keep()

    def _keep(self) -> None:
        if self.progress.done:
            return keep(self.file, self.progress, {"best": self.best}, self.origin.schema)
        state = self.optimiser.state_dict()["state"]
        optimiser = {f"{number}/{name}": t for number, of in state.items() for name, t in of.items()}
        parts = {"best": self.best, "weights": learnt(self.module), "optimiser": optimiser}
        keep(self.file, self.progress, {**parts, **memory(self.module, self.settings.method)}, self.origin.schema)

    def _loss(self, windows: Windows, rng: np.random.Generator) -> torch.Tensor:
        """Return the loss of every item of the windows that something comes before."""
        settings, histories = self.settings, self.histories
        hard = np.empty(0, np.int64)
        if settings.hard_negatives:
            hard = histories.near(windows, self._as_it_was, settings.hard_negatives, rng)
        users = np.where(histories.described(windows.user), windows.user, -1)
        items = np.union1d(windows.item[windows.item >= 0], hard).astype(np.int64)
        texts = np.r_[items, histories.n_items + users[users >= 0]]
        vectors = self._embed(texts)
        # A row of zeros is last: what stands for no item, and for no text of the user's own.
        padded = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])
        place = np.where(windows.item >= 0, np.searchsorted(items, windows.item), len(texts))
        own = np.where(users >= 0, len(items) + np.cumsum(users >= 0) - 1, len(texts))
        before = padded[torch.as_tensor(place)].cumsum(dim=1).roll(1, dims=1)
        before[:, 0] = 0
        before = before + padded[torch.as_tensor(own)][:, None]
        some = np.cumsum(windows.item >= 0, axis=1) - 1 + (users >= 0)[:, None] > 0
        row, column = np.nonzero(some & (windows.item >= 0))
        target = windows.item[row, column]
        share = histories.log_share(items, len(hard) / max(len(hard) + len(target), 1))
        device = vectors.device
        return contrast(
            torch.nn.functional.normalize(before[torch.as_tensor(row), torch.as_tensor(column)], dim=1),
            vectors[: len(items)],
            torch.as_tensor(place[row, column], device=device),
            torch.as_tensor(histories.may_compete(windows.user[row], target, items), device=device),
            torch.as_tensor(share * settings.popularity_correction, device=device),
            torch.as_tensor(histories.copies(target, settings.balance, rng), device=device),
            settings.temperature,
            settings.focal,
        )

    def _embed(self, texts: IntArray) -> torch.Tensor:
        """Return the vectors of texts by number, float32 [texts, d]; like lengths go through the model together."""
        lengths = self._tokens.lengths[texts]
        order = np.argsort(lengths, kind="stable")
        parts, start = [], 0
        while start < len(order):
            rows = order[start : start + n_fitting(lengths[order[start:]], BATCH_TOKENS)]
            with torch.autocast(self.encoder.device, torch.bfloat16, enabled=self.encoder.precision == "half"):
                parts.append(self.encoder.embed(self.module, *self._tokens.padded(texts[rows], self.encoder.pad)))
            start += len(rows)
        return torch.cat(parts)[torch.as_tensor(np.argsort(order, kind="stable"))]

    @cached_property
    def _tokens(self) -> Tokens:
        return self.encoder.tokens(list(self.histories.texts), self.origin.prefix)

    @cached_property
    def _as_it_was(self) -> FloatArray:
        """Vectors of the items by the model as it was, less what all have in common, float32 [n_items, d]."""
        vectors = self.cache.encode(self.histories.texts[: self.histories.n_items], self.encoder)
        return np.asarray(vectors - vectors.mean(axis=0), dtype=np.float32)


def _put_back(optimiser: torch.optim.Optimizer, stored: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in stored.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
