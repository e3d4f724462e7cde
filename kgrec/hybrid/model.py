"""HybridModel: fitted signals and their blend, as one scorer of (user, item)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.single_domain import single_domain
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import UsageError
from kgrec.hybrid.blend import Blend, GroupedBlend
from kgrec.hybrid.segment_models import Scores, SegmentModels, scores_of
from kgrec.signals.base import Signal, Signals

if TYPE_CHECKING:
    from kgrec.hybrid.second_stage import SecondStage

HYBRID = "hybrid"


@dataclass(frozen=True)
class HybridModel:
    """What was learned.

    Attributes:
        train: the graph it was learned from.
        signals: name → fitted signal, in the order of the blends' weights.
        blends: domain → how that domain's scores are blended.
        added_after_fit: ids of items that came after the fit.
        segment_models: signals that serve some users instead; see kgrec/hybrid/segment_models.py.
        second: orders the best items of those with behaviors once more; see kgrec/hybrid/second_stage.py.
    """

    train: GraphSnapshot
    signals: Signals
    blends: Mapping[str, GroupedBlend]
    added_after_fit: frozenset[str] = frozenset()
    segment_models: SegmentModels = field(default_factory=SegmentModels)
    second: SecondStage | None = None

    @cached_property
    def activity(self) -> IntArray:
        """Number of items each user acted on in train, int64 [n_users]."""
        return np.diff(self.train.interactions.indptr).astype(np.int64)

    @cached_property
    def popularity(self) -> FloatArray:
        """Number of users who acted on each item in train, float32 [n_items]."""
        return np.asarray(self.train.interactions.sum(axis=0), dtype=np.float32).ravel()

    @cached_property
    def is_cold(self) -> BoolArray:
        """Which items' scores the blend cannot make, bool [n_items]; none of a domain in which all are such.

        They came after the fit, or have no behavior and are of a domain whose cut asked about no such item.
        """
        new = np.zeros(self.train.n_items, dtype=bool)
        new[self.train.items.nums(self.added_after_fit)] = True
        for domain, items in self.domains.items():
            found = self.blends[domain].cold_items
            if found and not found.in_validation:
                new[items] |= self.popularity[items] == 0
            new[items] &= not new[items].all()
        return new

    @cached_property
    def cold_by_group(self) -> dict[str, BoolArray]:
        """Group of signals → the new items it tells of, bool [n_items]: content, or the graph where is no text.

        Content tells new and old items alike; the graph signals rank what many chose higher, so new items low.
        """
        texts = [signal.item_vectors for signal in self.signals.values() if signal.group == "content"]
        has_text = np.full(self.train.n_items, bool(texts))
        for vectors in texts:
            has_text &= True if vectors is None else vectors.any(axis=1)
        return {"content": self.is_cold & has_text, "graph": self.is_cold & ~has_text}

    @cached_property
    def domains(self) -> dict[str, IntArray]:
        """Domain → numbers of its items, int64 [m]."""
        return {domain: np.flatnonzero(self.train.item_domains == domain) for domain in self.blends}

    @cached_property
    def place(self) -> IntArray:
        """Position of each item among the items of its domain, int64 [n_items]."""
        place = np.zeros(self.train.n_items, dtype=np.int64)
        for items in self.domains.values():
            place[items] = np.arange(len(items))
        return place

    def of_domain(self, domain: str, parts: Sequence[FloatArray], seen: sp.csr_matrix) -> tuple[list[FloatArray], Any]:
        """Return scores [n, n_items] and seen items [n, n_items] of one domain's items only, [n, m] each."""
        if len(self.blends) == 1:
            return list(parts), seen
        items = self.domains[domain]
        return [part[:, items] for part in parts], seen[:, items].tocsr()

    def cold_shares(
        self, domain: str, parts: Sequence[FloatArray], seen: sp.csr_matrix, total: FloatArray
    ) -> list[tuple[BoolArray, FloatArray]]:
        """Return new items of a domain, bool [m], and each signal's shares of their scores; see `ColdItems`.

        For users who have nothing of the domain the shares are -inf: what content says of them nobody has told.
        """
        found, items, result = self.blends[domain].cold_items, self.domains[domain], []
        if not found:
            return []
        for group in found.weights:
            new = self.cold_by_group[group][items]
            if new.any():
                shares = found.shares(group, parts, seen, total, new, ~self.is_cold[items])
                shares[np.diff(seen.indptr) == 0] = -np.inf
                result.append((new, shares))
        return result

    def linear_fusion(self) -> HybridModel | None:
        """Return the baseline σ(weights · scores) with the same signals; None where there were too few to learn it."""
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
        """The same signals, blended for those of whom no behavior is known; see `GroupedBlend.cold_start_blend`."""
        return replace(self, blends={domain: blend.cold_start_blend for domain, blend in self.blends.items()})

    @cached_property
    def described(self) -> BoolArray:
        """Which users some signal knows without any behavior, by their text or their place in the graph [n_users]."""
        known = [signal.user_vectors for signal in self.signals.values()]
        parts = [vectors.any(axis=1) for vectors in known if vectors is not None]
        idle = self.activity == 0
        return np.asarray(np.any([np.zeros_like(idle), *parts], axis=0) & idle)

    def score(self, user_nums: IntArray) -> Scored:
        """Score every item for users, int64 [n]; -1 is an unknown user.

        A user without any behavior in train is scored by description, or where there is none by popularity alone.
        """
        known = np.maximum(user_nums, 0)
        described = self.described[known] & (user_nums >= 0)
        new = (user_nums < 0) | ((self.activity[known] == 0) & ~described)
        seen = self.train.interactions[known]
        if (user_nums < 0).any():
            seen = sp.csr_matrix(seen.multiply((user_nums >= 0)[:, None]))
        parts = self._parts(scores_of(known), seen)
        total = self.blended(parts, seen, new)
        if described.any():
            own = [part[described] for part in parts]
            total[described] = self.by_description.blended(own, seen[described], new[described])
        score_offsets = self.second.score_offsets(total, known, seen, ~new & ~described) if self.second else None
        return Scored(self, parts, seen, new, described, total, score_offsets)

    def score_anonymous(self, users: AnonymousUsers) -> Scored:
        """Score every item for people who are no users of the graph, by what they did; without the second stage.

        Somebody who did nothing is scored by popularity alone.
        """
        seen = users.interactions
        new = np.diff(seen.indptr) == 0
        parts = self._parts(partial(self._anonymous_scores, users), seen)
        return Scored(self, parts, seen, new, np.zeros_like(new), self.blended(parts, seen, new))

    def _anonymous_scores(
        self, users: AnonymousUsers, signal: Signal, some: BoolArray, domain: str | None
    ) -> FloatArray:
        """Return a signal's scores for some of these people; zeros from one that says nothing of them."""
        chosen = users.select(some)
        if domain is not None:
            chosen = chosen.within(self._single_domains[domain], self.domains[domain])
        found = signal.anonymous_scores(chosen)
        return np.zeros(chosen.interactions.shape, np.float32) if found is None else found

    @cached_property
    def _single_domains(self) -> dict[str, GraphSnapshot]:
        """Domain → the graph of it alone, where signals learned from that."""
        return {domain: single_domain(self.train, domain) for domain in self.segment_models.single_domain}

    def _parts(self, scores: Scores, seen: sp.csr_matrix) -> list[FloatArray]:
        """Return the scores of each signal, float32 [n, n_items]."""
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
        """Score every item for what texts ask for, by the signals that read text.

        Args:
            texts: n texts.
            vectors: float32 [n, d], the same texts encoded.

        Raises:
            UsageError: no signal reads text, or a text says nothing to those that do.
        """
        read = [signal.text_scores(texts, vectors) for signal in self.signals.values()]
        none = np.zeros((len(texts), self.train.n_items), np.float32)
        parts = [none if part is None else part for part in read]
        silent = ~np.any([part.any(axis=1) for part in parts], axis=0)
        if silent.any():
            heard = any(part is not None for part in read)
            why = "nothing in it is in any item's text" if heard else "no signal reads text"
            raise UsageError(f"found the text {texts[int(np.argmax(silent))]!r}, but {why}")
        model, nobody, seen = self.by_description, np.zeros(len(texts), bool), sp.csr_matrix(none)
        return Scored(model, parts, seen, nobody, nobody, model.blended(parts, seen, nobody))

    def blended(self, parts: Sequence[FloatArray], seen: sp.csr_matrix, new: BoolArray) -> FloatArray:
        """Return the blended scores of users, float32 [n, n_items], from those of the signals; see `Scored`."""
        total = np.zeros(parts[0].shape, dtype=np.float32)
        for domain, items in self.domains.items():
            own, own_seen = self.of_domain(domain, parts, seen)
            blended = self.blends[domain].combine(own, own_seen, self.popularity[items])
            for cold_items, shares in self.cold_shares(domain, own, own_seen, blended):
                blended[:, cold_items] = np.maximum(blended[:, cold_items], shares.sum(axis=2))
            total[:, items] = blended
        total[new] = self.popularity
        return total


