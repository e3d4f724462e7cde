"""Cross-encoder for re-ranking: it scores pairs of a user's text, with their latest items, and an item's text.

The model is a text model with a classification head (Nogueira & Cho, "Passage Re-ranking with BERT", 2019). It is
trained on the next items of users, against unseen items, half of them ranked high by the first stage and half sampled
by popularity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch

from kgrec._util.progress import track
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.config import Config, EncoderSettings, RerankSettings
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UsageError
from kgrec.text.adapters import check_installed
from kgrec.text.base import TextEncoder
from kgrec.text.encoder import TransformersEncoder, encoder_of
from kgrec.text.finetune.dataset import Histories, Texts, Windows
from kgrec.text.finetune.trainer import EVALUATION_BATCHES, Trainer
from kgrec.text.token_batches import Tokens, batches
from kgrec.text.tuned_weights import FineTunedWeights

MAX_BATCH_TOKENS: Final = 2048
"""Tokens of a forward pass in training, padding included."""
BATCH_PAIRS: Final = 4096
"""Pairs of texts tokenized at once."""
CLASSES: Final = ("not taken", "taken")

Ranked = Callable[[IntArray, IntArray], IntArray]
"""Users [n] and an item of each [n] → the unseen items of the item's domain that the first stage ranks highest,
int64 [n, k], padded with -1."""


class CrossEncoder:
    """A text model with a classification head.

    Args:
        encoder: the text model; its pooling and prompts are not used.
        tuned: trained weights of model and head; without them, only `classifier` and `logits` can be used.
        prefix: tokens that training adds in front of every text.

    Raises:
        UsageError: `tuned` comes from another model.
    """

    def __init__(self, encoder: TransformersEncoder, tuned: FineTunedWeights | None = None, prefix: int = 0) -> None:
        self.encoder, self.tuned, self.prefix = encoder, tuned, tuned.origin.prefix if tuned else prefix
        if tuned:
            tuned.check_model(encoder.name, encoder.digest)

    def classifier(self) -> Any:
        """Return the model with a head of one output; missing weights of the head are initialized by torch's seed.

        Raises:
            UsageError: a file is damaged, or transformers has no classifier for this type of model.
        """
        from transformers import AutoModelForSequenceClassification

        model = self.encoder.load(AutoModelForSequenceClassification, num_labels=1, ignore_mismatched_sizes=True)
        model.config.pad_token_id = self.encoder.pad
        model.config.use_cache = False
        return model

    def logits(self, model: Any, first: Texts, second: Texts, budget: int) -> torch.Tensor:
        """Return a model's logits of relevance for pairs of texts, float32 [n], with gradients; above 0 is relevant.

        Args:
            model: a model of `classifier`, or one with adapters.
            first, second: str, object [n], texts; the longer text of a pair is truncated to the model's limit.
            budget: tokens of a forward pass.
        """
        limit = min(self.encoder.max_tokens, self.encoder.limit - self.prefix)
        encoded = self.encoder.tokenizer(list(first), list(second), truncation=True, max_length=limit, verbose=False)
        ids, types = Tokens.from_lists(encoded["input_ids"]), None
        if "token_type_ids" in encoded and getattr(model.config, "type_vocab_size", 0) > 1:
            types = Tokens.from_lists(encoded["token_type_ids"])
        order = list(batches(ids.lengths, budget))
        parts = [self._forward(model, ids, types, rows) for rows in order]
        return torch.cat(parts)[torch.as_tensor(np.argsort(np.concatenate(order)))]

    def _forward(self, model: Any, ids: Tokens, types: Tokens | None, rows: IntArray) -> torch.Tensor:
        device = self.encoder.device
        padded, mask = ids.padded(rows, self.encoder.pad)
        given = {"input_ids": padded, "attention_mask": mask.astype(np.int64)}
        if types:
            given["token_type_ids"] = types.padded(rows, 0)[0]
        tensors = {name: torch.from_numpy(values).to(device) for name, values in given.items()}
        with torch.autocast(device, torch.bfloat16, enabled=self.encoder.precision == "half"):
            return torch.as_tensor(model(**tensors).logits[:, 0].float())

    def scores(self, first: Texts, second: Texts) -> FloatArray:
        """Return the trained model's logits of relevance for pairs of texts, float32 [n]; above 0 is relevant."""
        starts, parts = range(0, len(first), BATCH_PAIRS), [np.empty(0, np.float32)]
        for start in track(starts, "Re-ranking") if len(starts) > 1 else starts:
            pairs = first[start : start + BATCH_PAIRS], second[start : start + BATCH_PAIRS]
            with torch.inference_mode():
                parts.append(self.logits(self._model, *pairs, self.encoder.token_budget).cpu().numpy())
        return np.concatenate(parts)

    @property
    def learned(self) -> FineTunedWeights:
        """Trained weights of the model.

        Raises:
            UsageError: the cross-encoder was not trained.
        """
        if self.tuned is None:
            raise UsageError("found a cross-encoder without trained weights; expected one returned by `learn`")
        return self.tuned

    @cached_property
    def _model(self) -> Any:
        return self.learned.applied(self.classifier()).float().to(self.encoder.device).eval()


