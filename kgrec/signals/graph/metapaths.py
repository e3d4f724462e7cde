"""Meta-path signal: weighted typed paths from a user's history, and from related users, to an item."""

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
from kgrec.data.histories import row_roots, user_histories
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
from kgrec.signals.sparse import product, rows_of

BATCH_USERS: Final = 64
"""Users scored at a time: more users together reach most of a large graph, fewer make matrix products inefficient."""
NO_PATHS: Final = np.zeros(1, np.float32)
"""Sum of the user paths of users without any."""


class MetaPathsSettings(SignalSettings):
    """Settings of meta-paths."""

    degree_exponent: float = Field(
        1.0, ge=0, le=2, description="Exponent of a shared node's degree that divides its weight."
    )
    half_life_items: HalfLifeItems = None
    pairs: Annotated[bool, RelevantIf(several_relations)] = Field(
        False, description="Whether to include paths of two relationship types."
    )
    regularization: float = Field(1e-4, ge=0, description="L2 penalty of the path weights.")


@dataclass(frozen=True)
class Contributions:
    """Parts of one user's score of one item, in descending order.

    Attributes:
        path_num: int64 [c], index into `MetaPaths.paths`.
        through: int64 [c], number of the history item (side "items") or of the other user (side "users").
        value: float32 [c], positive part of the score.
    """

    path_num: IntArray
    through: IntArray
    value: FloatArray

    def __len__(self) -> int:
        return len(self.value)


class MetaPaths(Signal):
    """Weighted sum of the meta-paths from a user to an item and of the item's popularity.

    Meta-paths: Sun et al., "PathSim", VLDB 2011. Shared nodes are weighted by degree, and the weights of the paths are
    learned from interactions. The value of an item path is the sum over the user's n items divided by √n, minus its
    mean over all users: how much more related the item is to this user than to the average user.
    """

    name: ClassVar[str] = "metapaths"
    group: ClassVar[Group] = "graph"
    tuning_order: ClassVar[int] = 80
    supports_cold_items: ClassVar[bool] = True
    Settings = MetaPathsSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {"half_life_items": LogRange(4.0, 0.5, 64), "degree_exponent": (0.5, 1.5), "pairs": (True,)}

    paths: list[MetaPath]
    """All meta-paths of the graph (of pairs of types if the setting `pairs` is on), including those with weight 0."""
    weights: FloatArray
    """Weights of the paths, then of popularity, float32 [n paths + 1], none negative."""

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
        """Return whether the graph has relationships other than behaviors."""
        return bool(train.relations)

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate duration of a fit, in seconds; see `Signal`."""
        n_links = sum(len(source) for source, _ in train.relations.values())
        return 0.1 + min(n_links / 20_000, 2.2) + train.interactions.nnz / 500_000

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Build the meta-paths and learn their weights."""
        paths = build_metapaths(train, self.settings.degree_exponent, pairs=self.settings.pairs)
        means = row_roots(train.interactions)
        tried = select_metapaths(paths, train.interactions)
        features = [
            from_histories(path, means) if path.side == "items" else from_users(path, train.interactions)
            for path in (paths[num] for num in tried)
        ]
        features.append(from_popularity(train.interactions))
        weights = np.zeros(len(paths) + 1, np.float32)
        learned = learn_weights(features, train.interactions, self.settings.regularization, seed)
        self.note = learned.note
        weights[[*tried, -1]] = learned.values
        return self._bind(train, paths, weights)

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return the weighted sums of meta-paths and popularity, float32 [n users, n_items]."""
        from_users = (
            product(rows_of(self._user_left, user_nums), self._user_chosen) if self._user_left.nnz else NO_PATHS
        )
        return self._scores(rows_of(self._history, user_nums), from_users)

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users, by item paths and popularity: they have no user paths."""
        return self._scores(row_roots(user_histories(users, half_life_items=self.settings.half_life_items)), NO_PATHS)

    def _scores(self, rows: sp.csr_matrix, from_users: FloatArray) -> FloatArray:
        """Return scores, float32 [n, n_items].

        Args:
            rows: normalized histories, CSR [n, n_items].
            from_users: sums of user paths, [n, n_items], or zero.
        """
        if rows.shape[0] > BATCH_USERS:
            firsts = range(0, rows.shape[0], BATCH_USERS)
            from_items = np.concatenate([self._from_items(rows[first : first + BATCH_USERS]) for first in firsts])
        else:
            from_items = self._from_items(rows)
        known = np.diff(rows.indptr)[:, None] > 0
        return np.asarray(self._popularity + from_users + from_items - known * self._offset, dtype=np.float32)

    def _from_items(self, rows: sp.csr_matrix) -> FloatArray:
        """Return the sums of item paths from histories [n, n_items], over the nodes that these reach."""
        shared = sp.csr_matrix(rows @ self._item_left)
        reached, place = np.unique(shared.indices, return_inverse=True)
        through = np.zeros((len(reached), rows.shape[0]), np.float32)
        through[place, np.repeat(np.arange(rows.shape[0]), np.diff(shared.indptr))] = shared.data
        return np.asarray((self._item_right[:, reached] @ through).T)

    def contributions(self, user_num: int, item_num: int) -> Contributions:
        """Return the paths from a user to an item with their parts of the score, without popularity and the offset."""
        none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        used = np.flatnonzero(self.weights[:-1]).tolist()
        parts = [none, *(self._contribution(num, user_num, item_num) for num in used)]
        path_num, through, value = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(-value, kind="stable")
        return Contributions(path_num[order], through[order], value[order])

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights; `restore` rebuilds the paths from the graph."""
        return {"weights": self.weights}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return ({"weights": Array(("paths",))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        paths = build_metapaths(train, self.settings.degree_exponent, pairs=self.settings.pairs)
        if len(state["weights"]) != len(paths) + 1 or (state["weights"] < 0).any():
            raise ValueError(
                f"wrong 'weights': shape {state['weights'].shape}, or a negative value. "
                f"Expected {len(paths) + 1} weights, none negative"
            )
        return self._bind(train, paths, state["weights"])

    def refitted(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Return the signal for another train graph, with the same weights if it has the same paths.

        Weights learned again can differ in scale where several rank alike, and a blend depends on their scale.
        """
        again = self._for_graph(train)
        known = {(path.side, path.edge_types) for path in self.paths}
        same = all((path.side, path.edge_types) in known for path in again.paths)
        return again if same else super().refitted(train, vectors, seed)

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        return self._for_graph(delta.new)

    def _for_graph(self, train: GraphSnapshot) -> Self:
        """Return the signal for another train graph with the weights of this one, 0 for new paths."""
        paths = build_metapaths(train, self.settings.degree_exponent, pairs=self.settings.pairs)
        learned = {(path.side, path.edge_types): weight for path, weight in zip(self.paths, self.weights, strict=False)}
        weights = [learned.get((path.side, path.edge_types), 0.0) for path in paths]
        return type(self)(self.settings)._bind(train, paths, np.array([*weights, self.weights[-1]], np.float32))

    def _bind(self, train: GraphSnapshot, paths: list[MetaPath], weights: FloatArray) -> Self:
        self.paths, self.weights = paths, weights
        self._interactions = train.interactions
        self._history = row_roots(user_histories(train, half_life_items=self.settings.half_life_items))
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
        """Return the paths of a side with a positive weight, and their weights."""
        pairs = zip(self.paths, self.weights[:-1], strict=True)
        return [(path, weight) for path, weight in pairs if path.side == side and weight > 0]

    def _stacked(self, side: Side, n: int) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Return the stacked left (times weight) and right matrices of the paths of a side, float32 CSR [n, k] each."""
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
