"""How much memory the training of the graph network takes."""

from __future__ import annotations

from typing import Any, Final

from kgrec._util.device import best_device, device_memory
from kgrec.data.snapshot import GraphSnapshot
from kgrec.signals.sampled_softmax import MAX_LOGITS

DEVICE_MEMORY_SHARE: Final = 0.5
"""Part of a device's memory that training may take if no other bound is given."""
VECTORS_PER_NODE: Final = 8
"""Vectors of a node beside the layers': learned, gradient, Adam's two, first and summed with their gradients."""
ENTRY_BYTES: Final = 48
"""Column, edge, weights and copies of an entry of the adjacency; an edge has two."""
LOGIT_BYTES: Final = 16
"""A logit with and without its correction, its exponential and its gradient."""


def given_memory(settings: Any) -> int:
    """Return the bytes that training may take: the setting `memory`, or `DEVICE_MEMORY_SHARE` of the device's."""
    return settings.memory or int(DEVICE_MEMORY_SHARE * device_memory(best_device("cuda")))


def whole_graph_bytes(train: GraphSnapshot, settings: Any) -> int:
    """Return roughly how many bytes a training step over the whole graph holds."""
    edges = train.interactions.nnz + sum(len(source) for source, _ in train.relations.values())
    logits = min(train.n_users * train.n_items, MAX_LOGITS)
    return train.n_nodes * node_bytes(settings) + 2 * edges * ENTRY_BYTES + logits * LOGIT_BYTES


def node_bytes(settings: Any) -> int:
    """Return roughly how many bytes the vectors of one node take in a training step."""
    return 4 * int(settings.dim) * (int(settings.layers) + VECTORS_PER_NODE)
