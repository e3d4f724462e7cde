"""Contrastive fine-tuning of a text model on interactions.

The user vector is that of the text signal: a mean of the vectors of earlier items, later ones weighted higher, and of
the user's own text without interactions. Positives are the next items; negatives are the other items of the batch, and
items that are close by the original model but that the user has not chosen.

The first stage trains a projection head on precomputed vectors, in large batches. The second stage trains the model
itself with the head frozen (Kumar et al., "Fine-Tuning Can Distort Pretrained Features", ICLR 2022).

Training uses only the given graph, the train part of the validation split: the model sees neither validation nor test
interactions.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch

from kgrec._util.types import FloatArray, IntArray
from kgrec.config import TuneSettings
from kgrec.data.snapshot import GraphSnapshot
from kgrec.text.adapters import check_installed
from kgrec.text.cache import VectorCache
from kgrec.text.encoder import TransformersEncoder
from kgrec.text.finetune.dataset import Windows
from kgrec.text.finetune.info_nce import contrast
from kgrec.text.finetune.trainer import Trainer
from kgrec.text.projection_head import Head, merge_head
from kgrec.text.token_batches import Tokens, batches
from kgrec.text.tuned_weights import FineTunedWeights

MAX_BATCH_TOKENS: Final = 2048
"""Tokens of a forward pass, padding included."""
HEAD: Final = {
    "method": "full",
    "steps": 600,
    "batch": 256,
    "rate": 1e-3,
    "hard_negatives": 0,
    "check_every": 100,
    "patience": 2,
}
"""Settings of the first stage: vectors are precomputed, so batches are large and have enough negatives."""
DECAY_PER_STEP: Final = 0.5
"""Weight of an item relative to the user's next one."""


def fine_tune(
    train: GraphSnapshot, encoder: TransformersEncoder, cache: VectorCache, settings: TuneSettings, seed: int = 0
) -> FineTunedWeights:
    """Return an encoder's weights after fine-tuning on a graph's interactions; see `Trainer`.

    Args:
        train: the training graph, without validation and test interactions.
        encoder: the original model.
        cache: vectors of the original model.
        settings: of fine-tuning.
        seed: makes the result reproducible.

    Raises:
        UsageError: no user has two items with text, or the model does not support the method.
        MissingExtra: peft is not installed.
    """
    check_installed(settings.method)
    return _Tuning("Fine-tuning", train, encoder, cache, settings, seed).run()


def learn_head(
    train: GraphSnapshot, encoder: TransformersEncoder, cache: VectorCache, settings: TuneSettings, seed: int = 0
) -> Head:
    """Return the projection head of the first stage of `fine_tune`, for vectors of the original model.

    Args:
        train, encoder, cache, seed: as for `fine_tune`.
        settings: of fine-tuning; `HEAD` overrides some.

    Raises:
        UsageError: no user has two items with text.
    """
    own = settings.model_copy(update=HEAD)
    return Head.from_weights(_Head("Learning a head for", train, encoder, cache, own, seed).run().weights)


