"""The vocabulary of a graph, read from one YAML file: labels, relationship types, properties, roles, text templates.

Example:

    name: movies
    nodes:
      User:  {key: user_id, properties: {age: int}, text: ["watched {RATED:10}"]}
      Movie: {key: item_id, name: title, properties: {title: string}, text: ["{title}", "genres: {HAS_GENRE}"]}
      Genre: {key: genre_id}
    relationships:
      RATED:     {from: User, to: Movie, properties: {rating: float, timestamp: float}}
      HAS_GENRE: {from: Movie, to: Genre}
    roles:
      users: User
      items: Movie
      behaviours:
        RATED: {weight: rating, time: timestamp}
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import string
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kgrec._util import html
from kgrec._util.safe_yaml import described, read_document, read_text
from kgrec.data.text_template import BEHAVIORS, NEIGHBORS, Limits
from kgrec.errors import Problem, SchemaError, UsageError, listed

PropertyType = Literal["string", "int", "float", "bool", "datetime", "strings", "vector"]
IdType = Literal["string", "int"]
EdgeType = tuple[str, str, str]
"""(source label, relationship type, target label), as in torch-geometric."""

MAX_LABELS = 1_000
MAX_PROPERTIES = 2_000
MAX_EDGE_TYPES = 2_000
MAX_WRITTEN_TYPES = 500
"""Edge types with rows that one source may have: the embedded engine holds 8 MB for each until all are written."""

RESERVED_TYPES = ("RECOMMENDED",)
RESERVED_LABELS = ("Published",)
RESERVED_PROPERTIES = ("embedding",)
PREFIXES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "schema": "http://schema.org/",
    "kgrec": "urn:kgrec:vocabulary#",
}
"""Prefixes that every schema's RDF names know."""

_STRANGE = "\x7f-\x9f\ud800-\uf8ff\ufdd0-\ufdef\ufff0-\uffff" + "".join(
    f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 15)
)
"""Controls, halves of characters, private and unassigned ones, which an IRI cannot hold."""

_CHARACTER = rf"(?:[^\x00-\x20<>\"{{}}|\\^`\[\]%#{_STRANGE}\U000f0000-\U0010ffff]|%[0-9A-Fa-f]{{2}})"
_IRI = re.compile(rf"(?:https?://(?![/?:]){_CHARACTER}+|urn:[A-Za-z0-9][A-Za-z0-9-]*:{_CHARACTER}*)(?:#{_CHARACTER}*)?")
_FIXED = ("rdf", "rdfs", "xsd", "kgrec")
"""Prefixes that kgrec's own queries use."""

