"""Folders of transformers models: find, check and load them, and read pooling, prompts and limits from their files."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from kgrec.config import EncoderSettings
from kgrec.errors import RunError, UsageError, near_matches

Use = Literal["text", "query"]
"""What is encoded: the text of a node, or a search query."""

_PROMPTS: Final[dict[Use, tuple[str, ...]]] = {"text": ("document", "passage"), "query": ("query",)}
"""Use → names of its prompts in sentence-transformers."""

_POOLING: Final = {
    "mean_tokens": "mean",
    "cls_token": "cls",
    "lasttoken": "last",
    "max_tokens": "max",
    "weightedmean_tokens": "weightedmean",
}
"""Name of a pooling in old files of sentence-transformers → name in kgrec; other names are equal."""

_MODULES: Final = ("Transformer", "Pooling", "Dense", "Normalize")
"""Supported modules of sentence-transformers; their code is that of the library."""

_AFTER_PADDING: Final = ("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet")
"""Model types whose position ids start after the padding token's id."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_HUB_FILES: Final = ("*.json", "*.txt", "*.model", "*.safetensors")
_NOT_NEEDED: Final = ("onnx/*", "openvino/*")
_PICKLES: Final = ("*.bin", "*.pt", "*.pth")
_MAY_NAME_CODE: Final = ("config.json", "tokenizer_config.json")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


def find_model(settings: EncoderSettings, fetch: bool = True) -> Path:
    """Return the folder of a model, after a check that it is safe to load.

    A model is safe if it has no code of its own and all weights in safetensors. The settings `trust_remote_code` and
    `allow_pickle_weights` lift these conditions.

    Args:
        settings: the model, as a folder or an id on the Hugging Face hub, and whether to trust its code and pickles.
        fetch: download it from the hub; if false, as for a model that a run names, only the local cache is searched.

    Raises:
        UsageError: no such model, or its folder lacks a config, a tokenizer or safetensors weights, or names files or
            code outside the folder.
        RunError: the model is not on this machine, and `fetch` is false.
    """
    folder = Path(settings.model)
    if not folder.is_dir():
        folder = _from_hub(settings) if fetch else _from_cache(settings.model)
    if not _has_model(folder, settings.allow_pickle_weights):
        raise UsageError(
            f"{folder} holds no transformers model; expected config.json, a tokenizer and *.safetensors. Weights in "
            "other formats are not read, since loading them can run code. Convert them: AutoModel.from_pretrained(ID)"
            ".save_pretrained(FOLDER); or trust them: encoder.allow_pickle_weights=true"
        )
    _check_contained(folder)
    _check_modules(folder, settings)
    if not _has_tokenizer(folder):
        raise UsageError(
            f"{folder} holds a model without a tokenizer; expected one of {', '.join(_TOKENIZER_FILES)} beside "
            "config.json. Save it: AutoTokenizer.from_pretrained(ID).save_pretrained(FOLDER)"
        )
    return folder


