"""Release: one published run in memory. A request uses one release from start to end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray
from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.id_map import IdMap
from kgrec.data.linked_users import merge_linked_users
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import StoreError
from kgrec.recommender import Recommender
from kgrec.runs.folder import find_run
from kgrec.runs.publications import publications
from kgrec.runs.publish import new_to_users
from kgrec.store import open_graph


@dataclass(frozen=True)
class PublishedLists:
    """Lists of all users, ordered by user and rank.

    Attributes:
        first: position of each user's first entry, int64 [n_users + 1].
        item_num: int64 [n].
        score: float32 [n].
        shares: float32 [n, signal groups], in the order of `SHARE_COLUMNS`.
    """

    first: IntArray
    item_num: IntArray
    score: FloatArray
    shares: FloatArray

    @classmethod
    def from_table(cls, listed: pa.Table, train: GraphSnapshot) -> Self:
        """Return the lists of a run's table of recommendations."""
        user_num = train.users.nums(listed.column("user_id").to_numpy())
        order = np.lexsort((listed.column("rank").to_numpy(), user_num))
        first = np.searchsorted(user_num[order], np.arange(train.n_users + 1))
        columns = [listed.column(name).to_numpy() for name in ("score", *SHARE_COLUMNS)]
        score, *shares = (np.asarray(column[order], dtype=np.float32) for column in columns)
        item_num = train.items.nums(listed.column("item_id").to_numpy())[order]
        return cls(first, item_num, score, np.stack(shares, axis=1))

    def of(self, user_num: int) -> slice:
        """Return the positions of a user's entries."""
        return slice(int(self.first[user_num]), int(self.first[user_num + 1]))


@dataclass(frozen=True)
class Release:
    """A published run.

    Attributes:
        name: name of the run.
        since: time of its publication, ISO 8601 in UTC.
        metrics: metrics of the hybrid on the run's test split; empty without one.
        model: the fitted recommender.
        lists: the published lists, without the items that users have in the graph.
        graph_items: the items of the graph, which may have more than the model.
        unlearned: float32 CSR [n_users, n_items], the items that users have in the graph and that the model did not
            learn from: held out for evaluation, or newer than the run.
    """

    name: str
    since: str
    metrics: Mapping[str, float]
    model: Recommender
    lists: PublishedLists
    graph_items: IdMap
    unlearned: sp.csr_matrix

    @classmethod
    def load(cls, graph: str, root: Path, name: str) -> Self:
        """Return a published run of a graph.

        Args:
            graph: URI of the graph.
            root: folder of its runs.
            name: name of the run.

        Raises:
            RunError: the run is missing or damaged.
            StoreError: the graph cannot be read.
        """
        run = find_run(root, name)
        model = Recommender.load(run.folder)
        with open_graph(graph, read_only=True) as store:
            current = merge_linked_users(store.snapshot())
        train = model._model.train
        lists = PublishedLists.from_table(new_to_users(run.table("recommendations"), current), train)
        since = next((known.at for known in reversed(publications(root)) if known.run == name), "")
        measured = (run.info.get("metrics") or {}).get("models", {}).get("hybrid", {})
        return cls(name, since, measured, model, lists, current.items, _unlearned(train, current))

    @property
    def train(self) -> GraphSnapshot:
        """The graph that the model was fitted on."""
        return self.model._model.train

    @property
    def tag(self) -> str:
        """ETag of answers from this release alone."""
        return f'"{hashlib.sha256(self.name.encode()).hexdigest()[:16]}"'

    @cached_property
    def popular(self) -> npt.NDArray[np.int64]:
        """Items by number of train users, most popular first, int64 [n_items]."""
        return np.argsort(-self.model._model.popularity, kind="stable")

    def warm(self) -> None:
        """Answer once each way, so that no visitor waits for what the first answer computes."""
        train = self.train
        self.model.recommend(train.users.ids[:1], k=1)
        self.model.recommend(history=train.items.ids[:1], k=1)
        self.model.explain(train.users.ids[0], train.items.ids[0])
        self.graph_items.nums([]), len(self.popular), len(train.item_names)


def _unlearned(train: GraphSnapshot, current: GraphSnapshot) -> sp.csr_matrix:
    """Return the interactions of the current graph that are not in the training graph, in the latter's numbers."""
    pairs = current.interactions.tocoo()
    user_num, item_num = train.user_nums(current.users.ids)[pairs.row], train.items.nums(current.items.ids)[pairs.col]
    known = (user_num >= 0) & (item_num >= 0)
    cells = (user_num[known], item_num[known])
    there = sp.csr_matrix((np.ones(len(cells[0]), np.float32), cells), shape=train.interactions.shape)
    new = sp.csr_matrix(there - there.multiply(train.interactions > 0))
    new.eliminate_zeros()
    return new


def published_run(graph: str) -> str | None:
    """Return the name of a graph's published run; None without one.

    Raises:
        StoreError: the graph does not exist or cannot be read.
    """
    with open_graph(graph, read_only=True) as store:
        return store.published()


def nothing_published(graph: str) -> StoreError:
    """Return the error for a graph without a publication."""
    return StoreError(f"nothing is published in {graph}. Run: kgrec train {graph}, then kgrec publish {graph}")