_PREFIX = re.compile(r"[A-Za-z](?:[\w-]*\w)?", re.ASCII)
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names of labels, types and properties."""

_Path = tuple[str | int, ...]
_Fault = tuple[_Path, str, str]


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


class Schema(_Strict):
    """A checked schema. Make one with `Schema.load`, `Schema.parse` or `Schema.from_dict`."""

    name: str = Field(description="Short name of the schema.")
    nodes: dict[str, NodeLabel] = Field(min_length=1)
    relationships: dict[str, RelationshipType] = Field(min_length=1)
    roles: Roles
    rdf: RdfNames = Field(default_factory=RdfNames)

    @classmethod
    def load(cls, source: str | Path) -> Schema:
        """Read a schema from a YAML file, or by name from the shipped ones (`movies`, `commerce`).

        Raises:
            SchemaError: with every fault found, its file and line.
            UsageError: no such file and no such shipped schema.
        """
        path = Path(source)
        if path.is_file():
            try:
                text = read_text(path)
            except yaml.YAMLError as error:
                raise SchemaError([_yaml_problem(str(path), error)]) from None
            return cls.parse(text, where=str(path))
        shipped = resources.files("graph_schema")
        if not (shipped / f"{source}.yaml").is_file():
            names = sorted(f.name[:-5] for f in shipped.iterdir() if f.name.endswith(".yaml"))
            raise UsageError(f"no schema file {str(source)!r}; expected a path or one of {', '.join(names)}")
        return cls.parse((shipped / f"{source}.yaml").read_text(encoding="utf-8"), where=f"{source}.yaml")

    @classmethod
    def parse(cls, text: str, where: str = "schema") -> Schema:
        """Read a schema from YAML text; `where` names it in errors.

        Raises:
            SchemaError: with every fault found, its file and line.
        """
        try:
            data, tree = read_document(text)
        except yaml.YAMLError as error:
            raise SchemaError([_yaml_problem(where, error)]) from None
        lines: dict[_Path, int] = {(): 1}
        twice = list(_walk(tree, (), lines)) if tree else []
        faults: list[_Fault] = [(path, f"{path[-1]!r} given twice", "one definition") for path in twice]
        return cls._checked(data, where, lines, faults)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "schema") -> Schema:
        """Make a schema from plain dictionaries, with the same checks as a file.

        Raises:
            SchemaError: with every fault found.
        """
        return cls._checked(dict(data), where, {}, [])

    @classmethod
    def _checked(cls, data: Any, where: str, lines: Mapping[_Path, int], faults: list[_Fault]) -> Schema:
        schema = None
        try:
            schema = cls.model_validate(data)
            faults += _reference_faults(schema)
        except ValidationError as error:
            faults += [_pydantic_fault(e) for e in error.errors()]
        if faults or schema is None:
            problems = [_problem(where, lines, *fault) for fault in faults]
            raise SchemaError(sorted(problems, key=lambda problem: problem.row or 0))
        return schema

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries that `from_dict` turns back into an equal schema."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def to_yaml(self) -> str:
        """Return YAML text that `parse` turns back into an equal schema, for a person to edit."""
        return str(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=110))

    def _repr_html_(self) -> str:
        nodes = [(label, node.key, ", ".join(node.properties)) for label, node in self.nodes.items()]
        edges = [
            (type_, ", ".join(relation.from_), ", ".join(relation.to), "yes" if type_ in self.roles.behaviours else "")
            for type_, relation in self.relationships.items()
        ]
        return (
            html.title(f"Schema {self.name}")
            + html.table(["node label", "key", "properties"], nodes)
            + html.table(["relationship type", "from", "to", "interaction"], edges)
        )

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the schema's content."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def edge_types(self, type_: str) -> list[EdgeType]:
        """Return every (source label, type, target label) a relationship type may connect."""
        relationship = self.relationships[type_]
        return [(a, type_, b) for a, b in itertools.product(relationship.from_, relationship.to)]

    def all_edge_types(self) -> list[EdgeType]:
        """Return the edge types of every relationship type, in the schema's order."""
        return [edge_type for type_ in self.relationships for edge_type in self.edge_types(type_)]

    def is_behavior(self, edge_type: EdgeType) -> bool:
        """Say whether an edge type is a user's behavior towards an item."""
        return edge_type[1] in self.roles.behaviours

    def edge_key(self, type_: str) -> list[str]:
        """Return the properties that, with both ends, identify a relationship: a behavior's time, or none."""
        behavior = self.roles.behaviours.get(type_)
        return [behavior.time] if behavior and behavior.time else []

    def with_relationships(self, found: Mapping[str, RelationshipType]) -> Schema:
        """Return the schema plus relationship types that arrived only as data.

        A type that is already declared keeps its declaration.

        Raises:
            SchemaError: a new type points to a label that does not exist.
        """
        data = self.to_dict()
        new = {t: r.model_dump(mode="json", by_alias=True) for t, r in found.items()}
        data["relationships"] = {**new, **data["relationships"]}
        return Schema.from_dict(data, where=self.name)


def template_fields(sentence: str) -> list[tuple[str, str]]:
    """Return the (name, format) of every placeholder of a text template's sentence."""
    return [(name, spec or "") for _, name, spec, _ in string.Formatter().parse(sentence) if name is not None]


def _yaml_problem(where: str, error: yaml.YAMLError) -> Problem:
    reason, line = described(error)
    return Problem(where, f"broken YAML ({reason})", "valid YAML", line or 1)


def _walk(node: yaml.Node, path: _Path, lines: dict[_Path, int]) -> Iterator[_Path]:
    """Note the line of every key below `node`; yield the path of a key given twice."""
    if isinstance(node, yaml.MappingNode):
        last: dict[str, yaml.Node] = {}
        for key, value in node.value:
            below = (*path, key.value)
            if key.value in last:
                yield below
            # YAML keeps the last definition: so do the lines.
            last[key.value], lines[below] = value, key.start_mark.line + 1
        for name, value in last.items():
            yield from _walk(value, (*path, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*path, index)] = value.start_mark.line + 1
            yield from _walk(value, (*path, index), lines)


