"""HybridModel: fitted signals and their blends, which score (user, item) pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.row_blocks import row_blocks, take_rows
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.single_domain import single_domain
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UsageError
from kgrec.hybrid.blend import Blend, GroupedBlend
from kgrec.hybrid.segment_models import Scores, SegmentModels, scores_of
from kgrec.signals.base import Signal, Signals
from kgrec.signals.sparse import rows_of

if TYPE_CHECKING:
    from kgrec.hybrid.second_stage import SecondStage

HYBRID = "hybrid"


@dataclass(frozen=True)
class HybridModel:
    """A fitted hybrid recommender.

    Attributes:
        train: the training graph.
        signals: name → fitted signal, in the order of the blends' weights.
        blends: domain → blend of the signals' scores.
        added_after_fit: ids of items added after the fit.
        segment_models: signals that replace others for some users; see kgrec/hybrid/segment_models.py.
        second: re-ranker for users with interactions; see kgrec/hybrid/second_stage.py. None without one.
    """

    train: GraphSnapshot
    signals: Signals
    blends: Mapping[str, GroupedBlend]
    added_after_fit: frozenset[str] = frozenset()
    segment_models: SegmentModels = field(default_factory=SegmentModels)
    second: SecondStage | None = None

    @cached_property
    def activity(self) -> IntArray:
        """Number of train items of each user, int64 [n_users]."""
        return np.diff(self.train.interactions.indptr).astype(np.int64)

    @cached_property
    def popularity(self) -> FloatArray:
        """Number of train users of each item, float32 [n_items]."""
        return np.asarray(self.train.interactions.sum(axis=0), dtype=np.float32).ravel()

    @cached_property
    def is_cold(self) -> BoolArray:
        """Mask of the cold items, which the blend cannot score well, bool [n_items].

        An item is cold if it was added after the fit, or if it has no interactions and the validation split held out no
        cold items in its domain. If all items of a domain would be cold, none is: there is nothing to calibrate on.
        """
        new = np.zeros(self.train.n_items, dtype=bool)
        new[self.train.items.nums(self.added_after_fit)] = True
        for domain, items in self.domains.items():
            cold_items = self.blends[domain].cold_items
            if cold_items and not cold_items.in_validation:
                new[items] |= self.popularity[items] == 0
            new[items] &= not new[items].all()
        return new

    @cached_property
    def cold_by_group(self) -> dict[str, BoolArray]:
        """Signal group → mask of the cold items it scores, bool [n_items]: `content` for items with text, else `graph`.

        Content is preferred because graph signals also rank by popularity, so they rank cold items low.
        """
        texts = [signal.item_vectors for signal in self.signals.values() if signal.group == "content"]
        has_text = np.full(self.train.n_items, bool(texts))
        for vectors in texts:
            has_text &= True if vectors is None else vectors.any(axis=1)
        return {"content": self.is_cold & has_text, "graph": self.is_cold & ~has_text}

    @cached_property
    def domains(self) -> dict[str, IntArray]:
        """Domain → its items, int64 [m]."""
        return {domain: np.flatnonzero(self.train.item_domains == domain) for domain in self.blends}

    @cached_property
    def place(self) -> IntArray:
        """Position of each item among the items of its domain, int64 [n_items]."""
        place = np.zeros(self.train.n_items, dtype=np.int64)
        for items in self.domains.values():
            place[items] = np.arange(len(items))
        return place

    def of_domain(self, domain: str, parts: Sequence[FloatArray], seen: sp.csr_matrix) -> tuple[list[FloatArray], Any]:
        """Return the columns of one domain's items, [n, m], in scores [n, n_items] and seen items, CSR [n, n_items]."""
        if len(self.blends) == 1:
            return list(parts), seen
        items = self.domains[domain]
        return [part.take(items, axis=1) for part in parts], seen[:, items].tocsr()  # [:, items] is in column order

    def cold_shares(
        self, domain: str, parts: Sequence[FloatArray], seen: sp.csr_matrix, total: FloatArray
    ) -> list[tuple[BoolArray, FloatArray]]:
        """Return cold items of a domain, bool [m], with each signal's share of their scores, for each signal group.

        The shares of cold-start users of the domain are -inf: for them, content scores have not been calibrated.
        """
        calibration, items, result = self.blends[domain].cold_items, self.domains[domain], []
        if not calibration:
            return []
        for group in calibration.weights:
            new = self.cold_by_group[group][items]
            if new.any():
                shares = calibration.shares(group, parts, seen, total, new, ~self.is_cold[items])
                shares[np.diff(seen.indptr) == 0] = -np.inf
                result.append((new, shares))
        return result

    def linear_fusion(self) -> HybridModel | None:
        """Return the stacking baseline of the same signals; None if validation users were too few to learn it."""
        weights = {domain: blend.default.report.get("fusion_weights", []) for domain, blend in self.blends.items()}
        if not all(weights.values()):
            return None
        blends = {
            domain: GroupedBlend(Blend.from_weights("raw", tuple(self.signals), fusion_weights, "stacking"))
            for domain, fusion_weights in weights.items()
        }
        return replace(self, blends=blends)

    @cached_property
    def by_description(self) -> HybridModel:
        """The same signals, blended for free text; see `GroupedBlend.cold_start_blend`."""
        return replace(self, blends={domain: blend.cold_start_blend for domain, blend in self.blends.items()})

    @cached_property
    def for_new_users(self) -> HybridModel:
        """The same signals, blended for users without interactions; see `GroupedBlend.for_new_users`."""
        return replace(self, blends={domain: blend.for_new_users for domain, blend in self.blends.items()})

    @cached_property
    def described(self) -> BoolArray:
        """Mask of the users without interactions whom signals score by what is known of them, bool [n_users].

        Without a signal that ranks such users clearly better than popularity, none are.
        """
        idle = self.activity == 0
        if all(blend.ranks_new_users_by_popularity for blend in self.blends.values()):
            return np.zeros_like(idle)
        masks = [signal.described_users for signal in self.signals.values()]
        return np.asarray(np.any([np.zeros_like(idle), *(mask for mask in masks if mask is not None)], axis=0) & idle)

    def score(self, user_nums: IntArray) -> Scored:
        """Return the scores of all items for users, int64 [n]; -1 stands for an unknown user.

        A user without train interactions is scored by description, or by popularity if there is none.
        """
        known = np.maximum(user_nums, 0)
        described = self.described[known] & (user_nums >= 0)
        new = (user_nums < 0) | ((self.activity[known] == 0) & ~described)
        seen = rows_of(self.train.interactions, known)
        if (user_nums < 0).any():
            seen = sp.csr_matrix(seen.multiply((user_nums >= 0)[:, None]))
        parts = self._parts(scores_of(known), seen)
        total = self.blended(parts, seen, new)
        if described.any():
            own = [part[described] for part in parts]
            total[described] = self.for_new_users.blended(own, seen[described], new[described])
        score_offsets = self.second.score_offsets(total, known, seen, ~new & ~described) if self.second else None
        return Scored(self, parts, seen, new, described, total, score_offsets)

    def score_anonymous(self, users: AnonymousUsers) -> Scored:
        """Return the scores of all items for anonymous users, from their histories, without the second stage.

        An anonymous user with an empty history is scored by popularity.
        """
        seen = users.interactions
        new = np.diff(seen.indptr) == 0
        parts = self._parts(partial(self._anonymous_scores, users), seen)
        return Scored(self, parts, seen, new, np.zeros_like(new), self.blended(parts, seen, new))

    def _anonymous_scores(
        self, users: AnonymousUsers, signal: Signal, some: BoolArray, domain: str | None
    ) -> FloatArray:
        """Return a signal's scores for some anonymous users; zeros if it cannot score anonymous users."""
        chosen = users.select(some)
        if domain is not None:
            chosen = chosen.within(self._single_domains[domain], self.domains[domain])
        scores = signal.anonymous_scores(chosen)
        return np.zeros(chosen.interactions.shape, np.float32) if scores is None else scores

    @cached_property
    def _single_domains(self) -> dict[str, GraphSnapshot]:
        """Domain → its subgraph, for domains with single-domain signals."""
        return {domain: single_domain(self.train, domain) for domain in self.segment_models.single_domain}

    def _parts(self, scores: Scores, seen: sp.csr_matrix) -> list[FloatArray]:
        """Return the scores of each signal, float32 [n, n_items], with those of segment models for their users."""
        everybody = np.ones(seen.shape[0], dtype=bool)
        parts = [scores(signal, everybody, None) for signal in self.signals.values()]
        if not self.segment_models:
            return parts
        parts, names = [part.copy() for part in parts], list(self.signals)
        for domain, items in self.domains.items():
            own, own_seen = self.of_domain(domain, parts, seen)
            self.segment_models.apply_to(domain, names, own, scores, own_seen, items)
            for part, columns in zip(parts, own, strict=True):
                part[:, items] = columns
        return parts

    def score_texts(self, texts: Sequence[str], vectors: FloatArray) -> Scored:
        """Return the scores of all items for free-text queries, by the signals that read text.

        Args:
            texts: n texts.
            vectors: float32 [n, d], embeddings of the texts.

        Raises:
            UsageError: no signal reads text, or all scores of a text are 0.
        """
        read = [signal.text_scores(texts, vectors) for signal in self.signals.values()]
        none = np.zeros((len(texts), self.train.n_items), np.float32)
        parts = [none if part is None else part for part in read]
        silent = ~np.any([part.any(axis=1) for part in parts], axis=0)
        if silent.any():
            unread = all(part is None for part in read)
            why = "no signal of the model reads text" if unread else "none of its words is in any item's text"
            expected = "a model with one, such as tfidf" if unread else "words of item texts"
            raise UsageError(f"cannot score the text {texts[int(np.argmax(silent))]!r}: {why}. Expected {expected}")
        model, nobody, seen = self.by_description, np.zeros(len(texts), bool), sp.csr_matrix(none)
        return Scored(model, parts, seen, nobody, nobody, model.blended(parts, seen, nobody))

    def blended(self, parts: Sequence[FloatArray], seen: sp.csr_matrix, new: BoolArray) -> FloatArray:
        """Return blended scores, float32 [n, n_items], from the scores of the signals; arguments as in `Scored`."""
        total = np.zeros(parts[0].shape, dtype=np.float32)
        for rows in row_blocks(*seen.shape):
            self._blend_into(total[rows], [part[rows] for part in parts], take_rows(seen, rows))
        total[new] = self.popularity
        return total

    def _blend_into(self, total: FloatArray, parts: Sequence[FloatArray], seen: sp.csr_matrix) -> None:
        """Write the blended scores of a block of users to `total`."""
        for domain, items in self.domains.items():
            own, own_seen = self.of_domain(domain, parts, seen)
            blended = self.blends[domain].combine(own, own_seen, self.popularity[items])
            for cold_items, shares in self.cold_shares(domain, own, own_seen, blended):
                blended[:, cold_items] = np.maximum(blended[:, cold_items], shares.sum(axis=2))
            total[:, items] = blended


