"""Softmax loss over items: mini-batches of users, the loss, and negative sampling for large catalogs.

This module imports torch; import it in functions that train only.
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

from kgrec._util.device import has_bfloat16
from kgrec._util.types import IntArray
from kgrec.signals.step_limits import MAX_LOGITS

MAX_FULL_SOFTMAX_ITEMS: Final = 20_000
"""With more items than this, the softmax is over a sample of items that all users of a step share."""
SAMPLED_CANDIDATES: Final = 4_096
BLOCK_LOGITS_CPU: Final = 250_000
"""Logits that are held at a time on a CPU (1 MB): they stay in its cache."""
BLOCK_LOGITS_GPU: Final = 32_000_000
"""Logits that are held at a time on a GPU (128 MB)."""


@dataclass(frozen=True)
class Batch:
    """Data of one training step.

    Attributes:
        user_nums: int64 [b].
        positives: float32 CSR tensor [b, n_items], weights of the positive items; they sum to 1 over the batch.
        item_nums: int64 [c], the candidate items of the softmax.
        correction: float32 [c], sampling correction, subtracted from the logits.
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

    With sampled candidates, the softmax denominator is estimated by importance sampling: Bengio & Senécal, "Adaptive
    importance sampling", IEEE TNN 2008.

    Args:
        users: vectors divided by the temperature, float32 [b, d].
        items: vectors of all items, float32 [n_items, d].
        batch: users, positives and candidates.
    """
    share = sparse_product(batch.positives, torch.ones(len(items), 1, device=items.device))
    taken = sparse_product(batch.positives, items)
    normalizer: Tensor = _LogSumExp.apply(users, items[batch.item_nums], share[:, 0], batch.correction)  # type: ignore[no-untyped-call]
    return normalizer - (users * taken).sum()


class _LogSumExp(torch.autograd.Function):
    """Weighted sum over users of log Σ exp(user · item - correction), without holding the logits of all users.

    A block of logits that fits in the cache gives its part of the sum and of the gradients, and is dropped.
    """

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, share: Tensor, correction: Tensor) -> Tensor:
        """Return the sum for users [n, d], items [c, d], weights of the users [n] and the correction of items [c]."""
        total, of_users, of_items = users.new_zeros(()), torch.empty_like(users), torch.zeros_like(items)
        size = max(1, (BLOCK_LOGITS_GPU if users.is_cuda else BLOCK_LOGITS_CPU) // len(items))
        # The products are in half precision where that is several times faster. The sums stay in full precision.
        with torch.autocast(users.device.type, torch.bfloat16, enabled=has_bfloat16(users.device)):
            for first in range(0, len(users), size):
                block, weight = users[first : first + size], share[first : first + size, None]
                p = (block @ items.T).float().sub_(correction)
                largest = p.amax(dim=1, keepdim=True)
                sums = p.sub_(largest).exp_().sum(dim=1, keepdim=True)
                total += (weight * (sums.log() + largest)).sum()
                p.mul_(weight / sums)
                of_users[first : first + size] = p @ items
                of_items += p.T @ block
        ctx.save_for_backward(of_users, of_items)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of users and items."""
        of_users, of_items = ctx.saved_tensors
        return gradients[0] * of_users, gradients[0] * of_items, None, None


def batches(interactions: sp.csr_matrix, steps: int, size: int, random: np.random.Generator) -> Iterator[Batch]:
    """Yield `steps` batches of at most `size` users with a history, shuffled in each epoch."""
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
    """Return the users of a batch such that their logits of `n_items` items (or of a sample) stay in `MAX_LOGITS`."""
    return max(1, MAX_LOGITS // (n_items if n_items <= MAX_FULL_SOFTMAX_ITEMS else SAMPLED_CANDIDATES))


def _positives(history: sp.csr_matrix) -> Tensor:
    """Return the weights of the positive items of a batch of users, float32 [b, n_items].

    A user with n interactions has the weight √n: a compromise between equal weights of users, as in the metrics, and
    equal weights of interactions, which use the data of active users fully.
    """
    counts = np.diff(history.indptr)
    weights = np.repeat(counts**-0.5, counts)
    return csr_tensor(history.indptr, history.indices, weights / weights.sum(), history.shape)


def draw_candidates(popularity: IntArray, most: int, sample: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return candidate items [c] of the softmax and the log of their expected count in the sample [c].

    Items without interactions are never candidates: as negatives only, they would be pushed away from all users.

    Args:
        popularity: number of interactions of each item, int64 [n_items].
        most: with at most this many items, all of them are candidates.
        sample: number of candidates that are drawn otherwise.
        random: random generator of the sample.
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
    """Return A x, float32 [n, d], of a sparse CSR A [n, m] and x [m, d], differentiable in x.

    On a GPU `embedding_bag` computes the product: its order of summation is fixed, forward and backward, whereas the
    sparse products of CUDA's library differ between runs in their last digits, and training amplifies the difference.
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
