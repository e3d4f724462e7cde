"""Use of a Neo4j database that kgrec did not load: infer a schema, and adopt a schema. Its data are not changed."""

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
"""Neo4j property type → kgrec property type."""

_SAMPLE_NODES: Final = 10_000
"""Number of nodes of a label that are sampled to find a key."""

_HEAD: Final = """\
# Inferred from the database. Check the labels and types, and set the roles:
#   users: labels of the nodes that get recommendations
#   items: labels of the nodes that are recommended
#   behaviours: types of the interactions, from users to items; weight and time name their properties, if they have any
# Then run: kgrec schema adopt URI THIS_FILE
"""


def infer_schema(store: Neo4jStore) -> str:
    """Return a schema for the labels, types and properties of a database, as YAML with comments.

    The key of a label is a property with a unique constraint, else one that is unique in a sample. Roles are guessed
    from names.

    Raises:
        StoreError: no node of the database has a key.
    """
    notes: list[str] = []
    nodes = _nodes(store, notes)
    if not nodes:
        raise StoreError(f"cannot infer a schema: no nodes in {store.uri} have a unique property that can be a key")
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
    """Use a database that kgrec did not load with a schema; only a node that stores the schema is added.

    Raises:
        StoreError: kgrec loaded the database, a label or a key of the schema does not exist, or a key is not unique.
        DataError: the data cannot be trained on; the error lists all problems.
    """
    if store.schema is not None and not store.is_adopted():
        raise StoreError(f"{store.uri} was loaded by kgrec, which stored its schema; it needs no other schema")
    there = set(store.cypher("CALL db.labels() YIELD label RETURN label")["label"])
    taken = sorted(there & {"Published", *(name for label in schema.nodes for name in labels_of(label))})
    if taken and store.is_adopted():
        raise StoreError(
            f"{store.uri} holds recommendations published under its current schema. Run: kgrec unpublish {store.uri}"
        )
    problems = [f"label {label} exists already, and kgrec needs it to publish" for label in taken]
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
    properties_of: dict[str, dict[str, str]] = {}
    together: dict[str, None] = {}
    for row in store.cypher(query).to_dict("records"):
        labels = sorted(set(row["labels"]) - ours)
        labels = [label for label in labels if _is_usable(label, f"label {label}", notes)]
        if len(labels) > 1:
            together[" and ".join(labels)] = None
        for label in labels:
            properties = properties_of.setdefault(label, {})
            if isinstance(row["name"], str):
                _note_type(properties, f"{label}.{row['name']}", row["name"], row["types"], notes)
    notes += [
        f"nodes with the labels {labels} count once per label: leave out labels that you do not need"
        for labels in together
    ]
    nodes = {}
    for label, properties in properties_of.items():
        key = _key(store, label, properties)
        if key is None:
            notes.append(f"left out: label {label}: no property is unique and present in all nodes, so it has no key")
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
    entries: dict[str, Any] = {}
    for type_, sources, targets in ends.itertuples(index=False):
        if type_ == "RECOMMENDED" or not (type_ in entries or _is_usable(type_, f"type {type_}", notes)):
            continue
        entry = entries.setdefault(type_, {"from": [], "to": []})
        for end, labels in (("from", sources), ("to", targets)):
            entry[end] += [label for label in labels if label in nodes and label not in entry[end]]
    properties = store.cypher(
        "CALL db.schema.relTypeProperties() YIELD relType, propertyName, propertyTypes "
        "RETURN relType AS type, propertyName AS name, propertyTypes AS types"
    )
    for row in properties.to_dict("records"):
        type_ = row["type"].removeprefix(":").strip("`")
        if type_ in entries and isinstance(row["name"], str):
            kinds = entries[type_].setdefault("properties", {})
            _note_type(kinds, f"{type_}.{row['name']}", row["name"], row["types"], notes)
    usable = {type_: entry for type_, entry in entries.items() if entry["from"] and entry["to"]}
    notes += [f"left out: type {type_}: an end has no key" for type_ in entries if type_ not in usable]
    return usable


def _is_usable(name: str, place: str, notes: list[str]) -> bool:
    """Return True if a schema accepts a name; otherwise add a note once."""
    if not IDENTIFIER.fullmatch(name):
        note = f"left out: {place}: names in a schema consist of letters, digits and _"
        notes += [note] if note not in notes else []
        return False
    return True


def _note_type(kinds: dict[str, str], place: str, name: str, types: list[str], notes: list[str]) -> None:
    if not _is_usable(name, place, notes):
        return
    property_types = {_TYPES.get(type_) for type_ in types}
    if property_types == {"int", "float"}:
        property_types = {"float"}
    kind = property_types.pop() if len(property_types) == 1 else None
    if kind is None or kinds.get(name, kind) != kind:
        kinds.pop(name, None)
        notes.append(f"left out: {place}: holds {', '.join(types)}, which is not a single property type of kgrec")
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
        faults.append(f"{row['given'] - row['distinct']:,} {label} nodes have the same {key} as another node")
    return faults


def _key_problems(store: Neo4jStore, schema: Schema, label: str, there: set[str]) -> list[str]:
    if label not in there:
        return [f"no label {label}"]
    return _key_faults(store, label, schema.nodes[label].key)
