"""TF-IDF: items are similar by the rare words they share, and all scores are 0 without any."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from kgrec.data.table_checks import check
from kgrec.signals.content.tfidf import TFIDF, _terms
from kgrec.testing.graphs import train_and_withheld, two_communities
from kgrec.testing.signal_contract import SignalContract


class TestTFIDF(SignalContract):
    signal = TFIDF

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def no_word_is_too_frequent(cls) -> Iterator[None]:
        """The texts have eight words in all, so that none is rare."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kgrec.signals.content.tfidf.MAX_DOCUMENT_SHARE", 1.0)
            yield


def untitled(tables):
    items = tables.nodes["Item"]
    blank = pa.nulls(items.num_rows, pa.string())
    return check(replace(tables, nodes={**tables.nodes, "Item": items.set_column(1, "title", blank)}))


def test_tfidf_needs_text_and_ignores_unshared_words(monkeypatch):
    train, _ = train_and_withheld(untitled(two_communities(seed=1)))
    assert not TFIDF.applies(train, {})
    monkeypatch.setattr("kgrec.signals.content.tfidf.MAX_DOCUMENT_SHARE", 0.0)
    train, _ = train_and_withheld()
    assert TFIDF.applies(train, {})
    assert not TFIDF().fit(train, {}).scores(np.arange(3)).any()


def test_terms_of_english_are_those_of_scikit_learn():
    analyze = TfidfVectorizer().build_analyzer()
    film = "a film, in Japanese 七人の侍, of samurai who guard a village from bandits"
    for text in ("A Robot's 2nd trip: to x-ray Ω's MOON", "Café naïve É", "Привет мир", "한국어 텍스트", film, ""):
        assert _terms(text) == analyze(text)


def test_terms_without_blanks_are_parts_of_the_text():
    assert _terms("熟地黄 Root, 姜") == ["root", "熟", "地", "黄", "熟地", "地黄", "姜"]
    assert set(_terms("生地黄")) & set(_terms("熟地黄")) == {"地", "黄", "地黄"}
    assert "ねこ" in _terms("ねこが好き")