def _problem(where: str, lines: Mapping[_Path, int], path: _Path, found: str, expected: str) -> Problem:
    known = path
    while known and known not in lines:
        known = known[:-1]
    return Problem(where, found, expected, lines.get(known), ".".join(str(p) for p in path) or None)


def _pydantic_fault(error: Any) -> _Fault:
    path: _Path = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        return path, f"unknown key {path[-1]!r}", "a key of the schema language (docs/reference/schema.md)"
    if error["type"] == "missing":
        return path[:-1], "nothing", f"the key {path[-1]!r}"
    return path, repr(error["input"])[:60], error["msg"].removeprefix("Input should be ")


def _reference_faults(schema: Schema) -> Iterator[_Fault]:
    if too_many := list(_size_faults(schema)):
        yield from too_many
        return
    yield from _name_faults(schema)
    yield from _endpoint_faults(schema)
    yield from _role_faults(schema)
    yield from _template_faults(schema)
    yield from _rdf_faults(schema)


def _size_faults(schema: Schema) -> Iterator[_Fault]:
    n_types = sum(len(r.from_) * len(r.to) for r in schema.relationships.values())
    kinds: dict[str, Mapping[str, NodeLabel] | Mapping[str, RelationshipType]]
    kinds = {"nodes": schema.nodes, "relationships": schema.relationships}
    for part, name, kind in ((part, *pair) for part, named in kinds.items() for pair in named.items()):
        if len(kind.properties) > MAX_PROPERTIES:
            yield (part, name, "properties"), f"{len(kind.properties):,} properties", f"at most {MAX_PROPERTIES:,}"
    if len(schema.nodes) > MAX_LABELS:
        yield ("nodes",), f"{len(schema.nodes):,} labels", f"at most {MAX_LABELS:,}"
    if n_types > MAX_EDGE_TYPES:
        expected = f"at most {MAX_EDGE_TYPES:,}, each type counted for each pair of its labels"
        yield ("relationships",), f"{n_types:,} relationship types", expected


def _name_faults(schema: Schema) -> Iterator[_Fault]:
    parts: list[tuple[str, Mapping[str, NodeLabel] | Mapping[str, RelationshipType]]] = [
        ("nodes", schema.nodes),
        ("relationships", schema.relationships),
    ]
    for part, kinds in parts:
        for name, kind in kinds.items():
            for path, word in [((part, name), name), *(((part, name, "properties", p), p) for p in kind.properties)]:
                if not IDENTIFIER.fullmatch(word):
                    yield path, f"name {word!r}", "letters, digits and _, not starting with a digit"
                if word in RESERVED_PROPERTIES or word in (RESERVED_LABELS if part == "nodes" else RESERVED_TYPES):
                    yield path, f"reserved name {word!r}", "another name; kgrec writes this one itself"
    for label, node in schema.nodes.items():
        if node.key in node.properties:
            yield ("nodes", label, "properties", node.key), f"the key {node.key!r}", "properties without the key"
        if node.name is not None and node.name not in (node.key, *node.properties):
            yield ("nodes", label, "name"), f"{node.name!r}", _one_of([node.key, *node.properties])


def _endpoint_faults(schema: Schema) -> Iterator[_Fault]:
    for type_, relationship in schema.relationships.items():
        for end, labels in (("from", relationship.from_), ("to", relationship.to)):
            for label in labels:
                if label not in schema.nodes:
                    yield ("relationships", type_, end), f"missing label {label!r}", _one_of(schema.nodes)
        for reserved in {"src", "dst"} & set(relationship.properties):
            yield ("relationships", type_, "properties", reserved), f"reserved name {reserved!r}", "another name"
        for name in (name for name, kind in relationship.properties.items() if kind == "vector"):
            yield ("relationships", type_, "properties", name), "a vector", "another type; only nodes have vectors"


def _role_faults(schema: Schema) -> Iterator[_Fault]:
    roles = schema.roles
    for role, labels in (("users", roles.users), ("items", roles.items)):
        for label in labels:
            if label not in schema.nodes:
                yield ("roles", role), f"missing label {label!r}", _one_of(schema.nodes)
    for label in set(roles.users) & set(roles.items):
        yield ("roles", "items"), f"{label!r}, which is a user label", "labels of items only"
    for type_, behavior in roles.behaviours.items():
        yield from _behavior_faults(schema, type_, behavior)
    for label in roles.items:
        if roles.domain and label in schema.nodes and roles.domain not in schema.nodes[label].properties:
            yield ("roles", "domain"), f"{roles.domain!r}", f"a property of {label}"
    yield from _same_faults(schema)