def _check_contained(folder: Path) -> None:
    """Check that the files of a model name no weights and no code outside its folder.

    Raises:
        UsageError: the folder is an adapter of another model, an index names other files, or the config names a kernel
            to download.
    """
    if (folder / "adapter_config.json").exists():
        raise UsageError(
            f"{folder} holds an adapter for another model; expected a complete model. "
            "Merge it with peft: merge_and_unload().save_pretrained(FOLDER)"
        )
    shards = read_json(folder / "model.safetensors.index.json").get("weight_map", {})
    names = set(shards.values()) if isinstance(shards, dict) else {shards}
    if strange := [name for name in names if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", str(name))]:
        raise UsageError(
            f"{folder / 'model.safetensors.index.json'} names {strange[0]!r}; expected *.safetensors beside it"
        )
    attention = read_json(folder / "config.json").get("attn_implementation")
    if "/" in str(attention):
        raise UsageError(f"{folder / 'config.json'} asks for a kernel of {attention!r}, which kgrec does not download")


def _check_modules(folder: Path, settings: EncoderSettings) -> None:
    """Check the modules of sentence-transformers after the transformer.

    Raises:
        UsageError: a module is not supported, its folder is outside the model's, or its weights are in a pickle.
    """
    for kind, path in modules(folder):
        if kind not in _MODULES or not re.fullmatch(r"[\w-]*", path):
            raise UsageError(
                f"{folder / 'modules.json'} asks for {kind!r} in {path!r}; expected one of {', '.join(_MODULES)} in a "
                "folder of the model. Write an encoder for other modules: Recommender(encoder=…), see "
                "docs/how-to/encoders.md"
            )
        if kind == "Dense" and not _has_weights(folder / path, settings.allow_pickle_weights):
            raise UsageError(
                f"{folder / path} holds no model.safetensors; expected the weights of a dense layer. Weights in other "
                "formats are not read, since loading them can run code. Trust them: encoder.allow_pickle_weights=true"
            )


def modules(folder: Path) -> list[tuple[str, str]]:
    """Return the modules in a model's modules.json: class, and folder within the model's.

    Raises:
        UsageError: modules.json has no list of modules.
    """
    file = folder / "modules.json"
    named = _read(file, [])
    if not isinstance(named, list) or not all(isinstance(part, dict) for part in named):
        raise UsageError(f"{file} holds no list of modules; download or copy the model again")
    return [(_module_class(str(part.get("type"))), str(part.get("path", ""))) for part in named]


def _module_class(type_: str) -> str:
    package, _, name = type_.rpartition(".")
    return name if package.split(".")[0] == "sentence_transformers" else type_


def cached_models() -> dict[str, Path]:
    """Return the text models in the Hugging Face cache: id → folder of the `main` or latest revision."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return {}
    folders = {}
    for repo in sorted((r for r in repos if r.repo_type == "model"), key=lambda r: r.repo_id):
        newest = max(repo.revisions, key=lambda r: ("main" in r.refs, r.last_modified), default=None)
        if newest and _has_model(newest.snapshot_path) and _has_tokenizer(newest.snapshot_path):
            folders[repo.repo_id] = newest.snapshot_path
    return folders


def own_pooling(folder: Path, trust_remote_code: bool = False) -> str:
    """Return the pooling in a model's files; several poolings are joined by "+".

    Without one, it is the last token for a decoder, and the mean for other models.

    Raises:
        UsageError: a file is damaged.
    """
    path = next((path for kind, path in modules(folder) if kind == "Pooling"), "1_Pooling")
    saved = read_json(folder / path / "config.json")
    if not saved:
        return "last" if _is_decoder(folder, trust_remote_code) else "mean"
    modes = [
        name.removeprefix("pooling_mode_") for name, on in saved.items() if name.startswith("pooling_mode_") and on
    ]
    if not modes:
        given = saved.get("pooling_mode", "mean")
        modes = list(map(str, given)) if isinstance(given, list) else [str(given)]
    return "+".join(_POOLING.get(mode, mode) for mode in modes)


def own_dim(folder: Path, pooling: str, trust_remote_code: bool = False) -> int:
    """Return the length of a vector by a model's files: that of its last dense layer, or of pooled token vectors."""
    dense = [path for kind, path in modules(folder) if kind == "Dense"]
    if dense:
        return int(read_json(folder / dense[-1] / "config.json").get("out_features", 0))
    size = read_json(folder / "config.json").get("hidden_size")
    # Some model types use another name; transformers knows it, but takes seconds to import.
    return int(size or model_config(folder, trust_remote_code).hidden_size) * len(pooling.split("+"))


def after_transformer(folder: Path, pooling: str, dim: int, trust_remote_code: bool) -> list[Any]:
    """Return the modules after the transformer: pooling, dense layers, normalization.

    Args:
        folder: of the model.
        pooling: as `own_pooling` returns it.
        dim: length of a token vector.
        trust_remote_code: accept activation functions that are not from torch.

    Raises:
        UsageError: a dense layer does not fit, or is damaged.
    """
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

    modes = tuple("lasttoken" if mode == "last" else mode for mode in pooling.split("+"))
    try:
        layers: list[Any] = [Pooling(dim, modes)]
        width = layers[0].pooling_output_dimension
        for path in (path for kind, path in modules(folder) if kind == "Dense"):
            options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
            layers.append(Dense.load(str(folder), subfolder=path, **options))
            if layers[-1].in_features != width:
                raise ValueError(f"{path} takes {layers[-1].in_features} numbers, and pooling {pooling} gives {width}")
            width = layers[-1].out_features
    except Exception as error:  # the library raises errors of several parsers
        raise UsageError(f"{folder} does not load as a text model: {error}. Download or copy it again") from error
    return [*layers, Normalize()]


def own_prefix(folder: Path, use: Use) -> str:
    """Return the prompt for a use in a model's files; "" if there is none."""
    saved = read_json(folder / "config_sentence_transformers.json")
    prompts = saved.get("prompts") or {}
    default = str(saved.get("default_prompt_name") or "")
    return next((str(prompts[name]) for name in (*_PROMPTS[use], default) if prompts.get(name)), "")


def own_limit(folder: Path, trust_remote_code: bool = False) -> int:
    """Return the maximum tokens of a model's input by its files; 2**31 if they give none."""
    config = model_config(folder, trust_remote_code)
    positions = int(getattr(config, "max_position_embeddings", None) or 0)
    if config.model_type in _AFTER_PADDING:
        positions -= int(config.pad_token_id or 0) + 1
    trained = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    tokenizer = read_json(folder / "tokenizer_config.json").get("model_max_length")
    limits = [int(limit) for limit in (positions, trained, tokenizer) if limit and limit > 0]
    return min(limits, default=2**31)


def model_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """Return the transformers config of a model; that of the text part for a multimodal model."""
    from transformers import AutoConfig

    return loaded(AutoConfig, folder, trust_remote_code).get_text_config()


def loaded(kind: Any, folder: Path, trust_remote_code: bool = False, **options: Any) -> Any:
    """Load a part of a model (config, tokenizer or weights) from its folder, without downloads.

    Args:
        kind: class of transformers that loads it.
        folder: of the model.
        trust_remote_code: allow code of the model to run.
        options: of `kind.from_pretrained`.

    Raises:
        UsageError: a file is damaged, the installed transformers does not support the model, or it needs its own code.
    """
    try:
        with _quiet():
            return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code, **options)
    except Exception as error:  # transformers raises errors of several parsers
        code = [name for name in _MAY_NAME_CODE if read_json(folder / name).get("auto_map")]
        if code and not trust_remote_code:
            raise UsageError(
                f"{folder / code[0]} names code of its own (auto_map), which kgrec does not run. Use a model that "
                "transformers supports; or read the code, and trust it: encoder.trust_remote_code=true, see "
                "docs/how-to/encoders.md"
            ) from error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{folder} does not load as a text model: {reason}. Download or copy it again") from error


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a model; an empty one if there is no such file.

    Raises:
        UsageError: the file is not JSON.
    """
    content = _read(file, {})
    return content if isinstance(content, dict) else {}


def _read(file: Path, default: Any) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return default
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON ({error}); download or copy the model again") from None


def n_parameters(folder: Path) -> int:
    """Return the number of a model's parameters, from the headers of its files."""
    from safetensors import safe_open

    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as weights:
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def n_embedding_parameters(folder: Path) -> int:
    """Return the number of parameters of a model's token embeddings, of which a token passes through one row."""
    config = read_json(folder / "config.json")
    return int(config.get("vocab_size", 0)) * int(config.get("hidden_size", 0))