def body_of(config: Config, given: TextEncoder | None = None, *, fetch: bool = True) -> TransformersEncoder:
    """Return the text model for a cross-encoder, so that a missing model is reported before the fit.

    Args:
        config: settings, including `rerank`.
        given: an encoder that replaces the setting `encoder`.
        fetch: download a model that is not on this machine from the hub.

    Raises:
        RunError: the model is not on this machine, and `fetch` is false.
        UsageError: there is no such model, or it is not a transformers model.
        MissingExtra: peft is not installed.
    """
    settings = config.rerank or RerankSettings()
    check_installed(settings.method)
    own = settings.model
    settings_of = EncoderSettings(model=own) if own else config.encoder
    encoder = given if given and not own else encoder_of(settings_of, fetch=fetch)
    if not isinstance(encoder, TransformersEncoder):
        raise UsageError(
            f"found text encoder {encoder.name}; expected a transformers model to re-rank with: set rerank.model"
        )
    precision = config.encoder.precision if config.encoder and not own else None
    limits = {"model": str(encoder.folder), "max_tokens": settings.max_tokens, "precision": precision}
    return TransformersEncoder(
        encoder.settings.model_copy(update={**limits, "pooling": None, "text_prefix": ""}), name=encoder.name
    )


def learn(
    train: GraphSnapshot,
    encoder: TransformersEncoder,
    ranked: Ranked,
    settings: RerankSettings,
    seed: int = 0,
    depends: Sequence[Any] = (),
) -> tuple[CrossEncoder, dict[str, Any]]:
    """Train a cross-encoder on a graph's interactions; return it and its classification report.

    Args:
        train: the training graph, without validation and test interactions.
        encoder: the original model; see `body_of`.
        ranked: top items of the first stage.
        settings: of training.
        seed: makes the result reproducible.
        depends: JSON-ready values that `ranked` depends on, part of the key of the checkpoint.

    Returns:
        The cross-encoder, and scikit-learn's classification report on held-out users.

    Raises:
        UsageError: no user has two items with text, or the model does not support the method.
        MissingExtra: peft is not installed.
    """
    training = _Training(train, encoder, ranked, settings, seed, depends)
    cross = CrossEncoder(encoder, training.run())
    return cross, training.report(cross)


def render_users(histories: Histories, user: IntArray, before: IntArray) -> Texts:
    """Return the texts of users [n]: their own text, then those of earlier items `before` [n, w], the latest first."""
    texts, none = np.append(histories.texts, ""), len(histories.texts)
    rows = np.c_[histories.n_items + user, np.where(before >= 0, before, none)[:, ::-1]]
    return np.array(["".join(f"{text} " for text in parts if text) for parts in texts[rows]], dtype=object)


class _Training(Trainer):
    """One training of a cross-encoder."""

    def __init__(
        self,
        train: GraphSnapshot,
        encoder: TransformersEncoder,
        ranked: Ranked,
        settings: RerankSettings,
        seed: int,
        depends: Sequence[Any],
    ) -> None:
        super().__init__("Re-ranking", train, encoder, settings, seed, depends)
        self.settings, self.ranked, self.cross = settings, ranked, CrossEncoder(encoder, prefix=self.origin.prefix)
        popularity = self.histories.popularity * (self.histories.texts[: self.histories.n_items] != "")
        self.popularity = popularity / popularity.sum()

    def _model(self) -> Any:
        return self.cross.classifier()

    def _loss(self, windows: Windows, rng: np.random.Generator) -> torch.Tensor:
        """Return the binary cross-entropy, with equal total weight of both classes."""
        first, second, taken = self._examples(windows, rng)
        logits = self.cross.logits(self.module, first, second, MAX_BATCH_TOKENS)
        wanted = torch.as_tensor(taken, dtype=torch.float32, device=logits.device)
        balance = wanted.new_tensor((~taken).sum() / taken.sum())
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=balance)

    def report(self, cross: CrossEncoder) -> dict[str, Any]:
        """Return precision, recall and F1 of "taken" and "not taken" for held-out users."""
        from sklearn.metrics import classification_report  # type: ignore[import-untyped]

        rng = np.random.default_rng(self.seed)
        windows = self.histories.draw(
            EVALUATION_BATCHES * self.settings.batch, self.settings.history, rng, held_out=True
        )
        if not len(windows.user):
            return {}
        first, second, taken = self._examples(windows, rng)
        predicted, options = cross.scores(first, second) > 0, {"output_dict": True, "zero_division": 0}
        report = classification_report(taken, predicted, labels=[False, True], target_names=CLASSES, **options)
        return {name: report[name] for name in CLASSES}

    def _examples(self, windows: Windows, rng: np.random.Generator) -> tuple[Texts, Texts, BoolArray]:
        """Return texts of users and items, and labels: true for the last item of a window, false for negatives."""
        items = np.c_[windows.item[:, -1], self._drawn(windows, rng)]
        row, column = np.nonzero(items >= 0)
        users = render_users(self.histories, windows.user, windows.item[:, :-1])
        return users[row], self.histories.texts[items[row, column]], column == 0

    def _drawn(self, windows: Windows, rng: np.random.Generator) -> IntArray:
        """Return negatives, int64 [n, negatives], ranked high or sampled by popularity; -1 is none."""
        target, n_popular = windows.item[:, -1], self.settings.negatives // 2
        ranked = self.ranked(windows.user, target)
        place = rng.integers(ranked.shape[1], size=(len(target), self.settings.negatives - n_popular))
        popular = rng.choice(len(self.popularity), (len(target), n_popular), p=self.popularity)
        drawn = np.c_[np.take_along_axis(ranked, place, axis=1), popular]
        others = self.histories.is_candidate(windows.user, target, np.arange(self.histories.n_items))
        keep = np.take_along_axis(others, np.maximum(drawn, 0), axis=1) & (drawn != target[:, None])
        return np.where(keep, drawn, -1)