@dataclass(frozen=True)
class Scored:
    """Scores of a batch of users.

    Attributes:
        model: the model that computed them.
        parts: one float32 [n, n_items] for each signal, its raw scores.
        seen: CSR [n, n_items] of the users' train items.
        new: bool [n], users scored by popularity.
        described: bool [n], users without interactions, scored by text or graph.
        blended: float32 [n, n_items], the blended scores.
        score_offsets: float32 [n, n_items], added by the second stage; None without one.
    """

    model: HybridModel
    parts: Sequence[FloatArray]
    seen: sp.csr_matrix
    new: BoolArray
    described: BoolArray
    blended: FloatArray
    score_offsets: FloatArray | None = None

    @property
    def basis(self) -> npt.NDArray[np.object_]:
        """The basis of each user's scores, object [n]: "history", "description" or "popularity".

        Scores with different bases are on different scales.
        """
        return np.where(self.new, "popularity", np.where(self.described, "description", "history")).astype(object)

    @cached_property
    def total(self) -> FloatArray:
        """The final scores, float32 [n, n_items]: blended scores plus the offsets of the second stage."""
        return self.blended if self.score_offsets is None else self.blended + self.score_offsets

    def second_share(self, item_num: IntArray) -> FloatArray:
        """Return the second stage's share of the scores of items, int64 [n, k], as float32 [n, k]."""
        if self.score_offsets is None:
            return np.zeros(item_num.shape, np.float32)
        return np.where(
            item_num >= 0, np.take_along_axis(self.score_offsets, np.maximum(item_num, 0), axis=1), np.float32(0)
        )

    def shares(self, item_num: IntArray) -> FloatArray:
        """Return each signal's share of the scores of items, float32 [n, k, signals].

        Together with `second_share`, the last axis sums to the score. For users scored by popularity, shares are 0.

        Args:
            item_num: int64 [n, k], the items; -1 is none.
        """
        shares = np.zeros((*item_num.shape, len(self.parts)), dtype=np.float32)
        for rows in row_blocks(len(shares), self.blended.shape[1]):
            self._block(rows)._add_all_shares(shares[rows], item_num[rows])
        return shares

    def _block(self, rows: slice) -> Scored:
        """Return the scores of some of the users."""
        parts, masks = [part[rows] for part in self.parts], (self.new[rows], self.described[rows])
        return Scored(self.model, parts, take_rows(self.seen, rows), *masks, self.blended[rows])

    def _add_all_shares(self, shares: FloatArray, item_num: IntArray) -> None:
        self._add_shares(shares, item_num, self.model, ~self.new & ~self.described)
        if self.described.any():
            self._add_shares(shares, item_num, self.model.for_new_users, self.described)

    def _add_shares(self, shares: FloatArray, item_num: IntArray, model: HybridModel, users: BoolArray) -> None:
        """Add the shares of a model's scores, for the users in a mask [n]."""
        domains = model.train.item_domains[item_num]
        for domain, items in model.domains.items():
            row, column = np.nonzero((domains == domain) & (item_num >= 0) & users[:, None])
            own, own_seen = model.of_domain(domain, self.parts, self.seen)
            place = model.place[item_num[row, column]]
            shares[row, column] = model.blends[domain].contributions(own, own_seen, model.popularity[items], row, place)
            for cold_items, cold_shares in model.cold_shares(domain, own, own_seen, self.blended.take(items, axis=1)):
                new = cold_items[place]
                at, by_content = (row[new], column[new]), cold_shares[row[new], np.cumsum(cold_items)[place[new]] - 1]
                more = by_content.sum(axis=1) > shares[at].sum(axis=1)
                shares[at] = np.where(more[:, None], by_content, shares[at])

    def groups(self, item_num: IntArray) -> dict[str, FloatArray]:
        """Return the shares by signal group: graph, cf, content → float32 [n, k]; they sum to the score.

        The offsets of the second stage, which reads text, count as content.
        """
        kinds = np.array([signal.group for signal in self.model.signals.values()])
        shares = self.shares(item_num)
        groups: dict[str, FloatArray] = {group: shares[:, :, kinds == group].sum(axis=2) for group in SHARE_COLUMNS}
        groups["content"] = groups["content"] + self.second_share(item_num)
        groups["cf"][self.new] = np.take_along_axis(self.blended, np.maximum(item_num, 0), axis=1)[self.new]
        return groups
