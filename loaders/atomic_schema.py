"""Derivation of a schema from atomic files, and the mapping of their columns to a schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec._util.notices import notice
from kgrec.data.columns import list_lengths
from kgrec.data.schema import Schema
from kgrec.data.schema_checks import RESERVED_TYPES
from kgrec.errors import DataError, Problem, SchemaError, listed, near_matches
from loaders.atomic_files import DOMAIN, SPLIT, AtomicFiles, AtomicTable
from loaders.names import IRI, identifiers, singular

USER, ITEM, ENTITY, INTERACTED, KNOWS = "User", "Item", "Entity", "INTERACTED", "KNOWS"
MAX_CATEGORIES: Final = 1_000
"""Maximum number of distinct words of a categorical column; a column with more is free text."""

MAX_CATEGORY_COLUMNS: Final = 100
_WEIGHTS: Final = (
    *(
        "rating",
        "ratings",
        "stars",
        "weight",
        "score",
        "strength",
        "count",
        "counts",
        "plays",
        "playcount",
        "play_count",
    ),
    *("listens", "listen_count", "watch_ratio", "quantity", "frequency"),
)
_TIMES: Final = ("timestamp", "time", "datetime", "position", "order")
"""Column names recognized as the weight (`_WEIGHTS`) and time (`_TIMES`) of a behavior, in order of preference."""

_NAMES: Final = ("title", "name")
_PROPERTY_TYPES: Final = {"token": "string", "token_seq": "string", "float": "float", "float_seq": "strings"}


@dataclass(frozen=True)
class SchemaNames:
    """Labels and types that a schema gives to the parts of atomic files.

    Attributes:
        user, item, behavior: labels of users and items, and type of behaviors.
        entity: label of knowledge-graph entities that are not items; None if the files have no triples.
        knows: relationship type between users; None if the files have no .net part.
        categories: item column → (relationship type, label) of its words.
        user_categories: the same for user columns.
        repeated: interaction columns that only repeat a property of the item.
    """

    user: str
    item: str
    behavior: str
    entity: str | None
    knows: str | None
    categories: Mapping[str, tuple[str, str]]
    user_categories: Mapping[str, tuple[str, str]]
    repeated: tuple[str, ...]

    @property
    def taken(self) -> tuple[str, ...]:
        """Names that are already used and therefore not available to relations of the knowledge graph."""
        pairs = [*self.categories.values(), *self.user_categories.values()]
        words = [word for pair in pairs for word in pair]
        return tuple(
            w for w in (*RESERVED_TYPES, self.user, self.item, self.behavior, self.entity, self.knows, *words) if w
        )


def separator(column: pa.ChunkedArray) -> str:
    """Return the word separator of a sequence column: `, ` if most values with a space contain it, else a space."""
    several = pc.sum(pc.match_substring(column, " ")).as_py() or 0
    commas = pc.sum(pc.match_substring(column, ", ")).as_py() or 0
    return ", " if 2 * commas > several else " "


def words_of(column: pa.ChunkedArray) -> pa.Array:
    """Return the list of words of each value, null for a missing value."""
    return pc.split_pattern(column.combine_chunks(), separator(column))


def base_schema(files: AtomicFiles) -> dict[str, Any]:
    """Return the schema without the relations of the knowledge graph, as plain dictionaries."""
    categories, of_users = _derived_categories(files.item), _derived_categories(files.user)
    behavior = _behavior_properties(files)
    role = _behavior_role(behavior)
    _report_roles(files.inter, behavior, role)
    nodes: dict[str, Any] = {USER: _user_label(files, of_users), ITEM: _item_label(files, categories)}
    relationships: dict[str, Any] = {INTERACTED: {"from": USER, "to": ITEM, "properties": behavior}}
    for owner, pairs in ((ITEM, categories.values()), (USER, of_users.values())):
        for type_, label in pairs:
            key = f"{label.lower()}_id"
            nodes[label] = {"key": key, "text": f"{{{key}}}"}
            relationships.setdefault(type_, {"from": [], "to": label})["from"].append(owner)
    if files.kg:
        nodes[ENTITY] = _entity_label(files.kg)
    if files.net:
        relationships[KNOWS] = {"from": USER, "to": USER}
    roles: dict[str, Any] = {"users": USER, "items": ITEM, "behaviours": {INTERACTED: role}}
    if files.item and DOMAIN in files.item.kinds:
        roles["domain"] = DOMAIN
    return {"name": files.name, "nodes": nodes, "relationships": relationships, "roles": roles}


def schema_names(files: AtomicFiles, schema: Schema) -> SchemaNames:
    """Return the labels and types of the files' parts in a schema.

    Raises:
        SchemaError: the schema has several user labels, item labels or behavior types, or lacks a required label.
        DataError: lists every column that the schema or the files lack.
    """
    roles = schema.roles
    many = [
        Problem(
            schema.name,
            f"{len(names)} names: {', '.join(names)}",
            "one; atomic files have no more",
            field=f"roles.{role}",
        )
        for role, names in (("users", roles.users), ("items", roles.items), ("behaviours", roles.behaviours))
        if len(names) != 1
    ]
    if many:
        raise SchemaError(many)
    user, item, behavior = roles.users[0], roles.items[0], next(iter(roles.behaviours))
    categories = _declared_categories(files.item, schema, item, "item_id")
    of_users = _declared_categories(files.user, schema, user, "user_id")
    words = [label for _, label in [*categories.values(), *of_users.values()]]
    named = SchemaNames(
        user,
        item,
        behavior,
        _entity_of(schema, (user, item, *words)) if files.kg else None,
        _knows_of(schema, user) if files.net else None,
        categories,
        of_users,
        _repeated(files, list(schema.relationships[behavior].properties)),
    )
    problems = list(_column_problems(files, schema, named))
    if problems:
        raise DataError([*files.problems, *problems])
    return named


def _user_label(files: AtomicFiles, categories: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    properties = {k: v for k, v in _properties(files.user, "user_id").items() if k not in categories}
    text = [f"{_column_words(column)}: {{{type_}}}" for column, (type_, _) in categories.items()]
    text += [f"{_column_words(name)}: {{{name}}}" for name, kind in properties.items() if kind != "vector"]
    if files.item and _name_column(files.item.kinds):  # item ids without names are not informative
        text.append(f"latest: {{{INTERACTED}:10}}")
    return {"key": "user_id", "properties": properties, "text": text}


def _item_label(files: AtomicFiles, categories: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    kinds = files.item.kinds if files.item else {}
    properties = {k: v for k, v in _properties(files.item, "item_id").items() if k not in categories}
    name = _name_column(kinds)
    text = [f"{{{name}}}"] if name else []
    text += [f"{_column_words(column)}: {{{type_}}}" for column, (type_, _) in categories.items()]
    text += [f"{_column_words(p)}: {{{p}}}" for p in properties if kinds[p] == "token_seq" and p != name]
    return {"key": "item_id", "name": name, "properties": properties, "text": text}


def _entity_label(kg: AtomicTable) -> dict[str, Any]:
    iris = pc.match_substring_regex(kg.table.column("tail_id"), IRI)
    if 2 * (pc.sum(iris).as_py() or 0) <= len(iris):
        return {"key": "entity_id"}
    return {"key": "entity_id", "name": "name", "properties": {"name": "string"}, "text": "{name}"}


def _properties(part: AtomicTable | None, key: str) -> dict[str, str]:
    if part is None:
        return {}
    properties = {name: _PROPERTY_TYPES[kind] for name, kind in part.kinds.items() if name != key}
    floats = [name for name in properties if part.kinds[name] == "float_seq"]
    return properties | {name: "vector" for name in floats if _is_vector(part.table.column(name))}


def _is_vector(column: pa.ChunkedArray) -> bool:
    """Return whether most number sequences have the same length, which is greater than one."""
    lengths = list_lengths(pa.chunked_array([words_of(column)]).drop_null())
    counts = np.bincount(lengths, minlength=2)
    return 2 * int(counts.max()) > len(lengths) and int(counts.argmax()) > 1


def _behavior_properties(files: AtomicFiles) -> dict[str, str]:
    hidden = {"user_id", "item_id", *_repeated(files, [])}
    return {name: _PROPERTY_TYPES[kind] for name, kind in files.inter.kinds.items() if name not in hidden}


def _behavior_role(properties: Mapping[str, str]) -> dict[str, str]:
    floats = {name.casefold(): name for name, kind in properties.items() if kind == "float"}
    weights, times = ([floats[name] for name in names if name in floats] for names in (_WEIGHTS, _TIMES))
    role = {"weight": weights[:1], "time": times[:1], "split": [SPLIT] if SPLIT in properties else []}
    return {meaning: names[0] for meaning, names in role.items() if names}


def _report_roles(inter: AtomicTable, properties: Mapping[str, str], role: Mapping[str, str]) -> None:
    """Report the columns chosen as weight and time if there are other candidates: numbers, or text with such a name."""
    missing = {name for part, names in (("weight", _WEIGHTS), ("time", _TIMES)) if part not in role for name in names}
    others = [
        name
        for name, kind in properties.items()
        if name not in role.values() and (kind == "float" or name.casefold() in missing)
    ]
    if others:
        taken = ", ".join(f"the {part} of a behavior is {role.get(part, 'none')}" for part in ("weight", "time"))
        notice(
            f"{inter.path}: by column names, {taken}; other candidates: {', '.join(others)}. To change this, edit the "
            "schema of `kgrec check atomic FOLDER --write-schema FILE`, and load with --schema FILE"
        )


def _name_column(kinds: Mapping[str, str]) -> str | None:
    texts = [column for column, kind in kinds.items() if kind in ("token", "token_seq")]
    exact = [column for column in texts if column in _NAMES]
    ending = [column for column in texts if column.endswith(tuple(f"_{name}" for name in _NAMES))]
    return next(iter(exact + ending), None)


def _derived_categories(part: AtomicTable | None) -> dict[str, tuple[str, str]]:
    """Return column → (relationship type, label) of categorical columns; users and items share those of one name."""
    if part is None:
        return {}
    name = _name_column(part.kinds)
    columns = [
        c for c, kind in part.kinds.items() if kind == "token_seq" and c != name and _is_category(part.table.column(c))
    ]
    if len(columns) > MAX_CATEGORY_COLUMNS:
        found = f"{len(columns):,} columns whose words would be nodes, each of a label of its own"
        expected = f"at most {MAX_CATEGORY_COLUMNS}; make others token"
        raise DataError([Problem(str(part.path), found, expected, 1)])
    nouns = _nouns(columns)
    labels = identifiers((noun.title().replace("_", "") for noun in nouns.values()), (USER, ITEM, ENTITY))
    return {c: (_category_type(noun), labels[noun.title().replace("_", "")]) for c, noun in nouns.items()}


def _is_category(column: pa.ChunkedArray) -> bool:
    counts = pc.value_counts(pc.list_flatten(words_of(column).drop_null())).field("counts")
    recurring = pc.sum(pc.greater(counts, 1)).as_py() or 0
    return 0 < len(counts) <= MAX_CATEGORIES and 2 * recurring > len(counts)


def _nouns(columns: list[str]) -> dict[str, str]:
    """Return column → its singular, or the column itself if two columns have the same singular."""
    nouns = {column: singular(column) for column in columns}
    counts = Counter(nouns.values())
    return {column: noun if counts[noun] == 1 else column for column, noun in nouns.items()}


def _category_type(noun: str) -> str:
    return f"HAS_{noun.upper()}"


def _declared_categories(
    part: AtomicTable | None, schema: Schema, label: str, id_column: str
) -> dict[str, tuple[str, str]]:
    known = (schema.nodes[label].key, *schema.nodes[label].properties, id_column)
    columns = [c for c in (part.kinds if part else ()) if c not in known]
    types = {c: _category_type(noun) for c, noun in _nouns(columns).items()}
    declared = {c: t for c, t in types.items() if t in schema.relationships and label in schema.relationships[t].from_}
    return {c: (t, schema.relationships[t].to[0]) for c, t in declared.items()}


def _entity_of(schema: Schema, others: tuple[str, ...]) -> str:
    rest = [label for label in schema.nodes if label not in others]
    if ENTITY in rest:
        return ENTITY
    if len(rest) == 1:
        return rest[0]
    found = f"labels {', '.join(schema.nodes)}"
    raise SchemaError(
        [Problem(schema.name, found, f"a label {ENTITY} for the entities of the .kg file", field="nodes")]
    )


def _knows_of(schema: Schema, user: str) -> str:
    types = [t for t, r in schema.relationships.items() if user in r.from_ and user in r.to]
    if len(types) == 1:
        return types[0]
    found = f"{len(types)} types from {user} to {user}"
    expected = "one, such as KNOWS, for the .net file"
    raise SchemaError([Problem(schema.name, found, expected, field="relationships")])


def _repeated(files: AtomicFiles, declared: list[str]) -> tuple[str, ...]:
    """Return the interaction columns that repeat the item column of the same name."""
    if files.item is None:
        return ()
    items, inter = files.item.table, files.inter.table
    rows = pc.index_in(inter.column("item_id"), value_set=items.column("item_id"))
    there = set(items.column_names) - {"item_id", *declared}
    shared = [c for c in inter.column_names if c in there]
    return tuple(c for c in shared if inter.column(c).equals(items.column(c).take(rows)))


def _column_problems(files: AtomicFiles, schema: Schema, named: SchemaNames) -> Iterator[Problem]:
    user, item = schema.nodes[named.user], schema.nodes[named.item]
    behavior = schema.relationships[named.behavior]
    split = schema.roles.behaviours[named.behavior].split
    yield from _differences(files, "user", named.user, user.properties, {"user_id", *named.user_categories}, set())
    yield from _differences(files, "item", named.item, item.properties, {"item_id", *named.categories}, set())
    given = {"user_id", "item_id", *named.repeated}
    yield from _differences(files, "inter", named.behavior, behavior.properties, given, {split} if split else set())


def _differences(
    files: AtomicFiles, part: str, kind: str, properties: Mapping[str, str], given: set[str], optional: set[str]
) -> Iterator[Problem]:
    atomic: AtomicTable | None = getattr(files, part)
    needed = [name for name in properties if name not in optional]
    if atomic is None:
        if needed:
            yield Problem(f"{files.name}.{part}", "no such file", f"a file with columns {', '.join(needed)}")
        return
    for name in needed:
        if name not in atomic.kinds:
            near = near_matches(name, atomic.kinds)
            yield Problem(
                str(atomic.path), "no such column", f"the property {kind}.{name} of the schema{near}", 1, name
            )
    for name in atomic.kinds:
        if name not in properties and name not in given:
            near = near_matches(name, properties)
            expected = f"a property of {kind} in the schema ({listed(properties) or 'it has none'}){near}"
            yield Problem(str(atomic.path), f"unknown column {name!r}", expected, 1, name)


def _column_words(column: str) -> str:
    return column.replace("_", " ")
