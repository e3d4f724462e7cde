"""Words: items whose texts share rare words with those of a user's items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec.signals.base import Grid, Group, Ladder, Recent, Signal, SignalSettings
from kgrec.signals.history import history, row_means
from kgrec.signals.sparse import from_arrays, to_arrays
from kgrec.snapshot import FloatArray, GraphSnapshot, IntArray, Vectors
from kgrec.text.describe import describe

MAX_SHARE: Final = 0.2
"""A word in more than this share of the items' texts says nothing."""


class WordsSettings(SignalSettings):
    """Settings of words."""

    recent: Recent = None


class Words(Signal):
    """Mean cosine of an item's text and the texts of a user's items, as words weighted by rarity.

    TF-IDF (Salton & Buckley, 1988). A language model's vectors know what words mean; these know which brand, series
    or size they name.
    """

    name: ClassVar[str] = "words"
    group: ClassVar[Group] = "content"
    Settings = WordsSettings
    scoring: ClassVar[frozenset[str]] = frozenset({"recent"})
    grid: ClassVar[Grid] = {"recent": Ladder(4.0, 0.5, 64)}

    _history: sp.csr_matrix
    _texts: sp.csr_matrix

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether items have text."""
        return any(bool(np.any(describe(train, label) != "")) for label in _labels(train))

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Weigh the words of every item."""
        from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]

        texts = np.concatenate([describe(train, label) for label in _labels(train)])
        weigh = TfidfVectorizer(sublinear_tf=True, min_df=2, max_df=MAX_SHARE, dtype=np.float32)
        try:
            found = sp.csr_matrix(weigh.fit_transform(texts))
        except ValueError:  # no word is in two texts: nothing to compare
            found = sp.csr_matrix(np.zeros((len(texts), 1), np.float32))
        return self._take(train, found)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return mean cosines, float32 [n users, n_items]."""
        return np.asarray(((self._history[user_nums] @ self._texts) @ self._texts.T).toarray())

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weighted words as the arrays of a CSR matrix [n_items, words]."""
        return to_arrays(self._texts)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        return self._take(train, from_arrays(state))

    def _take(self, train: GraphSnapshot, texts: sp.csr_matrix) -> Self:
        self._history, self._texts = row_means(history(train, recent=self.settings.recent)), texts
        return self


def _labels(train: GraphSnapshot) -> list[str]:
    return train.present(train.schema.roles.items)
