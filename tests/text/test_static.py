from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from transformers import AutoModel

from kgrec.testing.encoder_contract import TextEncoderContract
from kgrec.text import TransformersEncoder
from kgrec.text.static import StaticEncoder, encoding_seconds

pytestmark = pytest.mark.slow


class TestStatic(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, packaged: TransformersEncoder) -> StaticEncoder:
        return StaticEncoder(packaged)


def test_vector_is_the_mean_of_centered_token_vectors(packaged: TransformersEncoder) -> None:
    static = StaticEncoder(packaged)
    table = AutoModel.from_pretrained(packaged.folder).get_input_embeddings().weight.detach().numpy()
    alone = table[packaged.tokenizer("red ship", add_special_tokens=False)["input_ids"]] - static._center
    mean = alone.sum(axis=0) / np.linalg.norm(alone.sum(axis=0))
    np.testing.assert_allclose(static.encode(["red ship", "ship red"]), [mean, mean], atol=1e-5)


def test_tokens_are_those_of_the_model(packaged: TransformersEncoder) -> None:
    texts = ["Straße, naïve", "", "日本 red-ship", "word " * 300]
    given = packaged.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    assert packaged.token_ids(texts) == given
    assert packaged.count_tokens(texts).tolist() == list(map(len, given))


def test_static_encoder_imports_no_transformers() -> None:
    code = (
        "import sys; from kgrec.text import default_encoder; from kgrec.text.static import StaticEncoder\n"
        "StaticEncoder(default_encoder()).encode(['red ship']); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_long_text_is_cut(packaged: TransformersEncoder) -> None:
    short = StaticEncoder(TransformersEncoder(packaged.folder, max_tokens=2))
    np.testing.assert_allclose(*short.encode(["red ship at sea", "red ship"]), atol=1e-6)


def test_static_vectors_have_cache_entries_of_their_own(packaged: TransformersEncoder) -> None:
    assert StaticEncoder(packaged).identity != packaged.identity
    shorter = TransformersEncoder(packaged.folder, max_tokens=2)
    assert StaticEncoder(packaged).identity != StaticEncoder(shorter).identity


def test_encoding_seconds_grow_with_the_length(packaged: TransformersEncoder) -> None:
    assert encoding_seconds(["red ship"] * 10, packaged) == pytest.approx(10 * encoding_seconds(["red ship"], packaged))
