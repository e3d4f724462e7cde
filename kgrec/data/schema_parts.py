"""Models of the sections of a schema file: node labels, relationship types, roles and RDF names."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PropertyType = Literal["string", "int", "float", "bool", "datetime", "strings", "vector"]
IdType = Literal["string", "int"]
EdgeType = tuple[str, str, str]
"""(source label, relationship type, target label), as in torch-geometric."""


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NodeLabel(_Strict):
    """A kind of node."""

    key: str = Field(description="Property that identifies a node of this label; stored as a string.")
    id_type: IdType = Field(default="string", description="Type of the keys in a model's results: string or int.")
    name: str | None = Field(default=None, description="Property used as the display name; default: the key.")
    properties: dict[str, PropertyType] = Field(default_factory=dict, description="Property types, key excluded.")
    text: Names = Field(
        default=(),
        description="Sentences that describe a node. The placeholders {property}, {RELATIONSHIP:limit}, {neighbours} "
        "and, for a user, {behaviours} are filled in; a sentence with a missing value is left out.",
    )


class RelationshipType(_Strict):
    """A kind of relationship, between any of the `from` labels and any of the `to` labels."""

    from_: Names = Field(alias="from", min_length=1, description="Labels a relationship may start at.")
    to: Names = Field(min_length=1, description="Labels a relationship may end at.")
    properties: dict[str, PropertyType] = Field(default_factory=dict, description="Property types.")


class Behavior(_Strict):
    """Meaning of the properties of a behavior; a behavior is identified by user, item and time."""

    weight: str | None = Field(default=None, description="Property with the strength, such as a rating.")
    time: str | None = Field(
        default=None, description="Property with the time: epoch seconds, or numbers that give the order."
    )
    split: str | None = Field(
        default=None, description="Property with the split of the behavior: train, valid or test."
    )


class Roles(_Strict):
    """Roles of labels and relationship types in recommendation."""

    users: Names = Field(min_length=1, description="Labels of the nodes that receive recommendations.")
    items: Names = Field(min_length=1, description="Labels of the nodes that are recommended.")
    behaviours: dict[str, Behavior] = Field(
        min_length=1, description="Relationship types from users to items (interactions)."
    )
    domain: str | None = Field(
        default=None, description="Item property with the domain (catalog); default: each item label is a domain."
    )
    same: str | None = Field(
        default=None, description="Relationship type that links the accounts of one person, with one id per domain."
    )


class RdfNames(_Strict):
    """Names of labels, relationship types and properties in RDF."""

    base: str = Field(default="urn:kgrec:", description="IRI prefix of every name without a term.")
    prefixes: dict[str, str] = Field(default_factory=dict, description="Prefix → IRI, for terms and for SPARQL.")
    terms: dict[str, str] = Field(
        default_factory=dict,
        description="Label, type, property or Label.property → IRI or prefix:name; default: base followed by the name.",
    )


class SchemaParts(_Strict):
    """The keys of a schema file and their types; `Schema` also checks their references to each other."""

    name: str = Field(description="Short name of the schema.")
    nodes: dict[str, NodeLabel] = Field(min_length=1)
    relationships: dict[str, RelationshipType] = Field(min_length=1)
    roles: Roles
    rdf: RdfNames = Field(default_factory=RdfNames)
