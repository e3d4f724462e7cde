"""TF-IDF: items whose texts share rare words with the texts of a user's items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.array_layout import Array, Layout, csr
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import row_means, user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, HalfLifeItems, LogRange, Signal, SignalSettings
from kgrec.signals.sparse import from_arrays, to_arrays
from kgrec.text.scripts import UNSPACED
from kgrec.text.verbalize import describe

MAX_DOCUMENT_SHARE: Final = 0.2
"""Words in more than this share of the item texts are ignored."""
N_GRAMS: Final = (1, 2)
"""Lengths of the parts of a text without blanks that stand for its words."""
MIN_UNSPACED_SHARE: Final = 0.1
"""Characters of scripts without blanks, from which on a text is read so; fewer are a name in another language."""
BLOCK_USERS: Final = 64
"""Users scored at a time: their dense word vectors stay in the cache."""

_WORD: Final = re.compile(r"\b\w\w+\b")
_UNSPACED_RUN: Final = re.compile(f"[{UNSPACED}]+")


class TFIDFSettings(SignalSettings):
    """Settings of TF-IDF."""

    half_life_items: HalfLifeItems = None


class TFIDF(Signal):
    """Mean cosine of the TF-IDF vectors of an item's text and the texts of a user's items.

    TF-IDF: Salton & Buckley, 1988. It complements embeddings, which capture the meaning of words but blur names such as
    brands, series and sizes. The words of Chinese, Japanese, Thai and other scripts without blanks are their characters
    and pairs of characters.
    """

    name: ClassVar[str] = "tfidf"
    group: ClassVar[Group] = "content"
    tuning_order: ClassVar[int] = 100
    supports_cold_items: ClassVar[bool] = True
    Settings = TFIDFSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {"half_life_items": LogRange(4.0, 0.5, 64)}

    _history: sp.csr_matrix
    _texts: sp.csr_matrix
    _words: list[str]
    _idf: FloatArray

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Return whether any item has text."""
        return any(bool(np.any(describe(train, label) != "")) for label in _labels(train))

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Learn the vocabulary and the inverse document frequencies from the item texts."""
        texts = _item_texts(train)
        weigh = _weigher(min_df=2, max_df=MAX_DOCUMENT_SHARE)
        try:
            weigh.fit(texts)
            words, idf = weigh.get_feature_names_out().tolist(), weigh.idf_
        except ValueError:  # no word occurs in two texts, so that no items can be compared
            words, idf = [], np.empty(0)
        self._words, self._idf = words, np.asarray(idf, dtype=np.float32)
        return self._bind(train, self._weighed(texts))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return mean cosines, float32 [n users, n_items]."""
        return self._scores(self._history[user_nums])

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users; see `Signal`."""
        return self._scores(row_means(user_histories(users, half_life_items=self.settings.half_life_items)))

    def item_similarity(self, item_nums: IntArray) -> FloatArray:
        """Return the cosines of items' texts with all item texts, float32 [n, n_items]."""
        return np.asarray((self._texts[item_nums] @ self._texts.T).toarray(), dtype=np.float32)

    def _scores(self, rows: sp.csr_matrix) -> FloatArray:
        """Return the scores of histories, CSR [n, n_items]: common words relate nearly all items, so they are dense."""
        wanted, scores = sp.csr_matrix(rows @ self._texts), np.empty(rows.shape, np.float32)
        for first in range(0, rows.shape[0], BLOCK_USERS):
            block = slice(first, first + BLOCK_USERS)
            scores[block] = (self._texts @ wanted[block].T.toarray()).T
        return scores

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return item vectors as arrays of a CSR matrix [n_items, words], the words as UTF-8 bytes, and their IDF."""
        lines = np.frombuffer("\n".join(self._words).encode(), dtype=np.uint8)
        return {**to_arrays(self._texts), "words": lines, "idf": self._idf}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        texts = {"words": Array(("bytes",), ("uint8",)), "idf": Array(("words",))}
        return ({**csr(train.n_items), **texts},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        self._words, self._idf = state["words"].tobytes().decode().split(), state["idf"]
        if len(self._words) != len(self._idf) or len(set(self._words)) < len(self._words):
            raise ValueError(f"'words' holds {len(self._words)} words. Expected {len(self._idf)} distinct ones")
        return self._bind(train, from_arrays(state, len(self._words)))

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        grown = type(self)(self.settings)
        grown._words, grown._idf = self._words, self._idf
        return grown._bind(delta.new, grown._weighed(_item_texts(delta.new)))

    def text_scores(self, texts: Sequence[str], vectors: FloatArray) -> FloatArray:
        """Return the cosines of queries and item texts, float32 [n texts, n_items]."""
        return np.asarray((self._weighed(texts) @ self._texts.T).toarray())

    def _weighed(self, texts: Sequence[str] | npt.NDArray[np.object_]) -> sp.csr_matrix:
        """Return the TF-IDF vectors of texts, float32 CSR [n texts, words], of length 1, or 0 without a known word."""
        if not self._words:
            return sp.csr_matrix(np.empty((len(texts), 0), np.float32))
        weigh = _weigher(vocabulary=self._words)
        weigh.idf_ = self._idf
        return sp.csr_matrix(weigh.transform(texts))

    def _bind(self, train: GraphSnapshot, texts: sp.csr_matrix) -> Self:
        self._history, self._texts = (
            row_means(user_histories(train, half_life_items=self.settings.half_life_items)),
            texts,
        )
        return self


def _weigher(**settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, analyzer=_terms, **settings)


def _terms(text: str) -> list[str]:
    """Return the words of a text with two characters or more, and all n-grams where its script has no blanks."""
    text = text.lower()
    runs = [] if text.isascii() else _UNSPACED_RUN.findall(text)
    if sum(map(len, runs)) < MIN_UNSPACED_SHARE * len(text):
        runs = []
    grams = [run[i : i + n] for run in runs for n in N_GRAMS for i in range(len(run) - n + 1)]
    return _WORD.findall(_UNSPACED_RUN.sub(" ", text) if runs else text) + grams


def _item_texts(train: GraphSnapshot) -> npt.NDArray[np.object_]:
    return np.concatenate([describe(train, label) for label in _labels(train)])


def _labels(train: GraphSnapshot) -> list[str]:
    return train.present(train.schema.roles.items)
