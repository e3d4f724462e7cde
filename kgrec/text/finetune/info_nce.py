"""InfoNCE loss of fine-tuning: a user's vector should be closest to that of the next item."""

from __future__ import annotations

import torch


def contrast(
    scores: torch.Tensor, target: torch.Tensor, competes: torch.Tensor, weight: torch.Tensor, focal: float
) -> torch.Tensor:
    """Return the mean of −log p(target | user), p a softmax over the items of the batch.

    InfoNCE (van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018). Popular items
    are more often in a batch; the caller corrects that by subtracting their log sampling probability (Yi et al.,
    "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019). `focal` gives less
    weight to targets with a high p (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017).

    Args:
        scores: float32 [n users, m items], cosines divided by the temperature, less log sampling probabilities.
        target: int64 [n], column of the item.
        competes: bool [n, m], items in the softmax; true for the target.
        weight: float32 [n].
        focal: exponent of 1 − p.
    """
    log_p = torch.log_softmax(scores.masked_fill(~competes, -torch.inf), dim=1).gather(1, target[:, None])[:, 0]
    lost = -log_p * (1 - log_p.exp()).clamp_min(0) ** focal if focal else -log_p
    return (weight * lost).sum() / weight.sum().clamp_min(1e-9)
