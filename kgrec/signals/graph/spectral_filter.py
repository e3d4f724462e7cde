"""Spectral filter: a low-pass graph filter on the user-item graph, in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from kgrec._util.array_layout import Array, Layout, csr
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.columns import Group
from kgrec.data.graph_delta import GraphDelta, remap_rows
from kgrec.data.histories import user_histories
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.signals.base import Grid, HalfLifeItems, LogRange, Signal, SignalSettings
from kgrec.signals.sparse import factor, from_arrays, largest_of_columns, product, rows_of, to_arrays, transposed

BLOCK_ITEMS: Final = 1024
"""Items whose links are computed at a time; the full item-item matrix is never in memory."""
MAX_LINKS_PER_ITEM: Final = 500
"""Links kept for each item, at most."""


class SpectralSettings(SignalSettings):
    """Settings of the spectral filter."""

    components: int = Field(64, ge=1, description="Singular vectors that the ideal low-pass filter keeps.")
    ideal: float = Field(0.3, ge=0, description="Weight of the ideal low-pass filter; the linear filter has 1.")
    half_life_items: HalfLifeItems = None


class Spectral(Signal):
    """A history filtered over the user-item graph: a linear low-pass filter plus an ideal one.

    GF-CF: Shen et al., "How Powerful is Graph Convolution for Recommendation?", CIKM 2021. The linear filter is two
    steps over the normalized graph (item, user, item); the ideal filter projects the history onto the leading singular
    vectors, the smoothest directions of the graph.
    """

    name: ClassVar[str] = "spectral"
    group: ClassVar[Group] = "graph"
    tuning_order: ClassVar[int] = 40
    Settings = SpectralSettings
    inference_params: ClassVar[frozenset[str]] = frozenset({"half_life_items"})
    grid: ClassVar[Grid] = {
        "half_life_items": LogRange(4.0, 0.5, 64),
        "components": LogRange(2.0, 16, 256),
        "ideal": LogRange(2.0, 0.05, 3),
    }

    _history: sp.csr_matrix
    _links: sp.csr_matrix
    _factor: sp.csr_matrix | FloatArray
    _directions: FloatArray
    _in: FloatArray
    _out: FloatArray

    @classmethod
    def cost(cls, settings: Any, train: GraphSnapshot) -> float:
        """Return the approximate duration of a fit, in seconds; see `Signal`."""
        rows = train.n_users + train.n_items
        return float(0.1 + train.interactions.nnz / 300_000 + settings.components * rows * settings.components * 1e-8)

    def fit(self, train: GraphSnapshot, vectors: Vectors, seed: int = 0) -> Self:
        """Normalize the graph and compute its leading singular vectors."""
        from sklearn.utils.extmath import randomized_svd  # type: ignore[import-untyped]

        users, items = _degrees(train)
        graph = sp.csr_matrix(sp.diags(users**-0.5) @ train.interactions @ sp.diags(items**-0.5), dtype=np.float32)
        components = min(self.settings.components, *graph.shape)
        _, _, directions = randomized_svd(graph, components, random_state=seed)
        return self._bind(train, _two_steps(graph), np.ascontiguousarray(directions, dtype=np.float32))

    def scores(self, user_nums: IntArray) -> FloatArray:
        """Return filtered histories, float32 [n users, n_items]."""
        return self._scores(rows_of(self._history, user_nums))

    def anonymous_scores(self, users: AnonymousUsers) -> FloatArray:
        """Return the scores of all items for anonymous users; see `Signal`."""
        return self._scores(user_histories(users, half_life_items=self.settings.half_life_items))

    def item_similarity(self, item_nums: IntArray) -> FloatArray:
        """Return the filtered histories of single items, float32 [n, n_items]."""
        one = sp.identity(self._links.shape[0], np.float32, format="csr")
        return self._scores(one[item_nums])

    def _scores(self, rows: sp.csr_matrix) -> FloatArray:
        ideal = ((rows @ self._in) @ self._directions) * self._out
        return np.asarray(product(rows, self._factor) + np.float32(self.settings.ideal) * ideal)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the item-item links as arrays of a CSR matrix, and the singular vectors, float32 [k, n_items]."""
        return {**to_arrays(self._links), "directions": self._directions}

    def layouts(self, train: GraphSnapshot, vectors: Vectors) -> tuple[Layout, ...]:
        """Return the expected arrays of `state`: shapes and types."""
        return ({**csr(train.n_items), "directions": Array(("directions", train.n_items))},)

    def restore(self, train: GraphSnapshot, vectors: Vectors, state: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Restore the signal from the arrays that `state` returned."""
        return self._bind(train, from_arrays(state, train.n_items), state["directions"])

    def fold_in(self, delta: GraphDelta) -> Self:
        """Return the signal for an updated graph, without a fit; see `Signal`."""
        directions = remap_rows(self._directions.T, delta.items).T
        return type(self)(self.settings)._bind(delta.new, delta.between_items(self._links), directions)

    def _bind(self, train: GraphSnapshot, links: sp.csr_matrix, directions: FloatArray) -> Self:
        root = np.sqrt(_degrees(train)[1])
        self._history = user_histories(train, half_life_items=self.settings.half_life_items)
        self._links, self._factor, self._directions = links, factor(links), np.ascontiguousarray(directions)
        self._in, self._out = np.ascontiguousarray((directions / root).T), root
        return self


def _degrees(train: GraphSnapshot) -> tuple[FloatArray, FloatArray]:
    """Return the degrees of users and items, at least 1, float32 [n_users] and [n_items]."""
    chosen = train.interactions
    counts = np.diff(chosen.indptr), np.bincount(chosen.indices, minlength=train.n_items)
    return np.maximum(counts[0], 1).astype(np.float32), np.maximum(counts[1], 1).astype(np.float32)


def _two_steps(graph: sp.csr_matrix) -> sp.csr_matrix:
    """Return the largest item-item links over two steps (item, user, item), float32 CSR [n_items, n_items]."""
    by_item, blocks = graph.T.tocsr(), []
    for start in range(0, graph.shape[1], BLOCK_ITEMS):
        links = transposed(by_item[start : start + BLOCK_ITEMS] @ graph)
        blocks.append(largest_of_columns(links, links.data, MAX_LINKS_PER_ITEM))
    return sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))
