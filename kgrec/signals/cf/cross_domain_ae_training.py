"""Training of the cross-domain autoencoder.

This module imports torch; import it in functions that train only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from kgrec._util.device import best_device
from kgrec._util.progress import track
from kgrec._util.types import FloatArray, IntArray
from kgrec.data.histories import over_root_length
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.domain_weighting import items_by_domain
from kgrec.signals.sampled_softmax import batch_size, batches, csr_tensor, softmax_loss, sparse_product
from kgrec.signals.step_limits import MAX_BATCH_USERS

INIT_DEVIATION: Final = 0.01
"""Standard deviation of the initial vectors."""
LEARNING_RATE: Final = 3e-3
WEIGHT_DECAY: Final = 0.3
"""Weight decay of the item vectors; the biases have none."""


def train_cross_domain_ae(train: GraphSnapshot, domains: list[int], settings: Any, seed: int) -> dict[str, FloatArray]:
    """Return the trained item vectors and biases; see `CrossDomainAE.state`.

    Args:
        train: the train snapshot.
        domains: indices of the target domains.
        settings: `CrossDomainAESettings`.
        seed: seed of initialization, batches and dropout.

    Returns:
        `source` and `target`, float32 [n_items, dim], and `bias`, float32 [n_items].
    """
    random, device = np.random.default_rng(seed), best_device("cuda")
    source, target, bias = _initial_parameters(train, domains, settings.dim, random, device)
    optimizer = torch.optim.AdamW(
        [{"params": [source, target], "weight_decay": WEIGHT_DECAY}, {"params": [bias], "weight_decay": 0.0}],
        lr=LEARNING_RATE,
        fused=True,
    )
    pairs = [_Pairs.from_snapshot(train, items) for n, items in enumerate(items_by_domain(train)) if n in domains]
    drawn = [batches(each.here, settings.steps, each.batch_size, random) for each in pairs]
    for step in track(zip(*drawn, strict=True), "Training the cross-domain autoencoder", total=settings.steps):
        losses = []
        for each, batch in zip(pairs, step, strict=True):
            history = _dropped(each.out_of_domain[batch.user_nums.numpy()], settings.dropout, random).to(device)
            users, items = sparse_product(history, source), each.items.to(device)
            # The bias is one more dimension, in which all users are 1.
            users, outputs = _with(users, torch.ones_like(users[:, :1])), _with(target[items], bias[items])
            losses.append(softmax_loss(users, outputs, batch.to(device)))
        optimizer.zero_grad()
        torch.autograd.backward(losses)
        optimizer.step()
    learned = {"source": source, "target": target, "bias": bias[:, 0]}
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in learned.items()}


def _initial_parameters(
    train: GraphSnapshot, domains: list[int], dim: int, random: np.random.Generator, device: str
) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    """Return the item vectors as input and as output, float32 [n_items, dim], and the item biases [n_items, 1]."""
    source, target = (random.normal(0, INIT_DEVIATION, (train.n_items, dim)) for _ in range(2))
    # Output vectors of items outside the target domains get no gradient; with 0 these items are scored by popularity.
    target[~np.isin(train.item_domain_nums, domains)] = 0
    bias = np.log1p(np.bincount(train.interactions.indices, minlength=train.n_items))[:, None]
    return _parameter(source, device), _parameter(target, device), _parameter(bias, device)


@dataclass(frozen=True)
class _Pairs:
    """Training pairs of one target domain: histories of users active in it and in other domains.

    Attributes:
        out_of_domain: CSR [n_users, n_items], interactions in other domains (input).
        here: CSR [n_users, m], interactions in the domain (output).
        items: int64 [m], the domain's items.
    """

    out_of_domain: sp.csr_matrix
    here: sp.csr_matrix
    items: Tensor

    @classmethod
    def from_snapshot(cls, train: GraphSnapshot, items: IntArray) -> Self:
        """Return the pairs of the domain with `items`; rows of users who lack the input or the output are empty."""
        is_here = np.isin(np.arange(train.n_items), items).astype(np.float32)
        out_of_domain = train.interactions @ sp.diags(1 - is_here, format="csr")
        out_of_domain.eliminate_zeros()
        others = sp.diags((np.diff(out_of_domain.indptr) > 0).astype(np.float32))
        here = sp.csr_matrix(others @ train.interactions[:, items])
        here.eliminate_zeros()
        return cls(sp.csr_matrix(out_of_domain), here, torch.from_numpy(items))

    @property
    def batch_size(self) -> int:
        """Users of a training step."""
        return min(MAX_BATCH_USERS, batch_size(self.here.shape[1]))


def _parameter(values: npt.NDArray[Any], device: str) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.astype(np.float32)).to(device))


def _dropped(history: sp.csr_matrix, dropout: float, random: np.random.Generator) -> Tensor:
    """Return length-normalized histories with dropout of items; the rest is scaled up to keep the expected sum."""
    scaled = over_root_length(history)
    keep = random.random(scaled.nnz) >= dropout
    return csr_tensor(scaled.indptr, scaled.indices, scaled.data * keep / (1 - dropout), scaled.shape)


def _with(vectors: Tensor, last: Tensor) -> Tensor:
    return torch.cat([vectors, last], dim=1)
