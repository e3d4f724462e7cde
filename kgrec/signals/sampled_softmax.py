"""Training with a softmax over items: mini-batches of users, its loss, and candidates where items are many.

This file needs torch; import it only where something is trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional

from kgrec._util.types import IntArray

MAX_LOGITS: Final = 32_000_000
"""Logits held at once (128 MB, four times that with gradients): users of a step × candidate items."""

MAX_FULL_SOFTMAX_ITEMS: Final = 20_000
"""Up to this many items the softmax runs over all of them, above it over a shared sample."""
SAMPLED_CANDIDATES: Final = 4_096


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        user_nums: int64 [b].
        positives: float32 CSR tensor [b, n_items]; the weights of a batch sum to 1.
        item_nums: int64 [c], the items of the softmax.
        correction: float32 [c], subtracted from the logits.
    """

    user_nums: Tensor
    positives: Tensor
    item_nums: Tensor
    correction: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        tensors = (self.user_nums, self.positives, self.item_nums, self.correction)
        return Batch(*(tensor.to(device) for tensor in tensors))


def softmax_loss(users: Tensor, items: Tensor, batch: Batch) -> Tensor:
    """Return the weighted cross-entropy of a batch's positives.

    With sampled candidates the sum over all items is estimated from the sample, each candidate weighted by how much
    too often it is drawn: Bengio & Senécal, "Adaptive importance sampling", IEEE TNN 2008.

    Args:
        users: vectors divided by the temperature, float32 [b, d].
        items: vectors of all items, float32 [n_items, d].
        batch: what to learn from.
    """
    # Half precision is many times faster on a GPU and slower on a CPU; the sums stay in full precision.
    with torch.autocast("cuda", torch.bfloat16, enabled=users.is_cuda):
        logits = users @ items[batch.item_nums].T
    logits = logits - batch.correction
    share = sparse_product(batch.positives, torch.ones(len(items), 1, device=items.device))
    taken = sparse_product(batch.positives, items)
    return (share[:, 0] * torch.logsumexp(logits, dim=1)).sum() - (users * taken).sum()


def batches(interactions: sp.csr_matrix, steps: int, size: int, random: np.random.Generator) -> Iterator[Batch]:
    """Yield `steps` batches of at most `size` users with a history; all come once before any comes again."""
    users = np.flatnonzero(np.diff(interactions.indptr))
    popularity = np.bincount(interactions.indices, minlength=interactions.shape[1])
    waiting = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        if not len(waiting):
            waiting = random.permutation(users)
        chosen, waiting = waiting[:size], waiting[size:]
        candidates = draw_candidates(popularity, MAX_FULL_SOFTMAX_ITEMS, SAMPLED_CANDIDATES, random)
        yield Batch(torch.from_numpy(chosen), _positives(interactions[chosen]), *candidates)


def batch_size(n_items: int) -> int:
    """Return how many users a step holds, so that their logits of `n_items` items (or of a sample) fit in memory."""
    return max(1, MAX_LOGITS // (n_items if n_items <= MAX_FULL_SOFTMAX_ITEMS else SAMPLED_CANDIDATES))


def _positives(history: sp.csr_matrix) -> Tensor:
    """Return the weights of what a batch of users did, [b, n_items].

    A user of n behaviors counts √n: between users all counting the same, as metrics count them, and behaviors all
    counting the same, which wastes less of what active users show.
    """
    counts = np.diff(history.indptr)
    weights = np.repeat(counts**-0.5, counts)
    return csr_tensor(history.indptr, history.indices, weights / weights.sum(), history.shape)


def draw_candidates(popularity: IntArray, most: int, sample: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return item numbers [c] for the softmax and the logarithm of how often each is expected in them [c].

    An item that nobody chose is no candidate: it would only ever be pushed away, whatever is known about it.

    Args:
        popularity: how often each item was chosen, int64 [n_items].
        most: up to this many items all are candidates.
        sample: how many are drawn where there are more.
        random: source of the sample.
    """
    chosen = np.flatnonzero(popularity)
    if len(chosen) <= most:
        return torch.from_numpy(chosen), torch.zeros(len(chosen))
    chance = np.sqrt(popularity[chosen])
    chance /= chance.sum()
    drawn = random.choice(len(chosen), sample, p=chance)
    expected = np.log(sample * chance[drawn]).astype(np.float32)
    return torch.from_numpy(chosen[drawn]), torch.from_numpy(expected)


def sparse_product(matrix: Tensor, x: Tensor) -> Tensor:
    """Return A x, float32 [n, d], of a sparse CSR A [n, m] and x [m, d]; the gradient of x flows back.

    Products by CUDA's library for sparse matrices differ from run to run in their last digits, and training amplifies
    the difference; the sums of `embedding_bag` have one order, forward and backward.
    """
    if not x.is_cuda:
        return matrix @ x
    starts, values = matrix.crow_indices()[:-1], matrix.values()
    return functional.embedding_bag(matrix.col_indices(), x, starts, mode="sum", per_sample_weights=values)


def csr_tensor(indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Tensor:
    """Return a float32 sparse CSR tensor; 32-bit indices make its products a third faster."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support is in beta|invariant checks)")
        return torch.sparse_csr_tensor(
            torch.from_numpy(np.asarray(indptr, dtype=np.int32)),
            torch.from_numpy(np.asarray(indices, dtype=np.int32)),
            torch.from_numpy(np.asarray(values, dtype=np.float32)),
            size=shape,
            check_invariants=False,
        )
