"""A transformers model as a folder: where it is, and what its own files say about how to use it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from kgrec.config import Pooling
from kgrec.errors import RunError, UsageError, near_matches

Use = Literal["text", "query"]
"""What is encoded: the text of a node, or what somebody searches for."""

_PROMPTS: Final[dict[Use, tuple[str, ...]]] = {"text": ("document", "passage"), "query": ("query",)}
"""What sentence-transformers calls the prompts of each use."""

_POOLING: Final[dict[str, Pooling]] = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "last"}
_AFTER_PADDING: Final = ("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet")
"""Families whose positions are counted from the one after the padding token's id."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_NOT_NEEDED = ["onnx/*", "openvino/*", "*/*.safetensors"]
_MAY_NAME_CODE: Final = ("config.json", "tokenizer_config.json")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


def find_model(model: str | Path, fetch: bool = True) -> Path:
    """Return the folder of a model that is safe to load: no code of its own, weights in safetensors alone.

    Args:
        model: a folder, or an id on the Hugging Face hub.
        fetch: whether to ask the hub. Without, as where a run names the model, only its cache on this machine counts.

    Raises:
        UsageError: no such model, or its folder lacks a config, a tokenizer or safetensors weights, or names files or
            code elsewhere.
        RunError: the model is not on this machine, and may not be fetched.
    """
    folder = Path(model)
    if not folder.is_dir():
        folder = _from_hub(str(model)) if fetch else _from_cache(str(model))
    if not _has_model(folder):
        raise UsageError(
            f"{folder} holds no transformers model; expected config.json, a tokenizer and *.safetensors. Weights in "
            "other files are not read, since loading them can run code: AutoModel.from_pretrained(ID)"
            ".save_pretrained(FOLDER) writes safetensors"
        )
    _check_contained(folder)
    if not _has_tokenizer(folder):
        raise UsageError(
            f"{folder} holds a model without a tokenizer; expected one of {', '.join(_TOKENIZER_FILES)} beside "
            "config.json: AutoTokenizer.from_pretrained(ID).save_pretrained(FOLDER) puts it there"
        )
    return folder


