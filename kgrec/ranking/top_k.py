"""Exact top-k ranking of items with exclusion of seen and filtered items.

A list is shorter than k if fewer than k items may be recommended; it is never padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from kgrec._util.progress import track
from kgrec._util.row_blocks import row_blocks, take_rows
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.errors import UsageError

if TYPE_CHECKING:
    import torch

MAX_TIE_ENTRIES = 4_000_000
"""Scores that are searched for ties at a time (the positions of ties may take 16 times their memory)."""
MAX_NUMPY_SCORES = 200_000
"""Scores that NumPy ranks, at most; torch is several times faster with more, and takes two seconds to import."""
STRIPE_DEPTH = 0.7
"""Columns of a stripe, relative to the depth with as many stripes as candidates."""
MIN_STRIPE_DEPTH = 4
"""Least columns of a stripe; below it, ranking all columns at once is as fast."""
BATCH_BYTES = 64 * 2**20
"""Bytes of one batch of scores: large enough for fast matrix products, small compared with a model."""


@dataclass(frozen=True)
class Ranking:
    """The best items of n users, best first.

    Attributes:
        item_num: int64 [n, k], -1 after the end of a short list.
        score: float32 [n, k], NaN after the end of a short list.
    """

    item_num: IntArray
    score: FloatArray

    def __len__(self) -> int:
        return len(self.item_num)

    @classmethod
    def joined(cls, parts: Sequence[Ranking]) -> Ranking:
        """Return the concatenation of several rankings."""
        return cls(np.concatenate([part.item_num for part in parts]), np.concatenate([part.score for part in parts]))


def top_k(
    scores: npt.NDArray[Any], k: int, seen: sp.csr_matrix | None = None, allowed: BoolArray | None = None
) -> Ranking:
    """Return the k best items of every row; ties are ordered by item number.

    Args:
        scores: float [n, n_items]; an item with a score that is not finite is never listed.
        k: length of a list; at most n_items items are listed.
        seen: CSR [n, n_items] of items that are excluded.
        allowed: bool [n_items] or [n, n_items], True for items that may be listed.

    Raises:
        UsageError: k below 1.
    """
    _check_k(k)
    parts = [
        _take_top_k(
            np.array(scores[rows], dtype=np.float32),
            k,
            None if seen is None else take_rows(seen, rows),
            allowed if allowed is None or allowed.ndim == 1 else allowed[rows],
        )
        for rows in list(row_blocks(len(scores), scores.shape[1])) or [slice(0, 0)]
    ]
    return Ranking.joined(parts)


def rank_all(
    score_batch: Callable[[IntArray], FloatArray],
    user_nums: IntArray,
    k: int,
    seen: sp.csr_matrix | None = None,
    allowed: BoolArray | None = None,
    batch_size: int | None = None,
) -> Ranking:
    """Return the k best items of many users, scored in batches; see `top_k`.

    Args:
        score_batch: user numbers [b] → scores [b, n_items]; the returned array is overwritten.
        user_nums: int64 [n].
        k: length of a list; at most n_items items are listed.
        seen: CSR [n_users, n_items] of items that are excluded; row u belongs to user number u.
        allowed: bool [n_items], True for items that may be listed.
        batch_size: users per batch; None: as many as fit in `BATCH_BYTES`.

    Raises:
        UsageError: k or batch_size is below 1.
    """
    _check_k(k)
    if not len(user_nums):
        return Ranking(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32))
    size = _users_at_once(score_batch, user_nums, seen) if batch_size is None else batch_size
    if size < 1:
        raise UsageError(f"batch_size is too small: {size}. Expected at least 1 user per batch")
    batches = [user_nums[start : start + size] for start in range(0, len(user_nums), size)]
    parts = [
        _take_top_k(_writeable(score_batch(batch)), k, None if seen is None else seen[batch], allowed)
        for batch in (track(batches, "Ranking") if len(batches) > 1 else batches)
    ]
    return Ranking.joined(parts)


def _check_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise UsageError(f"k is not a whole number: {k!r}. Expected the number of items to list for each user")
    if k < 1:
        raise UsageError(f"k is too small: {k}. Expected at least 1 item to list for each user")


def _users_at_once(
    score_batch: Callable[[IntArray], FloatArray], user_nums: IntArray, seen: sp.csr_matrix | None
) -> int:
    n_items = score_batch(user_nums[:1]).shape[1] if seen is None else seen.shape[1]
    return max(1, BATCH_BYTES // (4 * max(1, n_items)))


def _writeable(scores: npt.NDArray[Any]) -> FloatArray:
    return np.require(scores, dtype=np.float32, requirements=["C", "W"])


def _take_top_k(scores: FloatArray, k: int, seen: sp.csr_matrix | None, allowed: BoolArray | None) -> Ranking:
    """Return the ranking of `top_k`; `scores` [n, n_items] are overwritten."""
    _check_k(k)
    if allowed is not None:
        np.copyto(scores, -np.inf, where=~allowed)
    if seen is not None:
        scores[np.repeat(np.arange(len(scores)), np.diff(seen.indptr)), seen.indices] = -np.inf
    k = min(k, scores.shape[1])
    # One more than k shows whether a tie extends beyond the end of a list.
    values, nums = _largest(scores, k + 1)
    if not (values[:, :1] < np.inf).all():
        scores[~np.isfinite(scores)] = -np.inf
        values, nums = _largest(scores, k + 1)
    score, item_num = _ties_in_order(scores, values, nums, k)
    listed = np.isfinite(score)
    return Ranking(np.where(listed, item_num, -1), np.where(listed, score, np.float32(np.nan)))


def _largest(scores: FloatArray, n: int) -> tuple[FloatArray, IntArray]:
    """Return the n largest values of every row and their columns, largest first; NaN sorts as the largest."""
    n = min(n, scores.shape[1])
    if scores.size <= MAX_NUMPY_SCORES:
        nums = np.argpartition(scores, scores.shape[1] - n, axis=1)[:, scores.shape[1] - n :]
        nums = np.take_along_axis(nums, np.argsort(np.take_along_axis(scores, nums, axis=1), axis=1)[:, ::-1], axis=1)
        return np.take_along_axis(scores, nums, axis=1), nums
    import torch

    whole, depth = torch.from_numpy(scores), int(STRIPE_DEPTH * (scores.shape[1] / n) ** 0.5)
    if depth < MIN_STRIPE_DEPTH:
        values, columns = torch.topk(whole, n)
        return values.numpy(), columns.numpy()
    candidates = _of_best_stripes(whole, n, depth)
    values, places = torch.topk(torch.gather(whole, 1, candidates), n)
    return values.numpy(), torch.gather(candidates, 1, places).numpy()


def _of_best_stripes(scores: torch.Tensor, n: int, depth: int) -> torch.Tensor:
    """Return the columns of every row among which its n largest values are, int64 [n rows, columns].

    The columns of a row are divided into stripes of `depth` equally spaced columns; the n largest values are in the n
    stripes with the largest maxima. The columns that are left over are added.
    """
    import torch

    n_stripes = scores.shape[1] // depth
    maxima = scores[:, : n_stripes * depth].view(len(scores), depth, n_stripes).amax(1)
    best = torch.topk(maxima, n, sorted=False).indices
    columns = (best[:, :, None] + torch.arange(depth) * n_stripes).flatten(1)
    rest = torch.arange(n_stripes * depth, scores.shape[1]).expand(len(scores), -1)
    return torch.cat([columns, rest], 1)


def _ties_in_order(scores: FloatArray, values: FloatArray, nums: IntArray, k: int) -> tuple[FloatArray, IntArray]:
    """Return the k best values and items of every row, ties in the order of item numbers.

    Args:
        scores: float32 [n, n_items].
        values, nums: the k + 1 largest scores of every row and their items, [n, k + 1].
        k: length of a list.
    """
    if (values[:, 1:] == values[:, :-1]).any():
        order = np.lexsort((nums, -values))
        values, nums = np.take_along_axis(values, order, axis=1), np.take_along_axis(nums, order, axis=1)
    if values.shape[1] > k:
        tied = np.flatnonzero((values[:, k] == values[:, k - 1]) & np.isfinite(values[:, k]))
        size = max(1, MAX_TIE_ENTRIES // scores.shape[1])
        for rows in (tied[start : start + size] for start in range(0, len(tied), size)):
            nums[rows, :k] = _first_of_equals(scores[rows], values[rows, :k], nums[rows, :k])
    return values[:, :k], nums[:, :k]


def _first_of_equals(scores: FloatArray, values: FloatArray, nums: IntArray) -> IntArray:
    """Return lists [n, k] whose last, tied entries are the items with the smallest numbers of that score."""
    nums, last = nums.copy(), values[:, -1:]
    row, item = np.nonzero(scores == last)
    n_better = (values > last).sum(axis=1)
    place = n_better[row] + np.arange(len(row)) - np.searchsorted(row, row)
    fits = place < nums.shape[1]
    nums[row[fits], place[fits]] = item[fits]
    return nums
