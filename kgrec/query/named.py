"""Named queries: Cypher templates for exploring a graph, which are filled from its schema.

Each file of `graph_schema/queries` starts with comments: a description, then one line per parameter,

    // $user (user): the user
    // $k (number, default 20): maximum number of rows

Placeholders in the query are filled from the schema: `<USER>`, `<ITEM>`, `<NODE>` (labels), `<BEHAVIOUR>` (types from
users to items), `<ATTRIBUTE>` (all other types at items), `n.<USER_KEY>`, `n.<ITEM_KEY>`, `n.<ITEM_NAME>`, and for a
node of any label `n.<KEY>`, `n.<NAME>`; `<LABEL n>` is its label. A parameter in angle brackets names a property.

A `.sparql` file of the same name, if there is one, is the query for RDF graphs. In it `?i a <ITEM>` matches any of the
labels; `<BEHAVIOUR>`, `<AROUND>` (an attribute in either direction), keys and names are property paths; `<ATTRIBUTES>`,
`<TYPES>` and `<LABELS>` are pairs of IRI and name for VALUES.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from itertools import chain
from typing import Any

import pandas as pd
import pyarrow as pa

from kgrec.data.columns import ARROW_TYPES, as_type
from kgrec.data.schema import Schema
from kgrec.errors import UnknownItem, UnknownUser, UsageError, near_matches
from kgrec.rdf.encode import literals
from kgrec.rdf.iris import term
from kgrec.store.base import GraphStore

_PARAMETER = re.compile(r"// [$<](?P<name>\w+)>? \((?P<kind>[\w ]+)(?:, default (?P<default>\d+))?\): (?P<meaning>.+)")
_PROPERTY = re.compile(r"(\w+)\.<([A-Z_]+)>")
_LABEL = re.compile(r"<LABEL (\w+)>")
_CLASS = re.compile(r"(\?\w+) a <(USER|ITEM)>")
_WORD = re.compile(r"<(\w+)>")
_VALUE = re.compile(r"\$(\w+)")
_PLACEHOLDER = re.compile(r"<([A-Z]+)>")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a named query.

    Attributes:
        name: name of the parameter.
        kind: "user", "item" or "node" (an id), "number", "user property", or "value of" another parameter.
        meaning: description for the user.
        default: default value; None if the parameter is required.
    """

    name: str
    kind: str
    meaning: str
    default: int | None

    def __str__(self) -> str:
        return self.name if self.default is None else f"{self.name}={self.default}"


@dataclass(frozen=True)
class NamedQuery:
    """A query template of `graph_schema/queries`."""

    name: str
    what: str
    parameters: tuple[Parameter, ...]
    cypher: str
    sparql: str | None

    @classmethod
    def parse(cls, name: str, text: str, sparql: str | None) -> NamedQuery:
        """Parse a query file; `sparql` is the text of the `.sparql` file of the same name, if there is one."""
        header, _, cypher = text.partition("\n\n")
        matches = [_PARAMETER.fullmatch(line) for line in header.splitlines()]
        parameters = tuple(
            Parameter(m["name"], m["kind"], m["meaning"], int(m["default"]) if m["default"] else None)
            for m in matches
            if m
        )
        return cls(name, header.splitlines()[0].removeprefix("// "), parameters, cypher, sparql)


def named_queries() -> pd.DataFrame:
    """Return the named queries: columns name, what (description), parameters (with their defaults)."""
    rows = [(q.name, q.what, ", ".join(map(str, q.parameters))) for q in _queries().values()]
    return pd.DataFrame(rows, columns=["name", "what", "parameters"])


