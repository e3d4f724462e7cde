"""When a setting matters: conditions on the data, written beside the settings that depend on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kgrec.data.schema_parts import NodeLabel
from kgrec.data.snapshot import GraphSnapshot


@dataclass(frozen=True)
class RelevantIf:
    """Marks a setting that changes nothing unless the data meet a condition; it is not searched then.

    Example:
        half_life: Annotated[float | None, RelevantIf(has_times)] = None
    """

    condition: Callable[[GraphSnapshot], bool]


def several_domains(train: GraphSnapshot) -> bool:
    """Return whether items are of more than one domain."""
    return len(set(train.item_domains)) > 1


def has_relations(train: GraphSnapshot) -> bool:
    """Return whether there are relationships that are no behaviors."""
    return bool(train.relations)


def several_relations(train: GraphSnapshot) -> bool:
    """Return whether there are several types of relationships that are no behaviors."""
    return len(train.relations) > 1


def has_item_attributes(train: GraphSnapshot) -> bool:
    """Return whether relationships lead from items to anything but users."""
    return bool(train.item_attributes.nnz)


def has_user_attributes(train: GraphSnapshot) -> bool:
    """Return whether relationships lead from users to anything but items."""
    return bool(train.user_attributes.nnz)


def users_are_described(train: GraphSnapshot) -> bool:
    """Return whether users can have text or vectors of their own."""
    return any(_is_described(train.schema.nodes[label]) for label in train.schema.roles.users)


def _is_described(label: NodeLabel) -> bool:
    return bool(label.text) or "vector" in label.properties.values()
