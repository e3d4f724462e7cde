"""Fixtures with small text models of random weights, and a Hugging Face cache without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kgrec.config import EncoderSettings
from kgrec.text import TransformersEncoder, default_encoder

FILES = {
    "pooling": "1_Pooling/config.json",
    "prompts": "config_sentence_transformers.json",
    "sentences": "sentence_bert_config.json",
}


@pytest.fixture(scope="session")
def packaged() -> TransformersEncoder:
    """Return the packaged encoder, in full precision on every processor."""
    return default_encoder(EncoderSettings(precision="full"))


@pytest.fixture(scope="session")
def model(packaged: TransformersEncoder, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes the folder of a small model, with random weights and the packaged tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 30522}
    more: dict[str, dict[str, Any]] = {
        "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
        "bert": {"intermediate_size": 64},
        "roberta": {"intermediate_size": 64, "max_position_embeddings": 34, "pad_token_id": 1},
        "llama": {"intermediate_size": 64},
        "gpt2": {"max_position_embeddings": 32},
    }

    def make(family: str, **files: object) -> Path:
        folder = tmp_path_factory.mktemp(family)
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **(sizes | more[family] if family != "t5" else more[family]))
        AutoModel.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
        tokenizer = AutoTokenizer.from_pretrained(packaged.folder)
        tokenizer.padding_side = "left"
        tokenizer.save_pretrained(folder)
        for name, content in files.items():
            file = folder / FILES[name]
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def hub(model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache with one text model, and no network."""
    from huggingface_hub import constants

    repo = tmp_path / "hub" / "models--tiny--sentences"
    shutil.copytree(model("bert"), repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"
