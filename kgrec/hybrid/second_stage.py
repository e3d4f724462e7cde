"""The second stage: a cross-encoder re-ranks the top items of the blend.

It adds offsets of 0 or more to the scores of the top items, so the other items stay behind them. The weight of the
offsets is chosen on the validation split, which the cross-encoder was not trained on.
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
"""Number of (user, item) pairs whose logits are cached (12 MB), enough for 10,000 lists of 100 items."""


class PairCache:
    """A direct-mapped cache of the cross-encoder's logits, in bounded memory; a new pair may evict an old one.

    Args:
        slots: maximum number of pairs, 12 bytes each.
    """

    def __init__(self, slots: int = MAX_CACHED_PAIRS) -> None:
        self._pair = np.full(slots, -1, dtype=np.int64)
        self._logit = np.empty(slots, dtype=np.float32)

    def get(self, pairs: IntArray) -> FloatArray:
        """Return the logits of pairs, float32 [n]; NaN for a pair that is not cached."""
        slot = pairs % len(self._pair)
        return np.where(self._pair[slot] == pairs, self._logit[slot], np.float32(np.nan))

    def put(self, pairs: IntArray, logits: FloatArray) -> None:
        """Cache the logits [n] of pairs, int64 [n]; the pairs that held their slots are evicted."""
        slot = pairs % len(self._pair)
        self._pair[slot], self._logit[slot] = pairs, logits


@dataclass(frozen=True)
class SecondStage:
    """A trained cross-encoder with its weight in each domain.

    Attributes:
        cross: the cross-encoder.
        train: the graph of the users and items to re-rank.
        settings: number of items to re-rank, length of histories, and how the cross-encoder was trained.
        weights: domain → weight of the offsets; domains without a weight keep the order of the first stage.
        seed: seed of the order of histories without timestamps.
    """

    cross: CrossEncoder
    train: GraphSnapshot
    settings: RerankSettings
    weights: Mapping[str, float]
    seed: int

    def for_graph(self, train: GraphSnapshot) -> SecondStage:
        """Return the same second stage for another graph, such as a later snapshot."""
        return SecondStage(self.cross, train, self.settings, self.weights, self.seed)

    def score_offsets(
        self, scores: FloatArray, user_nums: IntArray, seen: sp.csr_matrix, known: BoolArray
    ) -> FloatArray:
        """Return the offsets to add to blended scores, float32 [n, n_items], 0 for all but the top items.

        Args:
            scores: float32 [n, n_items], blended scores of the first stage.
            user_nums: int64 [n].
            seen: CSR [n, n_items] of the items to exclude.
            known: bool [n], users with interactions; the lists of others are not re-ranked.
        """
        total, rows = np.zeros_like(scores), np.flatnonzero(known)
        for domain, weight in self.weights.items():
            total[rows] += np.float32(weight) * self.domain_offsets(domain, scores[rows], user_nums[rows], seen[rows])
        return total

    def domain_offsets(self, domain: str, scores: FloatArray, user_nums: IntArray, seen: sp.csr_matrix) -> FloatArray:
        """Return the offsets of one domain at weight 1, float32 [n, n_items]; arguments as for `score_offsets`.

        The offset of an item is its relevance above the least relevant item of the list: the difference of the
        logits in standard deviations, times the standard deviation of the first stage's scores in the list. An item
        without text has the mean relevance.
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
        """Return the relevance logits of users [n] and listed items, float32 [n, k]; NaN for padding and without text.

        Cached pairs are not computed again.
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
        """The fine-tuned weights of the text model and its head."""
        return self.cross.learned

    def to_dict(self) -> dict[str, Any]:
        """Return the domain weights and the origin of the fine-tuned weights as JSON-ready values."""
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
        """Return the second stage that `to_dict` described, with settings and text model from `config`.

        Raises:
            RunError: the text model is not on this machine.
            UsageError: the text model is not the one that was fine-tuned.
            ValueError: the weights are not those of a fine-tuned model.
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
        """The histories of the graph's users, and the texts of its nodes."""
        return Histories(self.train, self.seed, token_counter(self.cross.encoder))


def _standardized(values: FloatArray, listed: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return values [n, k] standardized by row over the listed ones, and the row's standard deviation, float32 [n, 1].

    Values that are not listed or not finite become 0.
    """
    given = listed & np.isfinite(values)
    count = np.maximum(given.sum(axis=1, keepdims=True), 1)
    off = np.where(given, values, 0)
    off = np.where(given, off - off.sum(axis=1, keepdims=True) / count, 0)
    deviation = np.sqrt((off**2).sum(axis=1, keepdims=True) / count)
    return (off / np.maximum(deviation, 1e-9)).astype(np.float32), deviation.astype(np.float32)
