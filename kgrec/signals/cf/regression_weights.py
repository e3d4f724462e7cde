"""Weights of a ridge regression between members, and how a run stores them.

A dense solution is kept in half precision, and one of two equal halves is stored: a quarter of the bytes. Weights are
not symmetric, but they follow from the partial correlations of members, which are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.array_layout import Array, Layout, csr
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.graph_delta import remap, remap_rows
from kgrec.signals.sparse import from_arrays, to_arrays

MAX_SCALE_RATIO: Final = 1e6
"""Maximum ratio of two scales, so that weights stay far below the largest float; those of a fit reach about 1,000."""


@dataclass(frozen=True)
class RegressionWeights:
    """Weights with a zero diagonal; column j predicts member j from the others.

    Attributes:
        matrix: float32 [n, n], or a CSR matrix if each member is predicted from its nearest ones only.
        scale: float32 [n]; a weight from i to j is correlation(i, j) · scale[i] / scale[j]. None if the weights do not
            follow from correlations: a CSR matrix, or one with columns replaced after the fit.
    """

    matrix: sp.csr_matrix | FloatArray
    scale: FloatArray | None = None

    @classmethod
    def from_correlations(cls, correlations: npt.NDArray[np.float16], scale: FloatArray) -> Self:
        """Return the weights of partial correlations.

        Args:
            correlations: float16 [n (n - 1) / 2], those above the diagonal of their symmetric matrix, row by row.
            scale: float32 [n].
        """
        matrix = np.zeros((len(scale), len(scale)), np.float32)
        matrix[above_diagonal(len(scale))] = correlations
        matrix += matrix.T
        matrix *= scale[:, None]
        matrix /= scale
        return cls(matrix, scale)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the weights as arrays of one of the `layouts`."""
        if not isinstance(self.matrix, np.ndarray):
            return to_arrays(self.matrix)
        if self.scale is None:
            return {"weights": self.matrix.astype(np.float16)}
        correlations = self.matrix * self.scale
        correlations /= self.scale[:, None]
        return {"correlations": correlations[above_diagonal(len(self.scale))].astype(np.float16), "scale": self.scale}

    @staticmethod
    def layouts(n: int) -> tuple[Layout, ...]:
        """Return the layouts of `state` for n members."""
        half, scale = Array((n * (n - 1) // 2,), ("float16",)), Array((n,))
        return {"correlations": half, "scale": scale}, {"weights": Array((n, n), ("float16",))}, csr(n)

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]], n: int) -> Self:
        """Return the weights of n members from the arrays that `state` returned.

        Raises:
            ValueError: scales are not positive or differ too much, or the arrays of a CSR matrix contradict each other.
        """
        if "weights" in state:
            return cls(state["weights"].astype(np.float32))
        if "scale" not in state:
            return cls(from_arrays(state, n))
        scale = state["scale"]
        low, high = scale.min(initial=1), scale.max(initial=1)
        if not 0 < low <= high <= MAX_SCALE_RATIO * low:
            raise ValueError(f"'scale' has {low:g} to {high:g}. Expected positive numbers of similar size")
        return cls.from_correlations(state["correlations"], scale)

    def remapped(self, old_num: IntArray) -> Self:
        """Return the weights with members renumbered; a new member, whose old number is -1, has none."""
        if not isinstance(self.matrix, np.ndarray):
            return type(self)(remap(self.matrix, old_num, old_num))
        columns = remap_rows(self.matrix, old_num).T
        scale = None if self.scale is None else np.where(old_num < 0, np.float32(1), self.scale[old_num])
        return type(self)(np.ascontiguousarray(remap_rows(columns, old_num).T), scale)

    def with_columns(self, columns: IntArray, values: sp.csr_matrix) -> Self:
        """Return the weights with some columns [c] replaced by those of `values`, CSR [n, c]."""
        if isinstance(self.matrix, np.ndarray):
            matrix = self.matrix.copy()
            matrix[:, columns] = values.toarray()
            return type(self)(matrix.astype(np.float16).astype(np.float32))
        kept, new = np.ones(self.matrix.shape[1], np.float32), values.tocoo()
        kept[columns] = 0
        rest = sp.csr_matrix(self.matrix @ sp.diags(kept))
        rest.eliminate_zeros()
        replaced = sp.csr_matrix((new.data, (new.row, columns[new.col])), shape=self.matrix.shape)
        return type(self)(sp.csr_matrix(rest + replaced))


def above_diagonal(n: int) -> BoolArray:
    """Return a mask of the entries above the diagonal of a square matrix, bool [n, n]."""
    return ~np.tri(n, dtype=bool)
