"""Validation of a schema: names, endpoints, roles, text templates and RDF names."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from typing import Any

from kgrec.data.schema_parts import Behavior, NodeLabel, RelationshipType, SchemaParts
from kgrec.data.text_template import BEHAVIORS, NEIGHBORS, Limits
from kgrec.errors import listed

MAX_LABELS = 1_000
MAX_PROPERTIES = 2_000
MAX_EDGE_TYPES = 2_000

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
"""RDF prefixes that every schema has."""

_STRANGE = "\x7f-\x9f\ud800-\uf8ff\ufdd0-\ufdef\ufff0-\uffff" + "".join(
    f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 15)
)
"""Control characters, surrogates, private-use and unassigned characters, which are not allowed in an IRI."""

_CHARACTER = rf"(?:[^\x00-\x20<>\"{{}}|\\^`\[\]%#{_STRANGE}\U000f0000-\U0010ffff]|%[0-9A-Fa-f]{{2}})"
_IRI = re.compile(rf"(?:https?://(?![/?:]){_CHARACTER}+|urn:[A-Za-z0-9][A-Za-z0-9-]*:{_CHARACTER}*)(?:#{_CHARACTER}*)?")
_FIXED = ("rdf", "rdfs", "xsd", "kgrec")
"""Prefixes that kgrec's own queries use; a schema cannot redefine them."""

_PREFIX = re.compile(r"[A-Za-z](?:[\w-]*\w)?", re.ASCII)
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names of labels, types and properties."""

FaultPath = tuple[str | int, ...]
Fault = tuple[FaultPath, str, str]


def template_fields(sentence: str) -> list[tuple[str, str]]:
    """Return the (name, format) of every placeholder of a text template's sentence."""
    return [(name, spec or "") for _, name, spec, _ in string.Formatter().parse(sentence) if name is not None]


def type_fault(error: Any) -> Fault:
    """Return the fault that an error of pydantic stands for: a missing or unknown key, or a value of another type."""
    path: FaultPath = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        return path, f"unknown key {path[-1]!r}", "a key of the schema language (docs/reference/schema.md)"
    if error["type"] == "missing":
        return path[:-1], "nothing", f"the key {path[-1]!r}"
    return path, repr(error["input"])[:60], error["msg"].removeprefix("Input should be ")


def reference_faults(schema: SchemaParts) -> Iterator[Fault]:
    """Yield the faults of a schema whose keys are of the right types: names, endpoints, roles, templates, RDF names."""
    if too_many := list(_size_faults(schema)):
        yield from too_many
        return
    yield from _name_faults(schema)
    yield from _endpoint_faults(schema)
    yield from _role_faults(schema)
    yield from _template_faults(schema)
    yield from _rdf_faults(schema)


def _size_faults(schema: SchemaParts) -> Iterator[Fault]:
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


def _name_faults(schema: SchemaParts) -> Iterator[Fault]:
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


def _endpoint_faults(schema: SchemaParts) -> Iterator[Fault]:
    for type_, relationship in schema.relationships.items():
        for end, labels in (("from", relationship.from_), ("to", relationship.to)):
            for label in labels:
                if label not in schema.nodes:
                    yield ("relationships", type_, end), f"missing label {label!r}", _one_of(schema.nodes)
        for reserved in {"src", "dst"} & set(relationship.properties):
            yield ("relationships", type_, "properties", reserved), f"reserved name {reserved!r}", "another name"
        for name in (name for name, kind in relationship.properties.items() if kind == "vector"):
            yield ("relationships", type_, "properties", name), "a vector", "another type; only nodes have vectors"


def _role_faults(schema: SchemaParts) -> Iterator[Fault]:
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


def _same_faults(schema: SchemaParts) -> Iterator[Fault]:
    type_ = schema.roles.same
    if type_ is None:
        return
    if type_ not in schema.relationships:
        yield ("roles", "same"), f"missing relationship type {type_!r}", _one_of(schema.relationships)
        return
    ends = schema.relationships[type_]
    if len(ends.from_) != 1 or ends.from_ != ends.to or ends.from_[0] not in schema.roles.users:
        yield ("roles", "same"), f"{ends.from_} to {ends.to}", "a type from one user label to the same"


def _behavior_faults(schema: SchemaParts, type_: str, behavior: Behavior) -> Iterator[Fault]:
    path: FaultPath = ("roles", "behaviours", type_)
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


def _template_faults(schema: SchemaParts) -> Iterator[Fault]:
    for label, node in schema.nodes.items():
        touching = [t for t, r in schema.relationships.items() if label in (*r.from_, *r.to)]
        sequences = [BEHAVIORS] if label in schema.roles.users else []
        known = [node.key, *node.properties, *touching, NEIGHBORS, *sequences]
        for index, sentence in enumerate(node.text):
            path: FaultPath = ("nodes", label, "text", index)
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


def _rdf_faults(schema: SchemaParts) -> Iterator[Fault]:
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
