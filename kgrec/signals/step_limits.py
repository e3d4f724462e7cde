"""Size limits of a training step. Estimates of cost and memory use them too, so this module does not import torch."""

from typing import Final

MAX_LOGITS: Final = 32_000_000
"""Logits of a training step, users × candidate items, at most (128 MB; four times that with gradients)."""
MAX_BATCH_USERS: Final = 512
"""Users of a training step of the cross-domain autoencoder, at most."""
