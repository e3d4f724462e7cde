"""Recommender: the public estimator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
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
from kgrec.ranking.frames import NEW_USER, IdColumn, in_type, known_nums, lists_frame, with_names
from kgrec.runs.folder import Run
from kgrec.runs.save_load import load_model, save_model
from kgrec.signals.base import Signal
from kgrec.store.base import GraphStore
from kgrec.store.inputs import as_split
from kgrec.text import TextEncoder, text_vectors
from kgrec.text.encoder_pair import model_of
from kgrec.training.estimator import Estimator
from kgrec.training.fold_in import check_schema, fold_in
from kgrec.training.pipeline import FitOn, Stopwatch, refit_model, train

Ids = Iterable[object]


class Recommender(Estimator):
    """A hybrid recommender that learns from a knowledge graph.

    The constructor takes settings (see `Config`), `fit` takes data.

    Examples:
        >>> graph = kgrec.open("shop.lbug")
        >>> model = kgrec.Recommender(seed=1).fit(graph)
        >>> model.recommend(["196"], k=10)
    """

    def fit(self, data: Any, fit_on: FitOn = "train+valid") -> Self:
        """Fit on interactions and return the recommender.

        Interactions marked as test are never used. Settings are chosen on interactions marked as validation; without
        any, on a validation split of train made by the protocol of the test split.

        Args:
            data: a frame of interactions (pandas, polars or Arrow; see `kgrec.from_interactions`), `GraphTables` such
                as `kgrec.load` returns, an open graph, its path or URI, a snapshot, or a split.
            fit_on: whether the final signals are also fitted on the interactions marked as validation.

        Raises:
            UsageError: `data` is something else or has no interactions to learn from, or the text encoder does not
                support the method of fine-tuning.
            MissingExtra: fine-tuning needs a package that is not installed.
        """
        split, watch = as_split(data), Stopwatch()
        self._use(None)
        read = self._choose_model(split.train)
        if self.config.tune:
            with watch.stage("tune"):
                self._use(self._fine_tuned(self.config.tune, split, fit_on))
        chosen = {**read, **self._choose_encoder(split.train)}
        trained = train(split, self.config, self._encode, fit_on, self._reader())
        skipped = {**chosen.get("skipped", {}), **trained.choices.get("skipped", {})}
        choices = {**trained.choices, **chosen, **({"skipped": skipped} if skipped else {})}
        seconds = {**watch.seconds, **trained.seconds}
        self._state = replace(trained, seconds=seconds, tuned=self._encoders.tuned, choices=choices)
        self._known = None
        return self

    def fold_in(self, data: Any) -> Recommender:
        """Return a recommender for a later state of the graph, with the learned parameters of this one.

        New users are scored by their interactions and descriptions, new items by their text, attributes and
        relationships. Interactions marked as test are ignored, and removed users and items are dropped. Fit again
        after many new interactions: co-occurrence of items is learned only by a fit.

        Args:
            data: the later graph, in any form that `fit` takes, with the schema of the fit.

        Raises:
            UsageError: the recommender is not fitted, or the schema or text encoder differs from that of the fit.
        """
        split = as_split(data)
        grown = self._like()
        grown._cache = self._cache
        train = self._cleaned(split.train_and_valid)
        check_schema(self._trained, train)
        grown._state = fold_in(self._trained, train, text_vectors(train, self._encoder, self._known_texts))
        return grown

    def refit(self, data: Any, fit_on: FitOn = "train+valid") -> Recommender:
        """Return a recommender fitted again on a later graph, with the settings and blends of this one.

        Args:
            data: the later graph, in any form that `fit` takes, with the schema of the fit.
            fit_on: whether to fit on the interactions marked as validation too.

        Raises:
            UsageError: the recommender is not fitted, or the schema differs from that of the fit.
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
        """Return the k best items for each user of the graph, or for the history of an anonymous user.

        Args:
            users: user ids.
            k: length of a list; shorter if fewer items may be recommended.
            history: history of an anonymous user, instead of `users`: item ids, latest last; or a frame with item_id,
                optionally weight, timestamp and behavior, and user_id for several users. It is not stored or learned
                from, and the lists are not re-ranked.
            items: only these item ids may be recommended.
            exclude: these item ids may not be recommended.
            where: item property → value, list of values, or range such as `{">=": 10, "<": 20}` or
                `{"between": [10, 20]}`; only items with such properties may be recommended.
            domain: only items of this domain may be recommended.
            include_seen: whether items of the user's train interactions may be recommended.
            exclude_behaviors: exclude only the items of the user's interactions of these types as seen.
            on_unknown: for unknown users, "raise" an error or recommend "popular" items.
            names: whether to add the names of items as a column, `name`.

        Returns:
            Columns user_id, item_id, score, rank (from 1), graph, cf, content (shares that sum to the score) and basis:
            "history", "description" (for users without interactions) or "popularity". Scores with different bases are
            on different scales. Ids have the type of the source data; user_id is None for a history without user_id.

        Raises:
            UnknownUser, UnknownItem: an id has no node in the graph.
            UsageError: k is below 1, a property, condition, domain or behavior is unknown, or not exactly one of
                `users` and `history` is given.
        """
        train = self._model.train
        allowed = self._candidates(items, exclude, where, domain)
        seen = seen_types(train, include_seen, exclude_behaviors)
        audience, ids = self._audience(users, history, on_unknown)
        lists = [
            lists_frame(ids[rows], "user_id", "item_id", train.items.column, listed)
            for rows, listed in lists_of(audience, k, seen, allowed)
        ]
        frame = pd.concat(lists, ignore_index=True) if len(lists) > 1 else lists[0]
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
        """Return the k best items for a free-text query or description of a user, by the signals that read text.

        Args:
            text: the query or description.
            k, items, exclude, where, domain, names: as for `recommend`.

        Returns:
            Columns item_id, score, rank (from 1), graph, cf, content; the last three sum to the score.

        Raises:
            UnknownItem, UsageError: as `recommend`; or the text is empty, or no signal can score it.
        """
        allowed, train = self._candidates(items, exclude, where, domain), self._model.train
        listed = best_of(self._read(text), k, None, allowed)
        frame = lists_frame(np.array([text]), "text", "item_id", train.items.column, listed)
        frame = frame.drop(columns=["text", "basis"])
        return with_names(frame, train, {"item_id": "name"}) if names else frame

    def score(self, users: Ids, items: Ids) -> pd.DataFrame:
        """Return the scores of (user, item) pairs, as in `recommend`.

        Args:
            users: user ids [n].
            items: item ids [n], one for each user.

        Returns:
            Columns user_id, item_id, score, basis, in the order of the pairs; see `recommend`.

        Raises:
            UnknownUser, UnknownItem: an id has no node in the graph.
            UsageError: the numbers of users and items differ.
        """
        user_ids, item_ids = as_ids(users, "users"), as_ids(items, "items")
        if len(user_ids) != len(item_ids):
            raise UsageError(
                f"{len(user_ids)} users and {len(item_ids)} items do not form pairs. Expected as many of each"
            )
        train = self._model.train
        item_nums = known_nums(train.items, item_ids, UnknownItem)
        place, unique = pd.factorize(np.array(user_ids, dtype=object))
        audience, owners = self._known_users(unique.tolist(), "raise")
        scores, basis = score_pairs(audience, place, item_nums)
        ids = {"user_id": owners.take(place), "item_id": in_type(item_ids, item_nums, train.items)}
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
        """Return the k items most similar to each item, by the best signal on validation that measures similarity.

        Args:
            item_ids: ids of the items to compare with.
            k: length of a list.
            items, exclude, where, domain: the items that may be listed, as for `recommend`.
            names: whether to add the names of items as columns, `name` and `similar_name`.

        Returns:
            Columns item_id, similar_item_id, score, rank. The score is the cosine of the signal's vectors; if no signal
            has vectors, the signal's own measure.

        Raises:
            UnknownItem: an id has no node in the graph.
            UsageError: no fitted signal measures the similarity of items; or as `recommend`.
        """
        ids, train = as_ids(item_ids, "item_ids"), self._model.train
        nums = known_nums(train.items, ids, UnknownItem)
        allowed = self._candidates(items, exclude, where, domain)
        frame = most_similar(self._model, "item", ids, nums, k, self._validation_metrics, allowed)
        return with_names(frame, train, {"item_id": "name", "similar_item_id": "similar_name"}) if names else frame

    def similar_users(self, users: Ids, k: int = 10) -> pd.DataFrame:
        """Return the k most similar users of each user: user_id, similar_user_id, score, rank; see `similar_items`.

        Raises:
            UnknownUser: an id has no node in the graph.
            UsageError: no fitted signal measures the similarity of users.
        """
        ids, train = as_ids(users, "users"), self._model.train
        nums = train.linked_users[known_nums(train.users, ids, UnknownUser)]
        return most_similar(self._model, "user", ids, nums, k, self._validation_metrics)

    def explain(self, user: object, item: object) -> Explanation:
        """Return an explanation of a score: each signal's share, and the strongest paths in the graph.

        For linked users, paths name the first of them, who represents all.

        Raises:
            UnknownUser, UnknownItem: an id has no node in the graph.
            UsageError: a list of ids is given instead of a single id.
        """
        train = self._model.train
        user_num = known_nums(train.users, as_ids([user], "user"), UnknownUser)
        item_num = known_nums(train.items, as_ids([item], "item"), UnknownItem)
        explanation = explain(self._model, int(train.linked_users[user_num][0]), int(item_num[0]))
        return replace(explanation, user_id=train.users.original[user_num].tolist()[0])

    def save(self, folder: str | Path) -> Run:
        """Write the fitted recommender to a run folder, atomically, and return the run.

        Raises:
            RunError: the folder exists and is not a run, or it cannot be written.
        """
        return save_model(folder, self._trained, self.config)

    def evaluate(
        self,
        test: Any,
        metrics: str | Iterable[str] = DEFAULT_METRICS,
        *,
        on_unknown: Literal["raise", "popular"] = "raise",
    ) -> dict[str, float]:
        """Return the metrics of the recommendations for the users of held-out interactions, within each domain.

        Args:
            test: a split, whose test part is used; or a frame with user_id and item_id.
            metrics: names of metrics with cut-offs, as for `kgrec.evaluate`.
            on_unknown: as for `recommend`; only for a frame.

        Returns:
            Metric → mean over users; with several domains, over pairs of a user and a domain. For a split, the values
            of `kgrec benchmark`.

        Raises:
            NotFittedError: the recommender is not fitted.
            UsageError: a metric is unknown, or the split is of another graph or has no test interaction.
            UnknownUser: a user of the frame has no node in the graph.
            DataError: the frame has problems; the error lists all of them.
        """
        from kgrec.evaluation.fitted import on_frame, on_split

        if isinstance(test, Split):
            return on_split(self._model, test, metrics)
        return on_frame(self.recommend, self._model.train, test, metrics, on_unknown)

    def publish(self, graph: GraphStore | str | Path, k: int = 20, runs: str | Path | None = None) -> dict[str, Any]:
        """Write recommendations for every user, and text vectors, to a graph, replacing the published ones.

        The model is saved as a run of the graph, for `kgrec rollback`.

        Args:
            graph: an open graph, its path or URI.
            k: length of a list.
            runs: folder of runs; next to the graph if not given.

        Returns:
            "run" (its name), "recommendations" (their number) and "vectors" (labels of nodes with vectors).

        Raises:
            NotFittedError: the recommender is not fitted.
            StoreLocked, StoreError: another job is using the graph, it cannot be written, or lacks users or items.
            RunError: the run cannot be written.
        """
        from kgrec.runs.publish_model import publish_model

        listed = self.recommend(self._model.train.users.ids, k=k)
        return publish_model(graph, self._trained, self.config, listed, k, runs)

    @classmethod
    def load(
        cls, folder: str | Path, *, encoder: TextEncoder | None = None, signals: Sequence[type[Signal]] = ()
    ) -> Recommender:
        """Return the fitted recommender of a run folder; its recommendations equal those of the saved one.

        Args:
            folder: the run folder.
            encoder: the text encoder of the fit, if it was given as an object; needed for new texts only.
            signals: classes of custom signals of the run that no installed package registers; a run never names code
                to import.

        Raises:
            RunError: the folder is not a run, or is damaged or newer; or the text model of re-ranking is not here.
            UsageError: the text model is not that of the fit.
        """
        trained, config = load_model(folder, encoder, signals)
        model = cls(config, encoder=encoder, fetch=False)
        model._state = trained
        static, chosen = trained.choices.get("static_text", False), model_of(trained.choices)
        model._encoders = replace(model._encoders, tuned=trained.tuned, static=static, model=chosen)
        return model

    def _known_users(self, ids: Sequence[str], on_unknown: str) -> tuple[Audience, IdColumn]:
        """Return the users of some ids, and the ids in their original type."""
        if on_unknown not in ("raise", "popular"):
            raise UsageError(f"on_unknown={on_unknown!r}. Expected 'raise' or 'popular'")
        users, people = self._model.train.users, self._model.train.linked_users
        nums = known_nums(users, ids, UnknownUser, NEW_USER) if on_unknown == "raise" else users.nums(ids)
        return KnownUsers(self._model, np.where(nums >= 0, people[nums], -1)), in_type(ids, nums, users)

    def _audience(self, users: Ids | None, history: Any, on_unknown: str) -> tuple[Audience, IdColumn]:
        """Return the users to recommend to, known or anonymous, and their ids."""
        if (users is None) == (history is None):
            given = "neither users nor history" if users is None else "both users and history"
            raise UsageError(f"{given} given. Expected one of them. For a text: recommend_for_text(text)")
        if users is not None:
            return self._known_users(as_ids(users, "users"), on_unknown)
        anonymous, ids = read_history(history, self._model.train)
        return Anonymous(self._model, anonymous), ids

    @property
    def _validation_metrics(self) -> dict[str, float]:
        """Signal → its metric on the validation split."""
        return {name: choice["metric_value"] for name, choice in self._trained.choices["signals"].items()}

    def _candidates(self, *conditions: Any) -> BoolArray:
        """Return a mask of the items that may be listed, bool [n_items]; arguments as for `item_filter`."""
        return item_filter(self._model.train, *conditions)

    def _read(self, text: str) -> Scored:
        """Return the scores of all items for a text."""
        if not text.strip():
            raise UsageError(f"text={text!r}. Expected words, such as text='a waterproof sketchbook for travel'")
        known, vectors = self._known_texts, np.zeros((1, 0), np.float32)
        if known.width:
            known.check(self._encoder)
            vectors = known.beside_given(self._encoders.query.encode([text]))
        return self._model.score_texts([text], vectors)
