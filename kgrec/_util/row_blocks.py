"""Blocks of rows that stay in the processor's cache while several steps are applied to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import scipy.sparse as sp

BLOCK_VALUES: Final = 2**19
"""Values of a block (2 MB of float32)."""


def row_blocks(n: int, n_columns: int) -> Iterator[slice]:
    """Yield slices of n rows of `n_columns` values each, of at most `BLOCK_VALUES` values, or one row."""
    size = max(1, BLOCK_VALUES // max(n_columns, 1))
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def take_rows(matrix: sp.csr_matrix, rows: slice) -> sp.csr_matrix:
    """Return the rows of a block; the matrix itself if these are all: slicing takes longer than a short list."""
    return matrix if rows.stop - rows.start == matrix.shape[0] else matrix[rows]
