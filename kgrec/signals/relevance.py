"""Conditions on the data under which a setting has an effect; they annotate the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kgrec.data.schema_parts import NodeLabel
from kgrec.data.snapshot import GraphSnapshot


@dataclass(frozen=True)
class RelevantIf:
    """Annotation of a setting that has no effect unless the data meet a condition; the search then skips it.

    Example:
        half_life: Annotated[float | None, RelevantIf(has_times)] = None
    """

    condition: Callable[[GraphSnapshot], bool]


def several_domains(train: GraphSnapshot) -> bool:
    """Return whether the items belong to more than one domain."""
    return len(set(train.item_domains)) > 1


def has_relations(train: GraphSnapshot) -> bool:
    """Return whether the graph has relationships other than behaviors."""
    return bool(train.relations)


def several_relations(train: GraphSnapshot) -> bool:
    """Return whether the graph has several relationship types other than behaviors."""
    return len(train.relations) > 1


def has_item_attributes(train: GraphSnapshot) -> bool:
    """Return whether items have attributes: relationships to nodes other than users."""
    return bool(train.item_attributes.nnz)


def has_user_attributes(train: GraphSnapshot) -> bool:
    """Return whether users have attributes: relationships to nodes other than items."""
    return bool(train.user_attributes.nnz)


def users_are_described(train: GraphSnapshot) -> bool:
    """Return whether the schema gives users a text template or a vector property."""
    return any(_is_described(train.schema.nodes[label]) for label in train.schema.roles.users)


def items_have_vectors(train: GraphSnapshot) -> bool:
    """Return whether the schema gives items a vector property."""
    return any("vector" in train.schema.nodes[label].properties.values() for label in train.schema.roles.items)


def _is_described(label: NodeLabel) -> bool:
    return bool(label.text) or "vector" in label.properties.values()
