"""Recommender: the estimator people import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from kgrec._util.types import BoolArray
from kgrec.data.anonymous import read_history
from kgrec.data.id_map import as_ids
from kgrec.data.split import Split
from kgrec.errors import UnknownItem, UnknownUser, UsageError
from kgrec.explain.explanation import Explanation, explain
from kgrec.hybrid.audience import Anonymous, Audience, KnownUsers, best_of, lists_of, score_pairs, seen_types
from kgrec.hybrid.model import Scored
from kgrec.hybrid.similarity import most_similar
from kgrec.metrics.frames import DEFAULT_METRICS
from kgrec.ranking.filters import item_filter
from kgrec.ranking.frames import NEW_USER, in_type, known_nums, lists_frame, with_names
from kgrec.runs.folder import Run
from kgrec.runs.save_load import load_model, save_model
from kgrec.signals.base import Signal
from kgrec.store.base import GraphStore
from kgrec.store.inputs import as_split
from kgrec.text import TextEncoder, text_vectors
from kgrec.training.estimator import Estimator
from kgrec.training.fold_in import check_schema, fold_in
from kgrec.training.pipeline import FitOn, Stopwatch, refit_model, train

Ids = Iterable[object]


class Recommender(Estimator):
    """Learns from a graph and recommends items to users.

    Settings go to the constructor (see `Config`), data to `fit`.

    Example:
        model = Recommender(seed=1).fit(graph)
        model.recommend(["196"], k=10)
    """

    def fit(self, data: Any, fit_on: FitOn = "train+valid") -> Self:
        """Learn from interactions.

        Behaviors that are marked as test are never learned from. Settings are chosen on those marked as valid, or
        where there are none, on a cut of train made as the test part was.

        Args:
            data: a frame of interactions (pandas, polars or Arrow; see `kgrec.from_interactions`), `GraphTables` such
                as `kgrec.load` returns, an open graph, its path or URI, a snapshot, or a split.
            fit_on: whether the final signals also learn from the behaviors marked as valid.

        Raises:
            UsageError: it is something else, there is no behavior to learn from, or the text encoder cannot be
                fine-tuned as it is to be.
            MissingExtra: fine-tuning needs a package that is not installed.
        """
        split, watch = as_split(data), Stopwatch()
        self._use(None)
        if self.config.tune:
            with watch.stage("tune"):
                self._use(self._fine_tuned(self.config.tune, split, fit_on))
        trained = train(split, self.config, self._encode, fit_on, self._reader())
        self._state = replace(trained, seconds={**watch.seconds, **trained.seconds}, tuned=self._encoders.tuned)
        self._known = None
        return self

    def fold_in(self, data: Any) -> Recommender:
        """Return a recommender of a graph that has grown, by what this one learned; nothing is fitted.

        New users are scored by their behaviors and descriptions, new items by their text, attributes and
        relationships. Behaviors that are marked as test are left out. What was learned of nodes that are gone is
        dropped. Fit again where much has come: what people choose together is learned in a fit alone.

        Args:
            data: the graph now, in any form that `fit` takes; with the schema of the fit.

        Raises:
            UsageError: not fitted yet, another schema, or another text encoder.
        """
        split = as_split(data)
        grown = self._like()
        grown._cache = self._cache
        train = self._cleaned(split.train_and_valid)
        check_schema(self._trained, train)
        grown._state = fold_in(self._trained, train, text_vectors(train, self._encoder, self._known_texts))
        return grown

    def refit(self, data: Any, fit_on: FitOn = "train+valid") -> Recommender:
        """Return a recommender that learned from a graph anew with this one's settings and blend; nothing is chosen.

        Args:
            data: the graph now, in any form that `fit` takes; with the schema of the fit.
            fit_on: whether the behaviors marked as valid are learned from too.

        Raises:
            UsageError: not fitted yet, or another schema.
        """
        split = as_split(data)
        again = self._like()
        train = self._cleaned(split.train_and_valid if fit_on == "train+valid" else split.train)
        check_schema(self._trained, train)
        again._state = refit_model(self._trained, train, again._encode(train), self.config.seed)
        return again

    def recommend(
        self,
        users: Ids | None = None,
        k: int = 10,
        *,
        history: Any = None,
        items: Ids | None = None,
        exclude: Ids | None = None,
        where: Mapping[str, Any] | None = None,
        domain: str | None = None,
        include_seen: bool = False,
        exclude_behaviors: Sequence[str] | None = None,
        on_unknown: Literal["raise", "popular"] = "raise",
        names: bool = False,
    ) -> pd.DataFrame:
        """Recommend the k best items to each user, or to somebody who is no user of the graph by what they did.

        Args:
            users: user ids.
            k: length of a list; a list is shorter where fewer items may be recommended.
            history: instead of users, what somebody did: ids of items, the latest last; or a frame with item_id and
                optionally weight, timestamp, behavior and, of several people, user_id. Nothing is written or learned,
                and texts of a second stage are not read.
            items: only these item ids may be recommended.
            exclude: these item ids may not.
            where: item property → value, list of values, or range such as `{">=": 10, "<": 20}` or
                `{"between": [10, 20]}`, that an item must have.
            domain: only items of this domain.
            include_seen: whether items the user acted on in train may be recommended.
            exclude_behaviors: only items that the user acted on in these ways are left out as seen.
            on_unknown: "raise", or "popular" to give unknown users the most popular items.
            names: whether the names of items are a column, `name`.

        Returns:
            Columns user_id, item_id, score, rank (from 1), graph, cf, content (shares that add up to score), basis:
            "history", "description" (of a user who did nothing) or "popularity"; scores of another basis are on another
            scale. Ids are of the type that they came in; a history without user_id has None.

        Raises:
            UnknownUser, UnknownItem: an id without a node.
            UsageError: k below 1, an unknown property, condition, domain or behavior, or users and a history, or
                neither.
        """
        train = self._model.train
        allowed = self._candidates(items, exclude, where, domain)
        seen = seen_types(train, include_seen, exclude_behaviors)
        people, ids = self._people(users, history, on_unknown)
        lists = [
            lists_frame(ids[rows], "user_id", "item_id", train.items.original, listed)
            for rows, listed in lists_of(people, k, seen, allowed)
        ]
        frame = pd.concat(lists, ignore_index=True)
        return with_names(frame, train, {"item_id": "name"}) if names else frame

    def recommend_for_text(
        self,
        text: str,
        k: int = 10,
        *,
        items: Ids | None = None,
        exclude: Ids | None = None,
        where: Mapping[str, Any] | None = None,
        domain: str | None = None,
        names: bool = False,
    ) -> pd.DataFrame:
        """Recommend the k best items for a text: what somebody looks for or is like; signals that read text answer.

        Args:
            text: in somebody's own words.
            k, items, exclude, where, domain, names: as for `recommend`.

        Returns:
            Columns item_id, score, rank (from 1), graph, cf, content; the last three add up to score.

        Raises:
            UnknownItem, UsageError: as `recommend`; an empty text, or one that no signal can read.
        """
        allowed, train = self._candidates(items, exclude, where, domain), self._model.train
        listed = best_of(self._read(text), k, None, allowed)
        frame = lists_frame(np.array([text]), "text", "item_id", train.items.original, listed)
        frame = frame.drop(columns=["text", "basis"])
        return with_names(frame, train, {"item_id": "name"}) if names else frame

    def score(self, users: Ids, items: Ids) -> pd.DataFrame:
        """Score pairs of a user and an item, as `recommend` scores them.

        Args:
            users: user ids [n].
            items: item ids [n], one for each.

        Returns:
            Columns user_id, item_id, score, basis, in the order of the pairs; see `recommend`.

        Raises:
            UnknownUser, UnknownItem: an id without a node.
            UsageError: there are more of one than of the other.
        """
        user_ids, item_ids = as_ids(users, "users"), as_ids(items, "items")
        if len(user_ids) != len(item_ids):
            raise UsageError(f"found {len(user_ids)} users and {len(item_ids)} items; expected pairs, as many of each")
        train = self._model.train
        item_nums = known_nums(train.items, item_ids, UnknownItem)
        place, unique = pd.factorize(np.array(user_ids, dtype=object))
        people, _ = self._known_users(unique.tolist(), "raise")
        scores, basis = score_pairs(people, place, item_nums)
        ids = {"user_id": in_type(user_ids, train.users), "item_id": in_type(item_ids, train.items)}
        return pd.DataFrame({**ids, "score": scores, "basis": basis})

    def similar_items(
        self,
        item_ids: Ids,
        k: int = 10,
        *,
        items: Ids | None = None,
        exclude: Ids | None = None,
        where: Mapping[str, Any] | None = None,
        domain: str | None = None,
        names: bool = False,
    ) -> pd.DataFrame:
        """Return the k items most like each item, by the signal that did best of those that say so.

        Args:
            item_ids: the items.
            k: length of a list.
            items, exclude, where, domain: which items may be listed, as for `recommend`.
            names: whether the names of items are columns, `name` and `similar_name`.

        Returns:
            Columns item_id, similar_item_id, score, rank. Score is the cosine of vectors, or where no signal has any,
            how a signal relates the two.

        Raises:
            UnknownItem: an id without a node.
            UsageError: no fitted signal says how like items are; or as `recommend`.
        """
        ids, train = as_ids(item_ids, "item_ids"), self._model.train
        nums = known_nums(train.items, ids, UnknownItem)
        allowed = self._candidates(items, exclude, where, domain)
        frame = most_similar(self._model, "item", ids, nums, k, self._reached, allowed)
        return with_names(frame, train, {"item_id": "name", "similar_item_id": "similar_name"}) if names else frame

    def similar_users(self, users: Ids, k: int = 10) -> pd.DataFrame:
        """Return the k users most like each user: columns user_id, similar_user_id, score, rank; see `similar_items`.

        Raises:
            UnknownUser: an id without a node.
            UsageError: no fitted signal says how like users are.
        """
        ids, train = as_ids(users, "users"), self._model.train
        nums = train.linked_users[known_nums(train.users, ids, UnknownUser)]
        return most_similar(self._model, "user", ids, nums, k, self._reached)

    def explain(self, user: object, item: object) -> Explanation:
        """Say why an item is scored as it is for a user: shares by signal, and the strongest paths in the graph.

        Paths name the first of users who are linked as one, who stands for all of them.

        Raises:
            UnknownUser, UnknownItem: an id without a node.
            UsageError: a list of ids stands for one.
        """
        train = self._model.train
        user_num = known_nums(train.users, as_ids([user], "user"), UnknownUser)
        item_num = known_nums(train.items, as_ids([item], "item"), UnknownItem)
        found = explain(self._model, int(train.linked_users[user_num][0]), int(item_num[0]))
        return replace(found, user_id=train.users.original[user_num].tolist()[0])

    def save(self, folder: str | Path) -> Run:
        """Write the fitted recommender as a run folder, whole or not at all.

        Raises:
            RunError: the folder is something else, or the disk refuses.
        """
        return save_model(folder, self._trained, self.config)

    def evaluate(
        self,
        test: Any,
        metrics: str | Iterable[str] = DEFAULT_METRICS,
        *,
        on_unknown: Literal["raise", "popular"] = "raise",
    ) -> dict[str, float]:
        """Measure the recommendations for the users of held-out interactions, within each domain.

        Args:
            test: a split, of which the test part is used; or a frame with user_id and item_id.
            metrics: names with list lengths, as for `kgrec.evaluate`.
            on_unknown: of a frame, as for `recommend`.

        Returns:
            Metric → mean over users, of several domains over users and domains; of a split the figures of
            `kgrec benchmark`.

        Raises:
            NotFittedError: not fitted yet.
            UsageError: an unknown metric, or a split of another graph, or one that holds nothing out.
            UnknownUser: the frame has a user that the model does not know.
            DataError: with every problem of the frame.
        """
        from kgrec.evaluation.fitted import on_frame, on_split

        if isinstance(test, Split):
            return on_split(self._model, test, metrics)
        return on_frame(self.recommend, self._model.train, test, metrics, on_unknown)

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

        listed = self.recommend(self._model.train.users.ids, k=k)
        return publish_model(graph, self._trained, self.config, listed, k, runs)

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
        model._state = trained
        model._use(trained.tuned)
        return model

    def _known_users(self, ids: Sequence[str], on_unknown: str) -> tuple[Audience, npt.NDArray[Any]]:
        """Return users by their ids, and the ids as they are shown."""
        if on_unknown not in ("raise", "popular"):
            raise UsageError(f"on_unknown={on_unknown!r}; expected 'raise' or 'popular'")
        if on_unknown == "raise":
            known_nums(self._model.train.users, ids, UnknownUser, NEW_USER)
        return KnownUsers(self._model, self._model.train.user_nums(ids)), in_type(ids, self._model.train.users)

    def _people(self, users: Ids | None, history: Any, on_unknown: str) -> tuple[Audience, npt.NDArray[Any]]:
        """Return whom lists are for, and what these are called."""
        if (users is None) == (history is None):
            found = "neither users nor a history" if users is None else "users and a history"
            raise UsageError(f"found {found}; expected one of them; recommend_for_text(text) answers a text")
        if users is not None:
            return self._known_users(as_ids(users, "users"), on_unknown)
        anonymous, ids = read_history(history, self._model.train)
        return Anonymous(self._model, anonymous), ids

    @property
    def _reached(self) -> dict[str, float]:
        """Signal → NDCG on validation."""
        return {name: choice["ndcg"] for name, choice in self._trained.choices["signals"].items()}

    def _candidates(self, *conditions: Any) -> BoolArray:
        """Return which items may be listed, bool [n_items]; conditions are those of `item_filter`."""
        return item_filter(self._model.train, *conditions)

    def _read(self, text: str) -> Scored:
        """Score every item for a text."""
        if not text.strip():
            raise UsageError(f"text={text!r}; expected words, such as text='a waterproof sketchbook for travel'")
        known, vectors = self._known_texts, np.zeros((1, 0), np.float32)
        if known.width:
            known.check(self._encoder)
            vectors = known.beside_given(self._encoders.query.encode([text]))
        return self._model.score_texts([text], vectors)
