from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kgrec.testing.encoder_contract import TextEncoderContract
from kgrec.text import TransformersEncoder, VectorCache
from kgrec.text.static import StaticEncoder, encoding_seconds

pytestmark = pytest.mark.slow


class TestStatic(TextEncoderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, packaged: TransformersEncoder) -> StaticEncoder:
        return StaticEncoder(packaged)


def test_vector_is_the_mean_of_centered_token_vectors(packaged: TransformersEncoder) -> None:
    static = StaticEncoder(packaged)
    alone = packaged.encode(["red", "ship"]) - static._center
    mean = alone.sum(axis=0) / np.linalg.norm(alone.sum(axis=0))
    np.testing.assert_allclose(static.encode(["red ship", "ship red"]), [mean, mean], atol=1e-5)


def test_token_is_encoded_once(packaged: TransformersEncoder, tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    StaticEncoder(packaged, cache).encode(["a red ship"])
    encoded = cache.encoded
    StaticEncoder(packaged, cache).encode(["a ship", "red, a ship"])
    assert cache.encoded == encoded + 1  # the comma


def test_long_text_is_cut(packaged: TransformersEncoder) -> None:
    short = StaticEncoder(TransformersEncoder(packaged.folder, max_tokens=2))
    np.testing.assert_allclose(*short.encode(["red ship at sea", "red ship"]), atol=1e-6)


def test_static_vectors_have_cache_entries_of_their_own(packaged: TransformersEncoder) -> None:
    assert StaticEncoder(packaged).identity != packaged.identity
    shorter = TransformersEncoder(packaged.folder, max_tokens=2)
    assert StaticEncoder(packaged).identity != StaticEncoder(shorter).identity


def test_encoding_seconds_grow_with_the_length(packaged: TransformersEncoder) -> None:
    assert encoding_seconds(["red ship"] * 10, packaged) == pytest.approx(10 * encoding_seconds(["red ship"], packaged))
