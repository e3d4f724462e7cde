"""Recommender: the estimator people import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec._util.progress import track
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.config import Config, TuneSettings
from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.noise import without_noise
from kgrec.data.snapshot import GraphSnapshot, IdMap, as_ids
from kgrec.data.split import Split, by_given, uncut
from kgrec.errors import NotFittedError, UnknownItem, UnknownUser, UsageError
from kgrec.explain.explanation import Explanation, explain
from kgrec.hybrid.model import HybridModel, Scored
from kgrec.ranking.top_k import item_filter, top_k
from kgrec.runs.folder import Run
from kgrec.runs.save_load import load_model, save_model
from kgrec.signals import shipped_with_vectors
from kgrec.signals.base import Signal
from kgrec.store.base import GraphStore
from kgrec.text import (
    FineTunedWeights,
    TextEncoder,
    TransformersEncoder,
    VectorCache,
    encoder_of,
    text_vectors,
    token_counter,
)
from kgrec.text.hf_model import Use
from kgrec.training.fold_in import KnownTexts, check_schema, fold_in
from kgrec.training.pipeline import FitOn, Stopwatch, Trained, refit_model, train, training_sets

Ids = Iterable[object]
BATCH_SCORES = 16_000_000
"""Scores of a batch of users held at once, over all signals (64 MB)."""

RANKED: Final = ["item_id", "score", "rank", *SHARE_COLUMNS]
"""Columns of a list of recommendations."""


class Recommender:
    """Learns from a graph and recommends items to users.

    Settings go to the constructor (see `Config`), data to `fit`.

    Example:
        model = Recommender(seed=1).fit(graph)
        model.recommend(["196"], k=10)
    """

    def __init__(
        self, config: Config | None = None, *, encoder: TextEncoder | None = None, fetch: bool = True, **settings: Any
    ) -> None:
        """Make an unfitted recommender.

        Args:
            config: settings as a whole.
            encoder: turns text into vectors; takes the place of the setting of that name.
            fetch: whether a text model that is not on this machine may be fetched; one that a run names never is.
            settings: settings by name, on top of `config`.

        Raises:
            UsageError: an unknown setting or a bad value.
        """
        base = config.model_dump(exclude_defaults=True) if config else {}
        self.config = Config.checked({**base, **settings})
        self.cache = VectorCache()
        self._given, self._fetch = encoder, fetch
        self._tuned: FineTunedWeights | None = None
        self._trained: Trained | None = None
        self._known: KnownTexts | None = None

    def fit(self, graph: GraphStore | GraphSnapshot | Split, fit_on: FitOn = "train+valid") -> Self:
        """Learn from a graph.

        Behaviors that are marked as test are never learned from. Settings are chosen on those marked as valid, or
        where there are none, on a cut of train made as the test part was.

        Args:
            graph: a graph, its snapshot, or a split of it.
            fit_on: whether the final signals also learn from the behaviors marked as valid.

        Raises:
            UsageError: there is no behavior to learn from, or the text encoder cannot be fine-tuned as it is to be.
            MissingExtra: fine-tuning needs a package that is not installed.
        """
        split, watch = graph if isinstance(graph, Split) else as_split(graph), Stopwatch()
        self._use(None)
        if self.config.tune:
            with watch.stage("tune"):
                self._use(self._fine_tuned(self.config.tune, split, fit_on))
        trained = train(split, self.config, self._encode, fit_on, self._reader())
        self._trained = replace(trained, seconds={**watch.seconds, **trained.seconds}, tuned=self._tuned)
        self._known = None
        return self

    @property
    def trained(self) -> Trained:
        """Everything that fitting made.

        Raises:
            UsageError: not fitted yet.
        """
        if self._trained is None:
            raise NotFittedError
        return self._trained

    @property
    def model(self) -> HybridModel:
        """The fitted hybrid model."""
        return self.trained.model

    def fold_in(self, graph: GraphStore | GraphSnapshot | Split) -> Recommender:
        """Return a recommender of a graph that has grown, by what this one learned; nothing is fitted.

        New users are scored by their behaviors and descriptions, new items by their text, attributes and
        relationships. Behaviors that are marked as test are left out. What was learned of nodes that are gone is
        dropped. Fit again where much has come: what people choose together is learned in a fit alone.

        Args:
            graph: the graph now, its snapshot, or a split of it; with the schema of the fit.

        Raises:
            UsageError: not fitted yet, another schema, or another text encoder.
        """
        split = graph if isinstance(graph, Split) else as_split(graph)
        grown = Recommender(self.config, encoder=self._given, fetch=self._fetch)
        grown.cache = self.cache
        grown._use(self._tuned)
        train = self._cleaned(split.train_and_valid)
        check_schema(self.trained, train)
        grown._trained = fold_in(self.trained, train, text_vectors(train, self.encoder, self.known_texts))
        return grown

    def refit(self, graph: GraphStore | GraphSnapshot | Split, fit_on: FitOn = "train+valid") -> Recommender:
        """Return a recommender that learned from a graph anew with this one's settings and blend; nothing is chosen.

        Args:
            graph: the graph now, its snapshot, or a split of it; with the schema of the fit.
            fit_on: whether the behaviors marked as valid are learned from too.

        Raises:
            UsageError: not fitted yet, or another schema.
        """
        split = graph if isinstance(graph, Split) else as_split(graph)
        again = Recommender(self.config, encoder=self._given, fetch=self._fetch)
        again._use(self._tuned)
        train = self._cleaned(split.train_and_valid if fit_on == "train+valid" else split.train)
        check_schema(self.trained, train)
        again._trained = refit_model(self.trained, train, again._encode(train), self.config.seed)
        return again

    def recommend(
        self,
        users: Ids | None = None,
        k: int = 10,
        *,
        text: str | None = None,
        items: Ids | None = None,
        exclude: Ids | None = None,
        where: Mapping[str, Any] | None = None,
        domain: str | None = None,
        include_seen: bool = False,
        on_unknown: Literal["error", "popular"] | str = "error",
    ) -> pd.DataFrame:
        """Recommend the k best items to each user, or for what a text asks for.

        Args:
            users: user ids.
            text: instead of users, what somebody looks for or is like, in their own words; content signals answer.
            k: length of a list; a list is shorter where fewer items may be recommended.
            items: only these item ids may be recommended.
            exclude: these item ids may not.
            where: item property → value, or list of values, that an item must have.
            domain: only items of this domain.
            include_seen: whether items the user acted on in train may be recommended.
            on_unknown: "error", or "popular" to give unknown users the most popular items.

        Returns:
            Columns user_id, item_id, score, rank (from 1), graph, cf, content; the last three add up to score. For a
            text there is no user_id.

        Raises:
            UnknownUser, UnknownItem: an id without a node.
            UsageError: k below 1, an unknown property or domain, an empty text, users and text or neither, or a text
                that no signal can read.
        """
        allowed = item_filter(self.model.train, items, exclude, where) & self._in_domain(domain)
        if text is not None and users is None:
            return _frame([text], self.model.train.items.ids, _listed(self._read(text), k, True, allowed))[RANKED]
        if users is None or text is not None:
            found = "neither users nor a text" if text is None else "users and a text"
            raise UsageError(f"found {found}; expected one of them")
        ids = as_ids(users, "users")
        nums = self._user_nums(ids, on_unknown)
        batch = max(1, BATCH_SCORES // (self.model.train.n_items * len(self.model.signals)))
        starts = range(0, max(len(nums), 1), batch)
        frames = [
            self._recommend_batch(ids[start : start + batch], nums[start : start + batch], k, allowed, include_seen)
            for start in (track(starts, "recommending") if len(starts) > 1 else starts)
        ]
        return pd.concat(frames, ignore_index=True)

    def similar_items(self, items: Ids, k: int = 10) -> pd.DataFrame:
        """Return the k items most like each item: columns item_id, similar_item_id, score (cosine), rank.

        Raises:
            UnknownItem: an id without a node.
            UsageError: no fitted signal has vectors of items.
        """
        ids = as_ids(items, "items")
        nums = _known(self.model.train.items, ids, UnknownItem)
        return self._similar(ids, nums, k, "item", self.model.train.items)

    def similar_users(self, users: Ids, k: int = 10) -> pd.DataFrame:
        """Return the k users most like each user: columns user_id, similar_user_id, score (cosine), rank.

        Raises:
            UnknownUser: an id without a node.
            UsageError: no fitted signal has vectors of users.
        """
        ids = as_ids(users, "users")
        nums = self.model.train.linked_users[_known(self.model.train.users, ids, UnknownUser)]
        return self._similar(ids, nums, k, "user", self.model.train.users)

    def explain(self, user: object, item: object) -> Explanation:
        """Say why an item is scored as it is for a user: shares by signal, and the strongest paths in the graph.

        Paths name the first of users who are linked as one, who stands for all of them.

        Raises:
            UnknownUser, UnknownItem: an id without a node.
        """
        user_num = int(self.model.train.linked_users[_known(self.model.train.users, [str(user)], UnknownUser)[0]])
        item_num = int(_known(self.model.train.items, [str(item)], UnknownItem)[0])
        return replace(explain(self.model, user_num, item_num), user_id=str(user))

    def with_names(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a frame of listed items with their names in a column `name` behind their ids.

        Args:
            frame: what `recommend` or `similar_items` returned; of the latter the similar items are named.

        Raises:
            UsageError: the frame lists no items.
            UnknownItem: it lists one that the model was not fitted on.
        """
        if not isinstance(frame, pd.DataFrame):
            raise UsageError(
                f"found a {type(frame).__name__}; expected the frame that recommend or similar_items returned"
            )
        listed = next((name for name in ("similar_item_id", "item_id") if name in frame.columns), None)
        if listed is None:
            found = ", ".join(map(str, frame.columns)) or "no columns"
            raise UsageError(f"found a frame with {found}; expected one with item_id or similar_item_id")
        train = self.model.train
        names = train.item_names[_known(train.items, as_ids(frame[listed], listed), UnknownItem)]
        named = frame.copy()
        named.insert(list(frame.columns).index(listed) + 1, "name", names)
        return named

    def save(self, folder: str | Path) -> Run:
        """Write the fitted recommender as a run folder, whole or not at all.

        Raises:
            RunError: the folder is something else, or the disk refuses.
        """
        return save_model(folder, self.trained, self.config)

    def publish(self, graph: GraphStore | str | Path, k: int = 20, runs: str | Path | None = None) -> dict[str, Any]:
        """Write recommendations for every user, and the vectors of texts, into a graph, replacing what is published.

        The model is kept as a run of the graph, which `kgrec rollback` can go back from and to.

        Args:
            graph: an open graph, its path or URI.
            k: length of a list.
            runs: folder of runs; beside the graph if not given.

        Returns:
            "run": its name; "recommendations": how many; "vectors": labels that have some.

        Raises:
            NotFittedError: not fitted yet.
            StoreLocked, StoreError: another job is at work on the graph, it cannot be written, or lacks users or items.
            RunError: the run cannot be written.
        """
        from kgrec.runs.publish_model import publish_model

        listed = self.recommend(self.model.train.users.ids, k=k)
        return publish_model(graph, self.trained, self.config, listed, k, runs)

    @classmethod
    def load(
        cls, folder: str | Path, *, encoder: TextEncoder | None = None, signals: Sequence[type[Signal]] = ()
    ) -> Recommender:
        """Read a fitted recommender from a run folder; it recommends as the one that was saved.

        Args:
            folder: the run.
            encoder: the text encoder of the fit, where it was not the one that the settings name; only new texts
                need it.
            signals: classes of signals of the run that are neither shipped nor registered by an installed package; a
                run never says what code to import.

        Raises:
            RunError: it is not a run, is damaged, or was written by a newer kgrec; or the run orders lists once more,
                and the text model for that is not on this machine.
            UsageError: the text model is not the one of the fit.
        """
        trained, config = load_model(folder, encoder, signals)
        model = cls(config, encoder=encoder, fetch=False)
        model._trained = trained
        model._use(trained.tuned)
        return model

    @property
    def encoder(self) -> TextEncoder:
        """What turns text into vectors: what the constructor was given, else the one the settings name; fine-tuned."""
        return self._encoder

    @cached_property
    def _encoder(self) -> TextEncoder:
        return self._tuned_encoder(self._given or self._named("text"))

    @cached_property
    def _query_encoder(self) -> TextEncoder:
        if self._given:
            return self._encoder
        return self._tuned_encoder(self._named("query"))

    def _named(self, use: Use) -> TextEncoder:
        """Return the encoder that the settings name."""
        if self._fetch or self.config.encoder is None:
            return encoder_of(self.config.encoder, use)
        return encoder_of(self.config.encoder, use, fetch=False)

    def _tuned_encoder(self, encoder: TextEncoder) -> TextEncoder:
        return _tunable(encoder).with_tuning(self._tuned) if self._tuned else encoder

    def _use(self, tuned: FineTunedWeights | None) -> None:
        """Encode with tuned weights from now on, or with the model's own."""
        self._tuned = tuned
        for name in ("_encoder", "_query_encoder"):
            self.__dict__.pop(name, None)

    def _fine_tuned(self, settings: TuneSettings, split: Split, fit_on: FitOn) -> FineTunedWeights:
        """Tune the text model on the train part of the validation cut, so that what is chosen there is fair."""
        from kgrec.text.finetune.contrastive import fine_tune

        tuning_graph = training_sets(split, self.config, fit_on).tuning_graph
        return fine_tune(tuning_graph, _tunable(self.encoder), self.cache, settings, self.config.seed)

    def _cleaned(self, graph: GraphSnapshot) -> GraphSnapshot:
        return without_noise(graph, self.config.noise, self.config.seed)

    def _reader(self) -> TransformersEncoder | None:
        """Return the text model of the second stage; None where settings ask for none."""
        if self.config.rerank is None:
            return None
        from kgrec.text.finetune.cross_encoder import body_of

        return body_of(self.config, self._given, fetch=self._fetch)

    @property
    def known_texts(self) -> KnownTexts:
        """The vectors of texts that the fit had."""
        if self._known is None:
            self._known = KnownTexts(self.trained, self.cache, self._count_tokens)
        return self._known

    def _count_tokens(self, texts: Sequence[str]) -> IntArray:
        return token_counter(self.encoder)(texts)

    def _encode(self, snapshot: GraphSnapshot) -> Mapping[str, FloatArray]:
        return text_vectors(snapshot, self.encoder, self.cache)

    def _user_nums(self, ids: Sequence[str], on_unknown: str) -> IntArray:
        if on_unknown not in ("error", "popular"):
            raise UsageError(f"on_unknown={on_unknown!r}; expected 'error' or 'popular'")
        nums = self.model.train.user_nums(ids)
        if on_unknown == "error":
            _raise_unknown(
                self.model.train.users,
                ids,
                nums,
                UnknownUser,
                "If new, fold_in(graph) or `kgrec refresh` takes it in; on_unknown='popular' lists what is popular.",
            )
        return nums

    def _in_domain(self, domain: str | None) -> BoolArray:
        train = self.model.train
        domains, roles = train.item_domains, train.schema.roles
        if domain is None:
            return np.ones(len(domains), dtype=bool)
        if domain not in domains and domain in roles.items and not roles.domain:
            raise UsageError(f"found no items in domain {domain!r}; load some, then fold_in(graph) or fit again")
        if domain not in domains:
            raise UsageError(f"unknown domain {domain!r}; expected one of {', '.join(sorted(set(domains)))}")
        return np.asarray(domains == domain)

    def _recommend_batch(
        self, ids: Sequence[str], nums: IntArray, k: int, allowed: BoolArray, include_seen: bool
    ) -> pd.DataFrame:
        listed = _listed(self.model.score(nums), k, include_seen, allowed)
        return _frame(ids, self.model.train.items.ids, listed)

    def _read(self, text: str) -> Scored:
        """Score every item for a text."""
        if not text.strip():
            raise UsageError(f"text={text!r}; expected words, such as text='a waterproof sketchbook for travel'")
        known, vectors = self.known_texts, np.zeros((1, 0), np.float32)
        if known.width:
            known.check(self.encoder)
            vectors = known.beside_given(self._query_encoder.encode([text]))
        return self.model.score_texts([text], vectors)

    def _similar(
        self, ids: Sequence[str], nums: IntArray, k: int, role: Literal["user", "item"], known: IdMap
    ) -> pd.DataFrame:
        vectors = self._vectors(role)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        scores = unit[nums] @ unit.T
        scores[np.arange(len(nums)), nums] = -np.inf
        ranking = top_k(scores, k)
        found = _frame(ids, known.ids, {"item": ranking.item_num, "score": ranking.score})
        return found.rename(columns={"item_id": f"similar_{role}_id", "user_id": f"{role}_id"})

    def _vectors(self, role: Literal["user", "item"]) -> FloatArray:
        """Return the vectors [n, d] of the signal that did best on validation, of those that have vectors."""
        chosen = self.trained.choices["signals"]
        found = {name: getattr(signal, f"{role}_vectors") for name, signal in self.model.signals.items()}
        having = [name for name, vectors in found.items() if vectors is not None]
        if not having:
            raise UsageError(
                f"no fitted signal has vectors of {role}s. Fit one of {', '.join(shipped_with_vectors(role))}"
            )
        return np.asarray(found[max(having, key=lambda name: chosen[name]["ndcg"])], dtype=np.float32)


