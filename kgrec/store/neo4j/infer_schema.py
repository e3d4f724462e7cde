"""Use a Neo4j database that kgrec did not load: propose a schema for it, and adopt one. Nothing in it is changed."""

from __future__ import annotations

from typing import Any, Final

import yaml

from kgrec.data.schema import Schema
from kgrec.data.schema_checks import IDENTIFIER
from kgrec.errors import StoreError
from kgrec.store.neo4j.rows import quote
from kgrec.store.neo4j.store import Neo4jStore
from kgrec.store.neo4j.vectors import labels_of

_TYPES: Final = {
    "String": "string",
    "Long": "int",
    "Integer": "int",
    "Double": "float",
    "Float": "float",
    "Boolean": "bool",
    "DateTime": "datetime",
    "LocalDateTime": "datetime",
    "Date": "datetime",
    "StringArray": "strings",
}
"""Neo4j's names of property types, and kgrec's."""

_SAMPLE_NODES: Final = 10_000
"""Nodes of a label that are looked at to find a key."""

_HEAD: Final = """\
# Proposed from what is in the database. Look through it, and mark the roles:
#   users       labels whose nodes get recommendations
#   items       labels whose nodes are recommended
#   behaviors  types from users to items; weight and time name their properties, where there are any
# Then: kgrec schema adopt URI THIS_FILE
"""


def infer_schema(store: Neo4jStore) -> str:
    """Return a schema, as YAML with comments, for the labels, types and properties of a database.

    A label's key is its unique property, by a constraint or else in a sample; roles are guessed from the names.

    Raises:
        StoreError: the database is empty.
    """
    notes: list[str] = []
    nodes = _nodes(store, notes)
    if not nodes:
        raise StoreError(f"{store.uri} holds no nodes with a key; there is nothing to propose a schema for")
    relationships = _relationships(store, nodes, notes)
    acting = [label for r in relationships.values() for label in r["from"] if label not in r["to"]]
    users = [name for name in acting if any(word in name.lower() for word in ("user", "customer", "person", "member"))]
    users = (users or acting or list(nodes))[:1]
    from_users = [t for t, r in relationships.items() if set(r["from"]) <= set(users) and users[0] not in r["to"]]
    behaviors: dict[str, Any] = {type_: {} for type_ in from_users}
    items = list(dict.fromkeys(label for t in behaviors for label in relationships[t]["to"]))
    data: dict[str, Any] = {"name": "inferred", "nodes": nodes, "relationships": relationships}
    data["roles"] = {"users": users, "items": items, "behaviours": behaviors}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    return _HEAD + "".join(f"# {note}\n" for note in notes) + text


def adopt(store: Neo4jStore, schema: Schema) -> None:
    """Use a database with a schema, as it is: the schema is kept in a node of kgrec's own, and nothing else is changed.

    Raises:
        StoreError: kgrec loaded it, or a label or a key that the schema names is not there, or a key is not unique.
        DataError: with everything in it that cannot be learned from.
    """
    if store.schema is not None and not store.is_adopted():
        raise StoreError(f"{store.uri} was loaded by kgrec and has its schema")
    there = set(store.cypher("CALL db.labels() YIELD label RETURN label")["label"])
    taken = sorted(there & {"Published", *(name for label in schema.nodes for name in labels_of(label))})
    if taken and store.is_adopted():
        raise StoreError(f"{store.uri} holds what was published under the schema it has: kgrec unpublish {store.uri}")
    problems = [f"label {label} is there already, and kgrec publishes under that name" for label in taken]
    problems += [problem for label in schema.nodes for problem in _key_problems(store, schema, label, there)]
    if problems:
        raise StoreError("\n  ".join([f"{store.uri} does not fit the schema {schema.name!r}:", *problems]))
    store.read_foreign(schema)
    store.keep_schema(schema, adopted=True)


def _nodes(store: Neo4jStore, notes: list[str]) -> dict[str, Any]:
    query = (
        "CALL db.schema.nodeTypeProperties() YIELD nodeLabels, propertyName, propertyTypes "
        "RETURN nodeLabels AS labels, propertyName AS name, propertyTypes AS types"
    )
    known = store.schema
    ours = {"_Kgrec", "Published"}.union(*map(labels_of, known.nodes if known else ()))
    found: dict[str, dict[str, str]] = {}
    together: dict[str, None] = {}
    for row in store.cypher(query).to_dict("records"):
        labels = sorted(set(row["labels"]) - ours)
        labels = [label for label in labels if _is_usable(label, f"label {label}", notes)]
        if len(labels) > 1:
            together[" and ".join(labels)] = None
        for label in labels:
            properties = found.setdefault(label, {})
            if isinstance(row["name"], str):
                _note_type(properties, f"{label}.{row['name']}", row["name"], row["types"], notes)
    notes += [
        f"each node that is {labels} is one node of each label: leave out what you do not need" for labels in together
    ]
    nodes = {}
    for label, properties in found.items():
        key = _key(store, label, properties)
        if key is None:
            notes.append(f"left out: label {label}: no property is there and unique in every node, so it has no key")
            continue
        kinds = {name: kind for name, kind in properties.items() if name != key}
        name = next((n for n in ("name", "title", "label") if kinds.get(n) == "string"), None)
        nodes[label] = {"key": key, **({"name": name} if name else {}), **({"properties": kinds} if kinds else {})}
    return nodes


