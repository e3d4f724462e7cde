"""Fine-tuning of a text model on behaviours: what users took next says which texts belong together.

A user is what the text signal makes of them: the mean of the vectors of the items they took before, and of their own
text where they have one that is not about behaviours, all whitened as that signal does. The item that came next is told
from the other items of the batch, and from items that are near by the model as it was but that the user did not take.
Only the given graph's behaviours are seen, which is the train part of the validation cut: neither what settings are
chosen on nor what is measured on is known to the model.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import numpy as np
import torch

from kgrec.config import TuneSettings
from kgrec.signals.content.text import Text
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray
from kgrec.text.cache import VectorCache
from kgrec.text.contrast import contrast, whitened
from kgrec.text.encoder import Tokens, TransformersEncoder, n_fitting
from kgrec.text.steps import Steps
from kgrec.text.tuned import Tuned
from kgrec.text.windows import Windows

BATCH_TOKENS: Final = 2048
"""Tokens that go through the model together, padding included."""


def tune(
    train: GraphSnapshot, encoder: TransformersEncoder, cache: VectorCache, settings: TuneSettings, seed: int = 0
) -> Tuned:
    """Return what fine-tuning on a graph's behaviours makes of an encoder's weights; see `Steps`.

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
    return _Tuning(train, encoder, cache, settings, seed).run()


class _Tuning(Steps):
    """One fine-tuning of an encoder."""

    def __init__(
        self, train: GraphSnapshot, encoder: TransformersEncoder, cache: VectorCache, settings: TuneSettings, seed: int
    ) -> None:
        super().__init__("Fine-tuning", train, encoder, settings, seed)
        self.settings, self.cache = settings, cache

    def _model(self) -> Any:
        return self.encoder.weights()

    def _loss(self, windows: Windows, rng: np.random.Generator) -> torch.Tensor:
        """Return the loss of every item of the windows that something comes before."""
        settings, histories = self.settings, self.histories
        hard = np.empty(0, np.int64)
        if settings.hard_negatives:
            hard = histories.near(windows, self._as_it_was, settings.hard_negatives, rng)
        users = np.where(histories.described(windows.user), windows.user, -1)
        items = np.union1d(windows.item[windows.item >= 0], hard).astype(np.int64)
        texts = np.r_[items, histories.n_items + users[users >= 0]]
        vectors = whitened(self._embed(texts), len(items), Text().settings.ridge)
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
