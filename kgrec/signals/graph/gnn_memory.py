"""Memory estimate of LightGCN training."""

from __future__ import annotations

from typing import Any, Final

from kgrec._util.device import best_device, device_memory
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.step_limits import MAX_LOGITS

DEVICE_MEMORY_SHARE: Final = 0.5
"""Default share of the device's memory that training may use."""
VECTORS_PER_NODE: Final = 8
"""Vectors per node beside those of the layers: parameter, gradient, Adam's two, initial and sum with gradients."""
ENTRY_BYTES: Final = 48
"""Bytes of an adjacency entry: column, edge, weights and copies. An edge has two entries."""
LOGIT_BYTES: Final = 16
"""Bytes per logit of a step: more than a block of logits takes, so that memory for temporary arrays is left."""


def given_memory(settings: Any) -> int:
    """Return the bytes that training may use: the setting `memory`, or `DEVICE_MEMORY_SHARE` of the device's memory."""
    return settings.memory or int(DEVICE_MEMORY_SHARE * device_memory(best_device("cuda")))


def whole_graph_bytes(train: GraphSnapshot, settings: Any) -> int:
    """Return the approximate bytes of a training step over the complete graph."""
    edges = train.interactions.nnz + sum(len(source) for source, _ in train.relations.values())
    logits = min(train.n_users * train.n_items, MAX_LOGITS)
    return train.n_nodes * node_bytes(settings) + 2 * edges * ENTRY_BYTES + logits * LOGIT_BYTES


def node_bytes(settings: Any) -> int:
    """Return the approximate bytes of one node's vectors in a training step."""
    return 4 * int(settings.dim) * (int(settings.layers) + VECTORS_PER_NODE)