def _same_faults(schema: Schema) -> Iterator[_Fault]:
    type_ = schema.roles.same
    if type_ is None:
        return
    if type_ not in schema.relationships:
        yield ("roles", "same"), f"missing relationship type {type_!r}", _one_of(schema.relationships)
        return
    ends = schema.relationships[type_]
    if len(ends.from_) != 1 or ends.from_ != ends.to or ends.from_[0] not in schema.roles.users:
        yield ("roles", "same"), f"{ends.from_} to {ends.to}", "a type from one user label to the same"


def _behavior_faults(schema: Schema, type_: str, behavior: Behavior) -> Iterator[_Fault]:
    path: _Path = ("roles", "behaviours", type_)
    relationship = schema.relationships.get(type_)
    if relationship is None:
        yield path, f"missing relationship type {type_!r}", _one_of(schema.relationships)
        return
    if not (set(relationship.from_) <= set(schema.roles.users) and set(relationship.to) <= set(schema.roles.items)):
        yield path, f"{relationship.from_} to {relationship.to}", "a type from users to items"
    kinds = {"weight": ("int", "float"), "time": ("int", "float", "datetime"), "split": ("string",)}
    for meaning, allowed in kinds.items():
        name = getattr(behavior, meaning)
        if name is not None and relationship.properties.get(name) not in allowed:
            found = f"{name!r} ({relationship.properties.get(name, 'not a property')})"
            yield (*path, meaning), found, f"a property of {type_} of type {' or '.join(allowed)}"


def _template_faults(schema: Schema) -> Iterator[_Fault]:
    for label, node in schema.nodes.items():
        touching = [t for t, r in schema.relationships.items() if label in (*r.from_, *r.to)]
        sequences = [BEHAVIORS] if label in schema.roles.users else []
        known = [node.key, *node.properties, *touching, NEIGHBORS, *sequences]
        for index, sentence in enumerate(node.text):
            path: _Path = ("nodes", label, "text", index)
            try:
                fields = template_fields(sentence)
            except ValueError as error:
                yield path, f"{sentence!r}: {error}", "a template such as 'title: {title}'"
                continue
            for name, spec in fields:
                if name not in known:
                    yield path, f"{{{name}}}, which {label} does not have", _one_of(known)
                if node.properties.get(name) == "vector":
                    yield path, f"{{{name}}}, a vector", "something that can be read; vectors are used without a text"
                limits = Limits.parse(spec)
                if limits is None or (limits.names and name in (node.key, *node.properties)):
                    yield path, f"{{{name}:{spec}}}", "60 tokens, or of a relationship 5, or 5, 60 tokens"


def _rdf_faults(schema: Schema) -> Iterator[_Fault]:
    kinds: dict[str, NodeLabel | RelationshipType] = {**schema.nodes, **schema.relationships}
    properties = {(name, p) for name, kind in kinds.items() for p in kind.properties}
    properties |= {(label, node.key) for label, node in schema.nodes.items()}
    known = {*kinds, *(p for _, p in properties), *(f"{owner}.{p}" for owner, p in properties)}
    if not _IRI.fullmatch(schema.rdf.base):
        yield ("rdf", "base"), repr(schema.rdf.base), "an IRI, such as http://example.org/shop/"
    for prefix, iri in schema.rdf.prefixes.items():
        if not _IRI.fullmatch(iri):
            yield ("rdf", "prefixes", prefix), repr(iri), "an IRI, such as http://example.org/shop/"
        if not _PREFIX.fullmatch(prefix):
            yield ("rdf", "prefixes", prefix), repr(prefix), "a prefix of letters, digits, - and _"
        if prefix in _FIXED and iri != PREFIXES[prefix]:
            yield ("rdf", "prefixes", prefix), repr(iri), f"{PREFIXES[prefix]}, as everywhere, or another prefix"
    prefixes = {**PREFIXES, **schema.rdf.prefixes}
    for name, term in schema.rdf.terms.items():
        if name not in known:
            yield ("rdf", "terms", name), f"{name!r}", "a label, a type, a property, or Label.property"
        prefix, _, local = term.partition(":")
        if not _IRI.fullmatch(prefixes[prefix] + local if prefix in prefixes else term):
            yield ("rdf", "terms", name), repr(term), f"an IRI, or a name with a prefix: {', '.join(prefixes)}"


def _one_of(names: Any) -> str:
    return "one of " + listed(names)
