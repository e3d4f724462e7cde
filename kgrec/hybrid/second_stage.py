"""The second stage: a cross-encoder orders the best items of the blend once more, as far as that helps.

What it adds to a score is at least 0 and for the best items alone, so the others stay behind them. How much counts is
chosen on the validation cut, which the cross-encoder has not learned from.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.config import Config, RerankSettings
from kgrec.data.snapshot import GraphSnapshot
from kgrec.ranking.top_k import Ranking, top_k
from kgrec.text.base import TextEncoder, token_counter
from kgrec.text.finetune.cross_encoder import CrossEncoder, body_of, render_users
from kgrec.text.finetune.dataset import Histories
from kgrec.text.tuned_weights import FineTunedWeights

logger = logging.getLogger(__name__)


MAX_CACHED_PAIRS: Final = 1 << 20
"""Pairs of a user and an item whose logits are kept (12 MB): those of ten thousand lists of a hundred items."""


class PairCache:
    """The logits of the pairs that were read last, in bounded memory; a direct-mapped cache, so an old pair may go.

    Args:
        slots: how many pairs it holds at most, 12 bytes each.
    """

    def __init__(self, slots: int = MAX_CACHED_PAIRS) -> None:
        self._pair = np.full(slots, -1, dtype=np.int64)
        self._logit = np.empty(slots, dtype=np.float32)

    def get(self, pairs: IntArray) -> FloatArray:
        """Return the logits of pairs, float32 [n]; NaN for one that is not there."""
        slot = pairs % len(self._pair)
        return np.where(self._pair[slot] == pairs, self._logit[slot], np.float32(np.nan))

    def put(self, pairs: IntArray, logits: FloatArray) -> None:
        """Keep the logits [n] of pairs, int64 [n], in the place of others."""
        slot = pairs % len(self._pair)
        self._pair[slot], self._logit[slot] = pairs, logits


@dataclass(frozen=True)
class SecondStage:
    """A cross-encoder, and how much it counts.

    Attributes:
        cross: what reads the texts.
        train: the graph whose users and items are ordered.
        settings: how many items, and how much of a history is read.
        weights: domain → how much it counts there; domains without a weight keep the order of the first stage.
        seed: of the order of histories without times.
    """

    cross: CrossEncoder
    train: GraphSnapshot
    settings: RerankSettings
    weights: Mapping[str, float]
    seed: int

    def for_graph(self, train: GraphSnapshot) -> SecondStage:
        """Return the same for another graph, such as one that has grown."""
        return SecondStage(self.cross, train, self.settings, self.weights, self.seed)

    def score_offsets(
        self, scores: FloatArray, user_nums: IntArray, seen: sp.csr_matrix, known: BoolArray
    ) -> FloatArray:
        """Return what is added to blended scores, float32 [n, n_items], 0 for all but the best items.

        Args:
            scores: float32 [n, n_items], by the first stage.
            user_nums: int64 [n].
            seen: CSR [n, n_items] of what is not ordered.
            known: bool [n], users with behaviors; the others keep their order.
        """
        total, rows = np.zeros_like(scores), np.flatnonzero(known)
        for domain, weight in self.weights.items():
            total[rows] += np.float32(weight) * self.domain_offsets(domain, scores[rows], user_nums[rows], seen[rows])
        return total

    def domain_offsets(self, domain: str, scores: FloatArray, user_nums: IntArray, seen: sp.csr_matrix) -> FloatArray:
        """Return what is added for one domain at a weight of 1, float32 [n, n_items]; arguments as for `score_offsets`.

        It is how surely a user and an item fit, from the least sure one of the list on, in deviations of the first
        stage's scores of the list. An item without text is as sure as the mean.
        """
        ranking = top_k(scores, self.settings.top, seen, np.asarray(self.train.item_domains == domain))
        listed, domain_offsets = ranking.item_num >= 0, np.zeros_like(scores)
        relevance = _standardized(self._logits(user_nums, ranking), listed)[0]
        above = relevance - np.where(listed, relevance, np.inf).min(axis=1, keepdims=True, initial=0)
        above = above * _standardized(ranking.score, listed)[1]
        row, column = np.nonzero(listed)
        domain_offsets[row, ranking.item_num[row, column]] = above[row, column]
        return domain_offsets

    def _logits(self, user_nums: IntArray, ranking: Ranking) -> FloatArray:
        """Return how surely users [n] and listed items fit, float32 [n, k]; NaN for none and for an item without text.

        A pair that was read lately is not read again.
        """
        logits = np.full(ranking.item_num.shape, np.nan, np.float32)
        texts, n = self.histories.texts, self.train.n_items
        row, column = np.nonzero((ranking.item_num >= 0) & (texts[ranking.item_num] != ""))
        item = ranking.item_num[row, column]
        pair = user_nums[row] * n + item
        known = self._read.get(pair)
        new = np.flatnonzero(np.isnan(known))
        users = render_users(self.histories, user_nums, self.histories.latest(user_nums, self.settings.history - 1))
        known[new] = self.cross.scores(users[row[new]], texts[item[new]])
        self._read.put(pair[new], known[new])
        logits[row, column] = known
        return logits

    @property
    def tuned(self) -> FineTunedWeights:
        """What training made of the text model and of its head."""
        return self.cross.learned

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the weights of the model and the settings."""
        return {"weights": dict(self.weights), "tuned": self.tuned.to_dict()}

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Any],
        weights: Mapping[str, npt.NDArray[Any]],
        train: GraphSnapshot,
        config: Config,
        encoder: TextEncoder | None,
    ) -> SecondStage:
        """Take back what `to_dict` returned, for a graph; settings and text model are as `config` says.

        Raises:
            RunError: the text model is not on this machine.
            UsageError: the text model is another.
            ValueError: the weights are not those of a tuned model.
        """
        cross = CrossEncoder(
            body_of(config, encoder, fetch=False), FineTunedWeights.from_dict(values["tuned"], weights)
        )
        return cls(cross, train, config.rerank or RerankSettings(), values["weights"], config.seed)

    @cached_property
    def _read(self) -> PairCache:
        return PairCache()

    @cached_property
    def histories(self) -> Histories:
        """What the users of the graph took, and the texts."""
        return Histories(self.train, self.seed, token_counter(self.cross.encoder))


def _standardized(values: FloatArray, listed: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return the listed values of every row [n, k] in its deviations from its mean, and the deviation, float32 [n, 1].

    What is not listed or not finite is 0.
    """
    given = listed & np.isfinite(values)
    count = np.maximum(given.sum(axis=1, keepdims=True), 1)
    off = np.where(given, values, 0)
    off = np.where(given, off - off.sum(axis=1, keepdims=True) / count, 0)
    deviation = np.sqrt((off**2).sum(axis=1, keepdims=True) / count)
    return (off / np.maximum(deviation, 1e-9)).astype(np.float32), deviation.astype(np.float32)
