"""The loss of fine-tuning: a user's texts are to be nearest to the text of the item that came next."""

from __future__ import annotations

import torch


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
