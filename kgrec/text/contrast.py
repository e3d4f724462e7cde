"""The loss of fine-tuning: a user's texts are to be nearest to the text of the item that came next."""

from __future__ import annotations

import torch


def whitened(vectors: torch.Tensor, n_items: int, ridge: float) -> torch.Tensor:
    """Return vectors as the text signal compares them: centred, whitened by the items among them, of length 1.

    Gradients flow through the whitening (Ermolov et al., "Whitening for Self-Supervised Representation Learning", ICML
    2021): what it would take back afterwards is not worth learning.

    Args:
        vectors: float32 [n, d], of items, then of users' own texts.
        n_items: how many are of items.
        ridge: as the text signal's.
    """
    parts = [part for part in (vectors[:n_items], vectors[n_items:]) if len(part)]
    centred = torch.cat([part - part.mean(dim=0) for part in parts])
    covariance = centred[:n_items].T @ centred[:n_items] / n_items
    pull = ridge * covariance.diagonal().mean().clamp_min(1e-12)
    root = torch.linalg.cholesky(covariance + pull * torch.eye(len(covariance), device=vectors.device))
    return torch.nn.functional.normalize(torch.linalg.solve_triangular(root, centred.T, upper=False).T, dim=1)


def contrast(
    users: torch.Tensor,
    items: torch.Tensor,
    target: torch.Tensor,
    competes: torch.Tensor,
    log_share: torch.Tensor,
    weight: torch.Tensor,
    temperature: float,
    focal: float,
) -> torch.Tensor:
    """Return the mean of −log p(target | user), p a softmax over the items of the batch.

    InfoNCE (van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018). An item is in a
    batch as often as it is popular; its log share is taken off its score for that (Yi et al., "Sampling-Bias-Corrected
    Neural Modeling for Large Corpus Item Recommendations", RecSys 2019). `focal` lets targets that are found already
    count less (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017).

    Args:
        users: float32 [n, d], rows of length 1.
        items: float32 [m, d], rows of length 1.
        target: int64 [n], row in `items`.
        competes: bool [n, m], true for the target.
        log_share: float32 [m]; zeros for no correction.
        weight: float32 [n].
        temperature: what cosines are divided by.
        focal: exponent of 1 − p.
    """
    scores = (users @ items.T / temperature - log_share).masked_fill(~competes, -torch.inf)
    log_p = torch.log_softmax(scores, dim=1).gather(1, target[:, None])[:, 0]
    lost = -log_p * (1 - log_p.exp()).clamp_min(0) ** focal if focal else -log_p
    return (weight * lost).sum() / weight.sum().clamp_min(1e-9)