def run_named(store: GraphStore, name: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Run a named query.

    Args:
        store: the graph.
        name: one of `named_queries()`.
        parameters: values of its parameters; parameters with a default are optional.

    Returns:
        The result rows of the query.

    Raises:
        UsageError: an unknown query, a missing or unknown parameter, or nothing is published yet.
        UnknownUser, UnknownItem: no node has the id.
        StoreError: the graph is empty.
    """
    query = _find(name)
    schema = store.require_schema()
    given = _complete(query, parameters or {})
    properties = {p.name: _user_property(schema, given.pop(p.name)) for p in _of_kind(query, "user property")}
    values = {p.name: _value(schema, p, given[p.name], properties) for p in query.parameters if p.name in given}
    _check_ids(store, schema, query, values)
    if "RECOMMENDED" in query.cypher:
        _check_published(store)
    if store.language == "cypher":
        return store.cypher(fill(query.cypher, schema, properties, store.label_of), values)
    if query.sparql is None:
        raise UsageError(f"query {name!r} has no SPARQL version. Copy the graph to another engine: kgrec copy")
    return store.sparql(fill_sparql(query.sparql, schema, properties, values))


def fill(
    cypher: str, schema: Schema, properties: Mapping[str, str] | None = None, label_of: str = GraphStore.label_of
) -> str:
    """Return a Cypher query whose placeholders are replaced by a schema's labels, types and properties.

    Args:
        cypher: the query template.
        schema: schema of the graph.
        properties: parameter in angle brackets → property.
        label_of: the engine's expression for the label of a node; see `GraphStore.label_of`.

    Raises:
        UsageError: the query needs relationships besides behaviors, and the schema has none.
    """
    cypher = _LABEL.sub(lambda match: label_of.format(match[1]), cypher)
    for name, property_ in (properties or {}).items():
        cypher = cypher.replace(f"<{name}>", _quoted(property_))
    attributes = _attribute_types(schema)
    if "<ATTRIBUTE>" in cypher and not attributes:
        raise UsageError(f"the query needs relationships other than behaviors. Schema {schema.name!r} has none")
    words = {
        "USER": schema.roles.users,
        "ITEM": schema.roles.items,
        "NODE": schema.nodes,
        "BEHAVIOUR": schema.roles.behaviours,
        "ATTRIBUTE": attributes,
    }
    cypher = _PROPERTY.sub(lambda match: _property(match[1], _property_names(schema, match[2])), cypher)
    return _PLACEHOLDER.sub(lambda match: "|".join(map(_quoted, words[match[1]])), cypher)


def fill_sparql(sparql: str, schema: Schema, properties: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return a SPARQL query whose placeholders are replaced by a schema's IRIs, and its parameters by their values.

    Args:
        sparql: the query template.
        schema: schema of the graph.
        properties: parameter in angle brackets → property.
        values: parameter → value.

    Raises:
        UsageError: the query needs relationships besides behaviors, and the schema has none.
    """
    attributes = _attribute_types(schema)
    if re.search("<(ATTRIBUTES|AROUND)>", sparql) and not attributes:
        raise UsageError(f"the query needs relationships other than behaviors. Schema {schema.name!r} has none")
    labels = {"USER": schema.roles.users, "ITEM": schema.roles.items}
    words = {
        "BEHAVIOUR": _path(schema, schema.roles.behaviours),
        "AROUND": f"({_path(schema, attributes)}|^{_path(schema, attributes)})",
        "ATTRIBUTES": _pairs(schema, attributes),
        "TYPES": _pairs(schema, schema.relationships),
        "LABELS": _pairs(schema, schema.nodes),
        **{name: f"<{term(schema, property_)}>" for name, property_ in properties.items()},
    }
    for role, of_role in {**labels, "": tuple(schema.nodes)}.items():
        nodes = {label: schema.nodes[label] for label in of_role}
        start = f"{role}_" if role else ""
        words[f"{start}KEY"] = _alternatives(term(schema, node.key, label) for label, node in nodes.items())
        words[f"{start}NAME"] = _alternatives(term(schema, n.name or n.key, label) for label, n in nodes.items())
    sparql = _CLASS.sub(lambda match: _of_class(match[1], schema, labels[match[2]]), sparql)
    sparql = _WORD.sub(lambda match: words.get(match[1], match[0]), sparql)
    return _VALUE.sub(lambda match: _literal(values[match[1]]), sparql)


def _of_class(variable: str, schema: Schema, labels: tuple[str, ...]) -> str:
    classes = " ".join(f"<{term(schema, label)}>" for label in labels)
    return f"VALUES {variable}_class {{ {classes} }} {variable} a {variable}_class"


def _path(schema: Schema, types: Iterable[str]) -> str:
    return _alternatives(term(schema, type_) for type_ in types)


def _alternatives(iris: Iterable[str]) -> str:
    return f"({'|'.join(dict.fromkeys(f'<{iri}>' for iri in iris))})"


def _pairs(schema: Schema, names: Iterable[str]) -> str:
    return " ".join(f'(<{term(schema, name)}> "{name}")' for name in names)


def _literal(value: Any) -> str:
    kind = {str: "string", bool: "bool", int: "int", float: "float"}.get(type(value), "datetime")
    if kind == "int":
        return str(value)
    return str(literals(pa.chunked_array([[value]], ARROW_TYPES[kind]), kind)[0].as_py())


@cache
def _queries() -> dict[str, NamedQuery]:
    folder = resources.files("graph_schema") / "queries"
    texts = {f.name: f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith((".cypher", ".sparql"))}
    names = sorted(name.removesuffix(".cypher") for name in texts if name.endswith(".cypher"))
    return {name: NamedQuery.parse(name, texts[f"{name}.cypher"], texts.get(f"{name}.sparql")) for name in names}


def _find(name: str) -> NamedQuery:
    if name not in _queries():
        near = near_matches(name, _queries())
        raise UsageError(f"unknown query {name!r}. Expected one of {', '.join(_queries())}{near}")
    return _queries()[name]


def _complete(query: NamedQuery, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given parameters, completed by defaults.

    Raises:
        UsageError: one is unknown or missing; the message describes all parameters.
    """
    names = [p.name for p in query.parameters]
    unknown = [name for name in given if name not in names]
    missing = [p.name for p in query.parameters if p.default is None and p.name not in given]
    if unknown or missing:
        problems = [f"unknown parameter {name!r}" for name in unknown]
        problems += [f"missing parameter {name!r}" for name in missing]
        expected = "".join(f"\n  {p} ({p.kind}): {p.meaning}" for p in query.parameters) or " no parameters"
        raise UsageError(f"query {query.name!r}: {', '.join(problems)}. Expected:{expected}")
    return {p.name: given.get(p.name, p.default) for p in query.parameters}


def _of_kind(query: NamedQuery, *kinds: str) -> list[Parameter]:
    return [p for p in query.parameters if p.kind in kinds]


def _user_property(schema: Schema, name: str) -> str:
    known = _user_properties(schema)
    if name not in known:
        near = near_matches(str(name), known)
        raise UsageError(f"unknown user property {name!r}. Expected one of {', '.join(known) or 'none'}{near}")
    return name


def _user_properties(schema: Schema) -> dict[str, str]:
    """Return the user properties by which users can be segmented: name → type."""
    labels = schema.roles.users
    properties = {name: kind for label in labels for name, kind in schema.nodes[label].properties.items()}
    return {name: kind for name, kind in properties.items() if kind not in ("strings", "vector")}


def _value(schema: Schema, parameter: Parameter, value: Any, properties: Mapping[str, str]) -> Any:
    """Return the value of a parameter, converted to the type of the property that it is compared with."""
    if parameter.kind in ("user", "item", "node"):
        return str(value)
    if parameter.kind == "number":
        return _number(parameter, value)
    property_ = properties[parameter.kind.removeprefix("value of ")]
    kind = _user_properties(schema)[property_]
    converted = str(value) if kind == "string" else _as_kind(value, kind)
    if converted is None:
        raise UsageError(f"parameter {parameter.name!r}: found {value!r}. Expected type {kind}, that of {property_}")
    return converted


def _as_kind(value: Any, kind: str) -> Any:
    """Return a value in a property type, as data of that type are loaded; None if it cannot be converted.

    Engines do not compare an integer with a float, or a text with a time. Times are in UTC, as graphs store them.
    """
    try:
        column, failed = as_type(pa.chunked_array([pa.array([value])]), kind)
    except (pa.ArrowException, OverflowError):
        return None
    converted = None if failed[0] else column[0].as_py()
    return converted.replace(tzinfo=UTC) if isinstance(converted, datetime) else converted


def _number(parameter: Parameter, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"parameter {parameter.name!r}: found {value!r}. Expected an integer of at least 0")
    return value


def _check_ids(store: GraphStore, schema: Schema, query: NamedQuery, values: Mapping[str, Any]) -> None:
    labels = {"user": schema.roles.users, "item": schema.roles.items, "node": tuple(schema.nodes)}
    for parameter in _of_kind(query, *labels):
        ids = pa.concat_arrays([store.ids(label) for label in labels[parameter.kind]])
        if ids.index(values[parameter.name]).as_py() < 0:
            raise _unknown(store, schema, parameter.kind, values[parameter.name], ids.to_pylist())


def _unknown(store: GraphStore, schema: Schema, kind: str, id_: str, known: Iterable[str]) -> UsageError:
    if kind == "node":
        others = [store.ids(label).to_pylist() for label in schema.nodes if label not in schema.roles.users]
        return UsageError(f"unknown node: {id_!r}{near_matches(id_, chain(*others))}")
    return (UnknownUser if kind == "user" else UnknownItem)([id_], known, "It has no node in the graph.")


def _check_published(store: GraphStore) -> None:
    if store.published() is None:
        steps = f"kgrec train {store.uri}, then kgrec publish {store.uri}"
        raise UsageError(f"nothing is published in {store.uri}. Run: {steps}")


def _attribute_types(schema: Schema) -> list[str]:
    items = set(schema.roles.items)
    ends = {t: {*r.from_, *r.to} for t, r in schema.relationships.items() if t not in schema.roles.behaviours}
    return [type_ for type_, labels in ends.items() if labels & items]


def _property_names(schema: Schema, placeholder: str) -> list[str]:
    """Return the properties that `<USER_KEY>`, `<ITEM_NAME>`, `<KEY>` … stand for, over all matching labels."""
    role, _, meaning = placeholder.rpartition("_")
    labels = {"USER": schema.roles.users, "ITEM": schema.roles.items}.get(role, tuple(schema.nodes))
    nodes = [schema.nodes[label] for label in labels]
    keys = [node.key for node in nodes]
    named = [node.name for node in nodes if node.name] if meaning == "NAME" else []
    return [name for name in dict.fromkeys(named + keys) if name in keys or _is_text(schema, name)]


def _is_text(schema: Schema, name: str) -> bool:
    """Return whether a property is a string at every label that has it; `coalesce` needs one type."""
    return all(node.properties.get(name, "string") == "string" for node in schema.nodes.values())


def _property(variable: str, names: list[str]) -> str:
    expressions = [f"{variable}.{_quoted(name)}" for name in names]
    return expressions[0] if len(expressions) == 1 else f"coalesce({', '.join(expressions)})"


def _quoted(name: str) -> str:
    return f"`{name}`"