def as_split(graph: GraphStore | GraphSnapshot) -> Split:
    """Cut a graph by the marks its behaviors carry; without any, everything is train. Linked users are one."""
    if not isinstance(graph, GraphStore | GraphSnapshot):
        raise UsageError(f"found a {type(graph).__name__}; expected a graph, such as kgrec.open('shop.lbug') returns")
    snapshot = merge_linked_users(graph.snapshot() if isinstance(graph, GraphStore) else graph)
    marked = np.isin(snapshot.behaviors.split, ["valid", "test"]).any()
    return by_given(snapshot) if marked else uncut(snapshot)


def _tunable(encoder: TextEncoder) -> TransformersEncoder:
    if not isinstance(encoder, TransformersEncoder):
        raise UsageError(f"found text encoder {encoder.name}; expected a transformers model, which can be fine-tuned")
    return encoder


def _listed(scored: Scored, k: int, include_seen: bool, allowed: BoolArray) -> dict[str, npt.NDArray[Any]]:
    """Rank what was scored: item, score and shares by kind of signal, [n, k] each."""
    ranking = top_k(scored.total, k, None if include_seen else scored.seen, allowed)
    return {"item": ranking.item_num, "score": ranking.score, **scored.groups(ranking.item_num)}


def _known(id_map: IdMap, ids: Sequence[str], error: type[UnknownUser] | type[UnknownItem]) -> IntArray:
    nums = id_map.nums(ids)
    _raise_unknown(id_map, ids, nums, error, "If new, load it; fold_in(graph) or `kgrec refresh` takes it in.")
    return nums


def _raise_unknown(
    id_map: IdMap, ids: Sequence[str], nums: IntArray, error: type[UnknownUser] | type[UnknownItem], hint: str
) -> None:
    missing = [id_ for id_, num in zip(ids, nums, strict=True) if num < 0]
    if missing:
        raise error(missing, id_map.ids, hint)


def _frame(
    ids: Sequence[str], item_ids: npt.NDArray[np.object_], columns: Mapping[str, npt.NDArray[Any]]
) -> pd.DataFrame:
    """Turn lists [n, k] into rows; a short list gives fewer rows."""
    item_num = columns["item"]
    listed = item_num >= 0
    rank = np.broadcast_to(np.arange(1, item_num.shape[1] + 1), item_num.shape)
    rest = {name: values[listed] for name, values in columns.items() if name not in ("item", "score")}
    return pd.DataFrame(
        {
            "user_id": np.repeat(np.array(ids, dtype=object), listed.sum(axis=1)),
            "item_id": item_ids[item_num[listed]],
            "score": columns["score"][listed],
            "rank": rank[listed],
            **rest,
        }
    )
