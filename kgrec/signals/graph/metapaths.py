"""Typed paths as a signal: what leads from a user's history, and from like users, to an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Array, Layout
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.histories import row_means, user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, HalfLifeItems, LogRange, Signal, SignalSettings
from kgrec.signals.graph.metapath_matrices import MetaPath, Side, build_metapaths
from kgrec.signals.graph.metapath_weights import (
    from_histories,
    from_popularity,
    from_users,
    learn_weights,
    path_offset,
    select_metapaths,
)
from kgrec.signals.relevance import RelevantIf, several_relations

BATCH_USERS: Final = 64
"""Users whose histories are followed together: more reach most of a large graph, for fewer each product is small."""


class MetaPathsSettings(SignalSettings):
    """Settings of the typed paths."""

    degree_exponent: float = Field(
        1.0, ge=0, le=2, description="How fast a shared node's weight falls as its degree rises."
    )
    half_life_items: HalfLifeItems = None
    pairs: Annotated[bool, RelevantIf(several_relations)] = Field(
        False, description="Whether paths lead through pairs of relationships too."
    )
    regularization: float = Field(1e-4, ge=0, description="Ridge penalty on the weights of the paths.")


@dataclass(frozen=True)
class Contributions:
    """What carries one user's score of one item, strongest first.

    Attributes:
        path_num: int64 [c], index into `MetaPaths.paths`.
        through: int64 [c], number of the history's item (side "items") or of the other user (side "users").
        value: float32 [c], part of the score; above 0.
    """

    path_num: IntArray
    through: IntArray
    value: FloatArray

    def __len__(self) -> int:
        return len(self.value)


class MetaPaths(Signal):
    """Weighted sum of typed paths to an item, plus a weight for its popularity.

    The paths are meta-paths (Sun et al., "PathSim", VLDB 2011) weighted by the rarity of the node they lead through;
    their weights are learned from what users did. History paths measure the mean over the history, less the mean over
    all users: what a user shares with an item more than everybody does.
    """

    name: ClassVar[str] = "metapaths"
    group: ClassVar[Group] = "graph"
    tuning_order: ClassVar[int] = 80
    supports_cold_items: ClassVar[bool] = True
    Settings = MetaPathsSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {"half_life_items": LogRange(4.0, 0.5, 64), "degree_exponent": (0.5, 1.5), "pairs": (True,)}

    paths: list[MetaPath]
    """Every typed path of the graph (through pairs only if the settings say so), those with weight 0 included."""
    weights: FloatArray
    """Weights of the paths, then of popularity, float32 [n paths + 1], none below 0."""

    _interactions: sp.csr_matrix
    _history: sp.csr_matrix
    _item_left: sp.csr_matrix
    _item_right: sp.csc_matrix
    _user_left: sp.csr_matrix
    _user_chosen: sp.csr_matrix
    _offset: FloatArray
    _popularity: FloatArray

    @classmethod
    def applies(cls, train: GraphSnapshot, vectors: Vectors) -> bool:
        """Say whether there is any relationship beside behaviors."""
        return bool(train.relations)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Find the paths and learn their weights."""
        paths = build_metapaths(train, self.settings.degree_exponent, pairs=self.settings.pairs)
        means = row_means(train.interactions)
        tried = select_metapaths(paths, train.interactions)
        features = [
            from_histories(path, means) if path.side == "items" else from_users(path, train.interactions)
            for path in (paths[num] for num in tried)
        ]
        features.append(from_popularity(train.interactions))
        weights = np.zeros(len(paths) + 1, np.float32)
        weights[[*tried, -1]] = learn_weights(features, train.interactions, self.settings.regularization, seed)
        return self._bind(train, paths, weights)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return weighted sums of paths, float32 [n users, n_items]."""
        from_users = (self._user_left[user_nums] @ self._user_chosen).toarray()
        return self._scores(self._history[user_nums], from_users)

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores for people who are no users of the graph, whom it links to no other users."""
        return self._scores(
            row_means(user_histories(users, half_life_items=self.settings.half_life_items)), np.zeros(1, np.float32)
        )

    def _scores(self, rows: sp.csr_matrix, from_users: FloatArray) -> FloatArray:
        """Add up what leads from histories, CSR [n, n_items], and from other users, [n, n_items] or nothing."""
        firsts = range(0, max(rows.shape[0], 1), BATCH_USERS)
        from_items = np.concatenate([self._from_items(rows[first : first + BATCH_USERS]) for first in firsts])
        known = np.diff(rows.indptr)[:, None] > 0
        return np.asarray(self._popularity + from_users + from_items - known * self._offset, dtype=np.float32)

    def _from_items(self, rows: sp.csr_matrix) -> FloatArray:
        """Return what leads from histories [n, n_items] to items, by the few of all nodes that they reach."""
        shared = sp.csr_matrix(rows @ self._item_left)
        reached = np.unique(shared.indices)
        return np.asarray((self._item_right[:, reached] @ shared[:, reached].T.toarray()).T)

    def contributions(self, user_num: int, item_num: int) -> Contributions:
        """Return what leads from a user to an item, strongest first; popularity and the mean over users left out."""
        none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        used = np.flatnonzero(self.weights[:-1]).tolist()
        parts = [none, *(self._contribution(num, user_num, item_num) for num in used)]
        path_num, through, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(-value, kind="stable")
        return Contributions(path_num[order], through[order], value[order])

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights; the paths follow from the graph."""
        return {"weights": self.weights}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return what the arrays of `state` must be."""
        return ({"weights": Array(("paths",))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Take back what `state` returned."""
        paths = build_metapaths(train, self.settings.degree_exponent, pairs=self.settings.pairs)
        if len(state["weights"]) != len(paths) + 1 or (state["weights"] < 0).any():
            raise ValueError(f"'weights' is {state['weights'].shape}, or below 0; expected {len(paths) + 1} from 0 on")
        return self._bind(train, paths, state["weights"])

    def fold_in(self, delta: GraphDelta) -> Self:
        """Place what was learned in a graph that has grown; see `Signal`."""
        paths = build_metapaths(delta.new, self.settings.degree_exponent, pairs=self.settings.pairs)
        learned = {(path.side, path.edge_types): weight for path, weight in zip(self.paths, self.weights, strict=False)}
        found = [learned.get((path.side, path.edge_types), 0.0) for path in paths]
        return type(self)(self.settings)._bind(delta.new, paths, np.array([*found, self.weights[-1]], np.float32))

    def _bind(self, train: GraphSnapshot, paths: list[MetaPath], weights: FloatArray) -> Self:
        self.paths, self.weights = paths, weights
        self._interactions = train.interactions
        self._history = row_means(user_histories(train, half_life_items=self.settings.half_life_items))
        self._item_left, right = self._stacked("items", train.n_items)
        self._item_right = right.tocsc()
        self._user_left, user_right = self._stacked("users", train.n_users)
        self._user_chosen = (user_right.T @ train.interactions).tocsr()
        offsets = [w * path_offset(p, self._history) for p, w in self._used("items")]
        self._offset = sum(offsets, np.zeros(train.n_items, np.float32))
        popularity = np.bincount(train.interactions.indices, minlength=train.n_items)
        self._popularity = weights[-1] * np.log1p(popularity).astype(np.float32)
        return self

    def _used(self, side: Side) -> list[tuple[MetaPath, np.float32]]:
        """Return the paths of a side that count for anything, with their weights."""
        pairs = zip(self.paths, self.weights[:-1], strict=True)
        return [(path, weight) for path, weight in pairs if path.side == side and weight > 0]

    def _stacked(self, side: Side, n: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Return all paths of a side as one, weights on the left: float32 CSR [n, k] twice."""
        used, none = self._used(side), sp.csr_matrix(np.empty((n, 0), dtype=np.float32))
        left = sp.hstack([none, *(p.left * w for p, w in used)], format="csr")
        return left, sp.hstack([none, *(p.right for p, _ in used)], format="csr")

    def _contribution(self, path_num: int, user_num: int, item_num: int) -> tuple[IntArray, IntArray, FloatArray]:
        path, weight = self.paths[path_num], self.weights[path_num]
        if path.side == "items":
            through = self._history[[user_num]].indices.astype(np.int64)
            value = path.related(item_num, through) * weight * self._history[[user_num]].data
        else:
            through = self._interactions[:, [item_num]].nonzero()[0].astype(np.int64)
            value = path.related(user_num, through) * weight
        kept = value > 0
        return np.full(kept.sum(), path_num), through[kept], value[kept]
