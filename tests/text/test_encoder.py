import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kgrec.errors import UsageError
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.encoder_contract import TextEncoderContract
from kgrec.text import TransformersEncoder, default_encoder


@pytest.fixture(scope="module")
def packaged():
    return default_encoder()


class TestWordEncoder(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls):
        return WordEncoder()


class TestMeanPooling(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, packaged):
        return packaged


class TestClsPooling(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, packaged):
        return TransformersEncoder(packaged.folder, pooling="cls", batch_tokens=64)


class TestLastTokenPooling(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, left_padding_decoder):
        return TransformersEncoder(left_padding_decoder, pooling="last", max_tokens=16)

    test_like_texts_are_nearer_than_unlike_ones = None  # the weights are random


@pytest.fixture(scope="module")
def left_padding_decoder(packaged, tmp_path_factory):
    """A small causal transformer with random weights whose tokenizer pads on the left."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaModel(LlamaConfig(vocab_size=30522, **sizes)).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(packaged.folder)
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    return folder


def test_meaning_is_nearer_than_words(packaged):
    film, same, other = packaged.encode(["a funny movie for kids", "comedy film for children", "a funny oil filter"])
    assert film @ same > film @ other + 0.2


def test_packaged_model_gives_the_published_similarity(packaged):
    """The first example of the model's card: 'This is an example sentence' and 'Each sentence is converted'."""
    first, second = packaged.encode(["This is an example sentence", "Each sentence is converted"])
    np.testing.assert_allclose(first[:3], [0.0676, 0.0635, 0.0487], atol=1e-3)
    np.testing.assert_allclose(second[:3], [0.0864, 0.1028, 0.0053], atol=1e-3)


def test_last_token_is_the_last_of_the_text(left_padding_decoder):
    """In a causal model the last token sees the whole text, so cutting the text must change its vector."""
    encoder = TransformersEncoder(left_padding_decoder, pooling="last")
    whole, cut = encoder.encode(["red green blue", "red green"])
    assert whole @ cut < 0.999


def test_longer_texts_are_cut(packaged):
    short = TransformersEncoder(packaged.folder, max_tokens=5)
    same, longer = short.encode(["red green blue", "red green blue yellow brown"])
    np.testing.assert_allclose(same, longer, atol=1e-5)


def test_the_models_own_limit_holds(packaged):
    assert TransformersEncoder(packaged.folder, max_tokens=10_000).encode(["word " * 2000]).shape == (1, 384)


def test_prefix_goes_before_every_text(packaged):
    prefixed = TransformersEncoder(packaged.folder, prefix="query: ")
    np.testing.assert_allclose(prefixed.encode(["red"]), packaged.encode(["query: red"]), atol=1e-5)


@pytest.mark.parametrize("setting", [{"pooling": "cls"}, {"max_tokens": 8}, {"prefix": "query: "}])
def test_identity_tells_settings_apart(packaged, setting):
    assert TransformersEncoder(packaged.folder, **setting).identity != packaged.identity
    assert TransformersEncoder(packaged.folder, batch_tokens=8).identity == packaged.identity


def test_identity_follows_the_content_not_the_place(packaged, tmp_path):
    shutil.copytree(packaged.folder, tmp_path / "copy")
    assert TransformersEncoder(tmp_path / "copy").identity == packaged.identity
    shutil.copytree(packaged.folder, tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))
    assert TransformersEncoder(tmp_path / "other").identity != packaged.identity


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "no/such/folder"}, "no text model 'no/such/folder'; expected a folder, or a model id"),
        ({"model": Path(__file__).parent}, "holds no transformers model; expected config.json"),
        ({"model": ".", "pooling": "max"}, "pooling 'max'; expected one of mean, cls, last"),
        ({"model": ".", "max_tokens": 0}, "expected whole numbers from 1 on"),
    ],
)
def test_wrong_use_is_a_clear_error(arguments, message):
    with pytest.raises(UsageError, match=message):
        TransformersEncoder(**arguments)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_damaged_model_is_named(packaged, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(packaged.folder, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:1000])
    with pytest.raises(UsageError, match=f"{folder} does not load as a text model: .*Download or copy it again"):
        TransformersEncoder(folder).encode(["a text"])


def test_the_dimension_is_known_whatever_a_config_calls_it(tmp_path):
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(dim=24, hidden_dim=32, n_layers=1, n_heads=2, vocab_size=50)
    DistilBertModel(config).save_pretrained(tmp_path)
    assert TransformersEncoder(tmp_path).dim == 24


def in_new_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_without_network_the_error_says_what_to_do():
    code = "from kgrec.text import TransformersEncoder; TransformersEncoder('nobody/no-such-model')"
    error = in_new_process(code, HF_HUB_OFFLINE="1").stderr
    assert "UsageError: no text model 'nobody/no-such-model': not a folder here" in error
    assert "download the model and give its folder" in error


def test_loading_is_silent_and_leaves_the_hosts_logging_alone():
    code = """
import logging, sys, warnings
warnings.simplefilter("error")
from kgrec.text import default_encoder
assert "torch" not in sys.modules and "transformers" not in sys.modules
from transformers.utils import logging as theirs
def state():
    return logging.root.level, list(logging.root.handlers), theirs.get_verbosity(), theirs.is_progress_bar_enabled()
before = state()
default_encoder().encode(["a text"])
assert state() == before
"""
    done = in_new_process(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_order_is_kept_over_many_batches(packaged):
    texts = [f"{'word ' * (i * 7 % 20)}{i}" for i in range(30)]
    tiny = TransformersEncoder(packaged.folder, batch_tokens=64)
    np.testing.assert_allclose(tiny.encode(texts), packaged.encode(texts), atol=1e-5)