@dataclass(frozen=True)
class Scored:
    """Scores of a batch of users.

    Attributes:
        model: what made them.
        parts: one float32 [n, n_items] a signal, as the signal gave them.
        seen: CSR [n, n_items] of train.
        new: bool [n], users scored by popularity alone.
        described: bool [n], users scored without any behavior, by what else is known of them.
        blended: float32 [n, n_items], the blended scores.
        score_offsets: float32 [n, n_items], what the second stage adds to them; None without one.
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
        """What each user's scores are based on, object [n]: "history", "description" or "popularity".

        Scores of different bases are on different scales.
        """
        return np.where(self.new, "popularity", np.where(self.described, "description", "history")).astype(object)

    @cached_property
    def total(self) -> FloatArray:
        """The scores that count, float32 [n, n_items]."""
        return self.blended if self.score_offsets is None else self.blended + self.score_offsets

    def second_share(self, item_num: IntArray) -> FloatArray:
        """Return what the second stage adds to chosen scores, float32 like `item_num` [n, k]."""
        if self.score_offsets is None:
            return np.zeros(item_num.shape, np.float32)
        return np.where(
            item_num >= 0, np.take_along_axis(self.score_offsets, np.maximum(item_num, 0), axis=1), np.float32(0)
        )

    def shares(self, item_num: IntArray) -> FloatArray:
        """Return what each signal adds to chosen scores, float32 [n, k, n signals].

        With what the second stage adds, the last axis sums to the score.
        The shares of a user scored by popularity alone are zero.

        Args:
            item_num: int64 [n, k], the chosen items; -1 is none.
        """
        shares = np.zeros((*item_num.shape, len(self.parts)), dtype=np.float32)
        self._add_shares(shares, item_num, self.model, ~self.new & ~self.described)
        if self.described.any():
            self._add_shares(shares, item_num, self.model.by_description, self.described)
        return shares

    def _add_shares(self, shares: FloatArray, item_num: IntArray, model: HybridModel, users: BoolArray) -> None:
        """Fill in the shares of those users [n] whose scores a model blended."""
        domains = model.train.item_domains[item_num]
        for domain, items in model.domains.items():
            row, column = np.nonzero((domains == domain) & (item_num >= 0) & users[:, None])
            own, own_seen = model.of_domain(domain, self.parts, self.seen)
            place = model.place[item_num[row, column]]
            shares[row, column] = model.blends[domain].contributions(own, own_seen, model.popularity[items], row, place)
            for cold_items, found in model.cold_shares(domain, own, own_seen, self.blended[:, items]):
                new = cold_items[place]
                at, by_content = (row[new], column[new]), found[row[new], np.cumsum(cold_items)[place[new]] - 1]
                more = by_content.sum(axis=1) > shares[at].sum(axis=1)
                shares[at] = np.where(more[:, None], by_content, shares[at])

    def groups(self, item_num: IntArray) -> dict[str, FloatArray]:
        """Return shares by kind of signal: graph, cf, content → float32 [n, k]; together they are the score.

        The second stage reads text, so what it adds is content.
        """
        kinds = np.array([signal.group for signal in self.model.signals.values()])
        shares = self.shares(item_num)
        groups: dict[str, FloatArray] = {group: shares[:, :, kinds == group].sum(axis=2) for group in SHARE_COLUMNS}
        groups["content"] = groups["content"] + self.second_share(item_num)
        groups["cf"][self.new] = np.take_along_axis(self.blended, np.maximum(item_num, 0), axis=1)[self.new]
        return groups
