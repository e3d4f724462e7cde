"""The parts of a schema: labels, relationship types, roles and RDF names, as a schema file declares them."""

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
    id_type: IdType = Field(
        default="string", description="What keys are where they come back from a model: string, or int (whole numbers)."
    )
    name: str | None = Field(default=None, description="Property shown to people; the key if not given.")
    properties: dict[str, PropertyType] = Field(default_factory=dict, description="Property types, key excluded.")
    text: Names = Field(
        default=(),
        description="Sentences that describe a node. {property}, {RELATIONSHIP:limit}, {neighbours} and, of a user, "
        "{behaviours} are filled in; a sentence with a missing value is left out.",
    )


class RelationshipType(_Strict):
    """A kind of relationship, between any of the `from` labels and any of the `to` labels."""

    from_: Names = Field(alias="from", min_length=1, description="Labels a relationship may start at.")
    to: Names = Field(min_length=1, description="Labels a relationship may end at.")
    properties: dict[str, PropertyType] = Field(default_factory=dict, description="Property types.")


class Behavior(_Strict):
    """What the properties of a behavior mean; a behavior is identified by user, item and time."""

    weight: str | None = Field(default=None, description="Property with the strength, such as a rating.")
    time: str | None = Field(default=None, description="Property with the time: epoch seconds, or an order.")
    split: str | None = Field(default=None, description="Property that says train, valid or test.")


class Roles(_Strict):
    """What labels and types mean to the engine."""

    users: Names = Field(min_length=1, description="Labels whose nodes get recommendations.")
    items: Names = Field(min_length=1, description="Labels whose nodes are recommended.")
    behaviours: dict[str, Behavior] = Field(min_length=1, description="Types from a user to an item.")
    domain: str | None = Field(
        default=None, description="Item property that names the catalog; without it each item label is one."
    )
    same: str | None = Field(
        default=None, description="Type between users of one label who are one person, with an id for each domain."
    )


class RdfNames(_Strict):
    """What labels, types and properties are called in RDF."""

    base: str = Field(default="urn:kgrec:", description="What the IRI of everything without a term begins with.")
    prefixes: dict[str, str] = Field(default_factory=dict, description="Prefix → IRI, for terms and for SPARQL.")
    terms: dict[str, str] = Field(
        default_factory=dict,
        description="Label, type, property or Label.property → IRI or prefix:name; base and name if not given.",
    )


class SchemaParts(_Strict):
    """The keys of a schema file, each of the right type; `Schema` also checks how they fit together."""

    name: str = Field(description="Short name of the schema.")
    nodes: dict[str, NodeLabel] = Field(min_length=1)
    relationships: dict[str, RelationshipType] = Field(min_length=1)
    roles: Roles
    rdf: RdfNames = Field(default_factory=RdfNames)