def folder_digest(folder: Path, more: Iterable[str] = ()) -> str:
    """Return the hexadecimal SHA-256 of a model's files: weights, config and tokenizer.

    Args:
        folder: of the model.
        more: suffixes of further files to include, such as ".py".
    """
    suffixes = {".safetensors", ".json", ".txt", ".model", *more}
    dense = [folder / path for kind, path in modules(folder) if kind == "Dense"]
    files = sorted(f for part in (folder, *dense) for f in part.iterdir() if f.suffix in suffixes)
    return hashlib.sha256("".join(file_digest(f) for f in files).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, which is read again only after it has changed."""
    status = path.stat()
    return _digest_of(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@cache
def _digest_of(path: Path, state: tuple[int, int, int]) -> str:
    """Return the SHA-256 of a file; `state` (inode, size and time) tells its contents apart in the cache."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_hub(settings: EncoderSettings) -> Path:
    model = settings.model
    if not _HUB_ID.fullmatch(model):
        raise UsageError(f"no text model {model!r}; expected a folder, or a model id such as 'intfloat/e5-small-v2'")
    from huggingface_hub import snapshot_download

    trusted = [*_PICKLES] * settings.allow_pickle_weights + ["*.py"] * settings.trust_remote_code
    try:
        return Path(snapshot_download(model, allow_patterns=[*_HUB_FILES, *trusted], ignore_patterns=[*_NOT_NEEDED]))
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = str(error).splitlines()[0]
        cached = cached_models()
        raise UsageError(
            f"no text model {model!r}: not a folder here, and the Hugging Face hub answers: {reason}. "
            f"Check the name and the network, or download the model on another machine (hf download {model} "
            f"--local-dir FOLDER) and pass its folder. In the cache: {', '.join(cached) or 'no text model'}"
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
            f"the text model {model!r} is not on this machine, and kgrec downloads none for a run. Run: hf download "
            f"{model}; or copy its folder to that place, or pass an encoder: Recommender.load(RUN, encoder=…)"
        ) from error


def _has_model(folder: Path, or_pickles: bool = False) -> bool:
    return (folder / "config.json").is_file() and _has_weights(folder, or_pickles)


def _has_weights(folder: Path, or_pickles: bool = False) -> bool:
    patterns = ("*.safetensors", *_PICKLES) if or_pickles else ("*.safetensors",)
    return any(any(folder.glob(pattern)) for pattern in patterns)


def _has_tokenizer(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES)


def _is_decoder(folder: Path, trust_remote_code: bool) -> bool:
    """Return whether a model is a causal language model, and not a masked one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    family = model_config(folder, trust_remote_code).model_type
    return family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and family not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress transformers' logs and progress bars while a model loads."""
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