def _check_contained(folder: Path) -> None:
    """See that the files of a model lead to no weights and no code outside of its folder.

    Raises:
        UsageError: an adapter names another model, an index names other files, or a kernel is to be fetched.
    """
    if (folder / "adapter_config.json").exists():
        raise UsageError(
            f"{folder} holds an adapter for another model; expected a whole one: "
            "merge_and_unload().save_pretrained(FOLDER) of peft makes it"
        )
    shards = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    names = set(shards.values()) if isinstance(shards, dict) else {shards}
    if strange := [name for name in names if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", str(name))]:
        raise UsageError(
            f"{folder / 'model.safetensors.index.json'} names {strange[0]!r}; expected *.safetensors beside it"
        )
    attention = read_json(folder / "config.json").get("attn_implementation")
    if "/" in str(attention):
        raise UsageError(f"{folder / 'config.json'} asks for a kernel of {attention!r}, which kgrec does not fetch")


def cached_models() -> dict[str, Path]:
    """Return the text models in the Hugging Face cache: id → folder of the revision that counts."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return {}
    found = {}
    for repo in sorted((r for r in repos if r.repo_type == "model"), key=lambda r: r.repo_id):
        newest = max(repo.revisions, key=lambda r: ("main" in r.refs, r.last_modified), default=None)
        if newest and _has_model(newest.snapshot_path) and _has_tokenizer(newest.snapshot_path):
            found[repo.repo_id] = newest.snapshot_path
    return found


def own_pooling(folder: Path) -> Pooling:
    """Return how a model's token vectors become one, as its files say.

    The pooling that sentence-transformers saved, else the last token for a model that only writes on (a decoder),
    else the mean.

    Raises:
        UsageError: its pooling is one that kgrec does not have.
    """
    saved = read_json(folder / "1_Pooling" / "config.json")
    if not saved:
        return "last" if _is_decoder(folder) else "mean"
    modes = [
        name.removeprefix("pooling_mode_") for name, on in saved.items() if name.startswith("pooling_mode_") and on
    ]
    modes = modes or [str(saved.get("pooling_mode", "mean"))]
    names = {**_POOLING, "mean": "mean", "cls": "cls"}
    if len(modes) != 1 or modes[0] not in names:
        raise UsageError(
            f"{folder} was trained with pooling {' + '.join(modes)}; expected mean, cls or last: "
            "say which to use instead (encoder: {model: …, pooling: mean})"
        )
    return names[modes[0]]


def own_prefix(folder: Path, use: Use) -> str:
    """Return the prompt that a model's files give for a use, or nothing."""
    saved = read_json(folder / "config_sentence_transformers.json")
    prompts = saved.get("prompts") or {}
    default = str(saved.get("default_prompt_name") or "")
    return next((str(prompts[name]) for name in (*_PROMPTS[use], default) if prompts.get(name)), "")


def own_limit(folder: Path) -> int:
    """Return how many tokens a model takes, as far as its files say."""
    config = model_config(folder)
    positions = int(getattr(config, "max_position_embeddings", None) or 0)
    if config.model_type in _AFTER_PADDING:
        positions -= int(config.pad_token_id or 0) + 1
    trained = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    tokenizer = read_json(folder / "tokenizer_config.json").get("model_max_length")
    limits = [int(limit) for limit in (positions, trained, tokenizer) if limit and limit > 0]
    return min(limits, default=2**31)


def model_config(folder: Path) -> Any:
    """Return a model's transformers config; of one that also sees or hears, the part for text."""
    from transformers import AutoConfig

    return loaded(AutoConfig, folder).get_text_config()


def loaded(kind: Any, folder: Path, **options: Any) -> Any:
    """Load a part of a model (config, tokenizer or weights) from its folder; code that comes with it is never run.

    Raises:
        UsageError: a file is damaged, or the installed transformers does not know the model, or only by its own code.
    """
    try:
        with _quiet():
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # whatever is wrong with a file, transformers raises its parser's error
        if code := [name for name in _MAY_NAME_CODE if read_json(folder / name).get("auto_map")]:
            raise UsageError(
                f"{folder / code[0]} names code of its own (auto_map), which kgrec does not run. Use a model that "
                "transformers knows, or write an encoder: Recommender(encoder=…), see docs/how-to/encoders.md"
            ) from error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{folder} does not load as a text model: {reason}. Download or copy it again") from error


def read_json(file: Path) -> dict[str, Any]:
    """Return what a file of a model holds; nothing if there is no such file.

    Raises:
        UsageError: it is not JSON.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON ({error}); download or copy the model again") from None
    return content if isinstance(content, dict) else {}


def n_parameters(folder: Path) -> int:
    """Return the number of a model's weights, from the heads of its files."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def folder_digest(folder: Path) -> str:
    """Hexadecimal SHA-256 over the files that make up a model: weights, config and tokenizer."""
    files = sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".json", ".txt", ".model"))
    return hashlib.sha256("".join(file_digest(f) for f in files).encode()).hexdigest()


@cache
def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_hub(model: str) -> Path:
    if not _HUB_ID.fullmatch(model):
        raise UsageError(f"no text model {model!r}; expected a folder, or a model id such as 'intfloat/e5-small-v2'")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES, ignore_patterns=_NOT_NEEDED))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).splitlines()[0]
        cached = cached_models()
        raise UsageError(
            f"no text model {model!r}: not a folder here, and the Hugging Face hub answers: {reason}. "
            f"Check the name and the network, or download the model where there is network (hf download {model} "
            f"--local-dir FOLDER) and give its folder. In the cache: {', '.join(cached) or 'no text model'}"
            f"{near_matches(model, cached)}"
        ) from error


def _from_cache(model: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        if not _HUB_ID.fullmatch(model):
            raise ValueError
        return Path(snapshot_download(model, local_files_only=True))
    except Exception as error:  # the hub's client raises errors of several libraries
        raise RunError(
            f"the text model {model!r} is not on this machine, and a run does not fetch one. Run: hf download {model}; "
            "or put its folder where the run names it, or give the encoder: Recommender.load(RUN, encoder=…)"
        ) from error


def _has_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _has_tokenizer(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES)


def _is_decoder(folder: Path) -> bool:
    """Say whether a model belongs to a family that continues texts and does not fill gaps in them."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    family = model_config(folder).model_type
    return family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and family not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


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