def _relationships(store: Neo4jStore, nodes: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    ends = store.cypher(
        "MATCH (a)-[r]->(b) WITH DISTINCT type(r) AS type, labels(a) AS sources, labels(b) AS targets "
        "RETURN type, sources, targets"
    )
    found: dict[str, Any] = {}
    for type_, sources, targets in ends.itertuples(index=False):
        if type_ == "RECOMMENDED" or not (type_ in found or _is_usable(type_, f"type {type_}", notes)):
            continue
        entry = found.setdefault(type_, {"from": [], "to": []})
        for end, labels in (("from", sources), ("to", targets)):
            entry[end] += [label for label in labels if label in nodes and label not in entry[end]]
    properties = store.cypher(
        "CALL db.schema.relTypeProperties() YIELD relType, propertyName, propertyTypes "
        "RETURN relType AS type, propertyName AS name, propertyTypes AS types"
    )
    for row in properties.to_dict("records"):
        type_ = row["type"].removeprefix(":").strip("`")
        if type_ in found and isinstance(row["name"], str):
            kinds = found[type_].setdefault("properties", {})
            _note_type(kinds, f"{type_}.{row['name']}", row["name"], row["types"], notes)
    usable = {type_: entry for type_, entry in found.items() if entry["from"] and entry["to"]}
    notes += [f"left out: type {type_}: an end has no key" for type_ in found if type_ not in usable]
    return usable


def _is_usable(name: str, place: str, notes: list[str]) -> bool:
    """Say whether a schema can name something; notes it once if not."""
    if not IDENTIFIER.fullmatch(name):
        note = f"left out: {place}: kgrec's names are letters, digits and _"
        notes += [note] if note not in notes else []
        return False
    return True


def _note_type(kinds: dict[str, str], place: str, name: str, types: list[str], notes: list[str]) -> None:
    if not _is_usable(name, place, notes):
        return
    found = {_TYPES.get(type_) for type_ in types}
    if found == {"int", "float"}:
        found = {"float"}
    kind = found.pop() if len(found) == 1 else None
    if kind is None or kinds.get(name, kind) != kind:
        kinds.pop(name, None)
        notes.append(f"left out: {place}: holds {', '.join(types)}, which is no one type of kgrec's")
    else:
        kinds[name] = kind


def _key(store: Neo4jStore, label: str, properties: dict[str, str]) -> str | None:
    constraints = store.cypher(
        "SHOW CONSTRAINTS YIELD labelsOrTypes, properties, type WHERE type IN ['UNIQUENESS', 'NODE_KEY'] "
        "AND $label IN labelsOrTypes AND size(properties) = 1 RETURN properties[0] AS name",
        {"label": label},
    )
    candidates = [name for name, kind in properties.items() if kind in ("string", "int")]
    first = [*constraints["name"], *sorted(candidates, key=lambda name: ("id" not in name.lower(), name))]
    for name in first:
        if name in candidates and not _key_faults(store, label, name, _SAMPLE_NODES):
            return str(name)
    return None


def _key_faults(store: Neo4jStore, label: str, key: str, sample: int | None = None) -> list[str]:
    limit = f" LIMIT {sample}" if sample else ""
    query = (
        f"MATCH (n:{quote(label)}) WITH n{limit} "
        f"RETURN count(*) AS nodes, count(n.{quote(key)}) AS given, count(DISTINCT n.{quote(key)}) AS distinct"
    )
    row = store.cypher(query).iloc[0]
    faults = []
    if row["given"] < row["nodes"]:
        faults.append(f"{row['nodes'] - row['given']:,} of {row['nodes']:,} {label} nodes have no {key}")
    if row["distinct"] < row["given"]:
        faults.append(f"{row['given'] - row['distinct']:,} {label} nodes have the {key} of another")
    return faults


def _key_problems(store: Neo4jStore, schema: Schema, label: str, there: set[str]) -> list[str]:
    if label not in there:
        return [f"no label {label}"]
    return _key_faults(store, label, schema.nodes[label].key)