class _Contrast(Trainer):
    """Contrastive training on next items."""

    def __init__(
        self,
        what: str,
        train: GraphSnapshot,
        encoder: TransformersEncoder,
        cache: VectorCache,
        settings: TuneSettings,
        seed: int,
    ) -> None:
        super().__init__(what, train, encoder, settings, seed)
        self.settings, self.cache = settings, cache

    @abstractmethod
    def _embed(self, texts: IntArray) -> torch.Tensor:
        """Return the current vectors of texts by number, float32 [texts, d], rows of length 1."""

    def _loss(self, windows: Windows, rng: np.random.Generator) -> torch.Tensor:
        """Return the mean loss over all items of the windows that have a history."""
        settings, histories = self.settings, self.histories
        hard = np.empty(0, np.int64)
        if settings.hard_negatives:
            hard = histories.hard_negatives(windows, self._original_vectors, settings.hard_negatives, rng)
        users = np.where(histories.has_text(windows.user), windows.user, -1)
        items = np.union1d(windows.item[windows.item >= 0], hard).astype(np.int64)
        texts = np.r_[items, histories.n_items + users[users >= 0]]
        vectors = self._embed(texts)
        # The last row is zero: it is used for a missing item, and for a user without text.
        padded = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])
        place = np.where(windows.item >= 0, np.searchsorted(items, windows.item), len(texts))
        own = np.where(users >= 0, len(items) + np.cumsum(users >= 0) - 1, len(texts))
        recency = torch.as_tensor(_recency(windows.item.shape[1]), device=vectors.device)
        before = recency @ padded[torch.as_tensor(place)] + padded[torch.as_tensor(own)][:, None]
        some = np.cumsum(windows.item >= 0, axis=1) - 1 + (users >= 0)[:, None] > 0
        row, column = np.nonzero(some & (windows.item >= 0))
        target = windows.item[row, column]
        share = histories.log_share(items, len(hard) / max(len(hard) + len(target), 1))
        device = vectors.device
        queries = torch.nn.functional.normalize(before[torch.as_tensor(row), torch.as_tensor(column)], dim=1)
        log_share = torch.as_tensor(share * settings.popularity_correction, device=device)
        return contrast(
            queries @ vectors[: len(items)].T / settings.temperature - log_share,
            torch.as_tensor(place[row, column], device=device),
            torch.as_tensor(histories.is_candidate(windows.user[row], target, items), device=device),
            torch.as_tensor(histories.target_weights(target, settings.balance, rng), device=device),
            settings.focal,
        )

    @cached_property
    def _original_vectors(self) -> FloatArray:
        """Centered vectors of the items by the original model, float32 [n_items, d]."""
        vectors = self.cache.encode(self.histories.texts[: self.histories.n_items], self.encoder)
        return np.asarray(vectors - vectors.mean(axis=0), dtype=np.float32)


class _Head(_Contrast):
    """First stage: the projection head on vectors of the original model."""

    def _model(self) -> Head:
        described = self._vectors[: self.histories.n_items]
        return Head.whitening(described[described.any(axis=1)])

    def _embed(self, texts: IntArray) -> torch.Tensor:
        return torch.as_tensor(self.module(torch.as_tensor(self._vectors[texts], device=self.encoder.device)))

    @cached_property
    def _vectors(self) -> FloatArray:
        """Vectors of all texts by the original model, float32 [texts, d]."""
        return self.cache.encode(self.histories.texts, self.encoder)


class _Tuning(_Contrast):
    """Second stage: the weights of the model itself, with the head frozen."""

    def run(self) -> FineTunedWeights:
        """Return the weights with the lowest loss on held-out users, including those of the head."""
        self._head = learn_head(self.train, self.encoder, self.cache, self.settings, self.seed).to(self.encoder.device)
        tuned = super().run()
        return replace(tuned, weights=merge_head(tuned.weights, self._head.weights()))

    def _model(self) -> Any:
        return self.encoder.weights()

    def _embed(self, texts: IntArray) -> torch.Tensor:
        """Return the vectors of texts, encoded in batches of similar length."""
        lengths = self._tokens.lengths[texts]
        parts, order = [], list(batches(lengths, MAX_BATCH_TOKENS))
        for rows in order:
            with torch.autocast(self.encoder.device, torch.bfloat16, enabled=self.encoder.precision == "half"):
                parts.append(self.encoder.embed(self.module, *self._tokens.padded(texts[rows], self.encoder.pad)))
        vectors = torch.cat(parts)[torch.as_tensor(np.argsort(np.concatenate(order)))]
        return torch.as_tensor(self._head(vectors.float()))

    @cached_property
    def _tokens(self) -> Tokens:
        return self.encoder.tokens(list(self.histories.texts), self.origin.prefix)


def _recency(n: int) -> FloatArray:
    """Return the weight of each of `n` items for each next item, float32 [n next, n]; 0 for itself and later ones."""
    lag = np.arange(n)[:, None] - np.arange(n)
    return np.where(lag > 0, DECAY_PER_STEP ** (lag - 1.0), 0).astype(np.float32)
