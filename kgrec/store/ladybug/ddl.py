"""Schemas in ladybug: stored in the graph as YAML, and as one table per label and relationship type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.schema import Schema
from kgrec.errors import StoreError
from kgrec.store.ladybug.engine import execute, fetch, literal, quote
from kgrec.store.merge import merge

if TYPE_CHECKING:
    import ladybug

SCHEMA_TABLE: Final = "_Kgrec"
"""Node table that holds the schema's YAML."""

TYPES: Final[dict[str, str]] = {
    "string": "STRING",
    "int": "INT64",
    "float": "DOUBLE",
    "bool": "BOOL",
    "datetime": "TIMESTAMP",
    "strings": "STRING[]",
    "vector": "FLOAT[]",
}
RECOMMENDATION: Final[dict[str, str]] = {
    "score": "DOUBLE",
    "rank": "INT64",
    **dict.fromkeys(SHARE_COLUMNS, "DOUBLE"),
    "run": "STRING",
    "release": "INT64",
}
OF_RELEASE: Final = ("run", "release")
"""Properties with one value for all recommendations; adding them as a column is ten times faster than copying them."""

PUBLISHED: Final = "Published"
"""Node table with at most one row: the run and the release number of the published recommendations."""

RESERVED: Final = ("_id", "_label", "_src", "_dst")
"""Property names that the engine reserves."""

ENDS: Final = ("from", "to")
"""Property names that COPY reserves for the ends of a relationship."""


def declare(connection: ladybug.Connection, schema: Schema) -> None:
    """Add a schema to the graph's; existing labels, types and properties stay.

    Raises:
        StoreError: the schema contradicts the graph's, or has names that the engine cannot distinguish.
    """
    there = stored_schema(connection)
    merged = merge(there, schema)
    if merged == there:
        return
    _check_names(merged)
    for statement in _statements(connection, merged):
        execute(connection, statement)
    query = f"MERGE (s:{quote(SCHEMA_TABLE)} {{id: 'schema'}}) SET s.yaml = $yaml"
    execute(connection, query, {"yaml": merged.to_yaml()})


def stored_schema(connection: ladybug.Connection) -> Schema | None:
    """Return the schema of the graph, or None if none was declared."""
    if SCHEMA_TABLE not in table_names(connection):
        return None
    [[yaml]] = fetch(connection, f"MATCH (s:{quote(SCHEMA_TABLE)}) RETURN s.yaml")
    return Schema.parse(yaml, where="graph")


def table_names(connection: ladybug.Connection) -> set[str]:
    """Return the names of all tables."""
    return {name for _, name, *_ in fetch(connection, "CALL show_tables() RETURN *")}


def table_columns(connection: ladybug.Connection, table: str) -> dict[str, str]:
    """Return column → type of a table; empty if the table does not exist."""
    if table not in table_names(connection):
        return {}
    return {name: kind for _, name, kind, *_ in fetch(connection, f"CALL table_info('{table}') RETURN *")}


def vector_table(label: str) -> str:
    """Return the name of the node table that holds a label's vectors."""
    return f"{label}Vector"


def recommended(schema: Schema, without: Iterable[str] = ()) -> str:
    """Return the DDL of RECOMMENDED, from every user label to every item label, without the properties `without`."""
    columns = {name: kind for name, kind in RECOMMENDATION.items() if name not in without}
    return _create_relationship("RECOMMENDED", _recommended_pairs(schema), columns)


def stamped(run: str, release: int) -> list[str]:
    """Return the DDL that sets run and release on all recommendations in the table."""
    values = {"run": literal(run), "release": str(release)}
    return [
        f"ALTER TABLE `RECOMMENDED` ADD {name} {RECOMMENDATION[name]} DEFAULT {values[name]}" for name in OF_RELEASE
    ]


def _statements(connection: ladybug.Connection, schema: Schema) -> Iterator[str]:
    """Yield the DDL of the tables and columns that the graph does not have yet."""
    tables = table_names(connection)
    if SCHEMA_TABLE not in tables:
        yield f"CREATE NODE TABLE {quote(SCHEMA_TABLE)}(`id` STRING PRIMARY KEY, `yaml` STRING)"
        yield "CREATE MACRO type(r) AS label(r)"  # the name in other Cypher engines
    for label, node in schema.nodes.items():
        columns = {node.key: "STRING", **_columns(node.properties)}
        if label in tables:
            yield from _added_columns(label, columns, connection)
        else:
            yield f"CREATE NODE TABLE {quote(label)}({_declared(columns)}, PRIMARY KEY({quote(node.key)}))"
    for type_, relationship in schema.relationships.items():
        pairs = [(source, target) for source, _, target in schema.edge_types(type_)]
        yield from _relationship(type_, pairs, _columns(relationship.properties), tables, connection)
    yield from _relationship("RECOMMENDED", _recommended_pairs(schema), RECOMMENDATION, tables, connection)
    if PUBLISHED not in tables:
        yield f"CREATE NODE TABLE {PUBLISHED}(`id` STRING PRIMARY KEY, `run` STRING, `release` INT64)"


def _relationship(
    type_: str,
    pairs: list[tuple[str, str]],
    columns: Mapping[str, str],
    tables: set[str],
    connection: ladybug.Connection,
) -> Iterator[str]:
    if type_ not in tables:
        yield _create_relationship(type_, pairs, columns)
        return
    yield from _added_columns(type_, columns, connection)
    there = {(source, target) for source, target, *_ in fetch(connection, f"CALL show_connection('{type_}') RETURN *")}
    for source, target in pairs:
        if (source, target) not in there:
            yield f"ALTER TABLE {quote(type_)} ADD FROM {quote(source)} TO {quote(target)}"


def _added_columns(table: str, columns: Mapping[str, str], connection: ladybug.Connection) -> Iterator[str]:
    there = table_columns(connection, table)
    for name, kind in columns.items():
        if name not in there:
            yield f"ALTER TABLE {quote(table)} ADD {quote(name)} {kind}"
        elif there[name] != kind:
            raise StoreError(f"{table}.{name} is {there[name]} in the graph, {kind} in the schema; rename one of them")


def _create_relationship(type_: str, pairs: list[tuple[str, str]], columns: Mapping[str, str]) -> str:
    ends = ", ".join(f"FROM {quote(source)} TO {quote(target)}" for source, target in pairs)
    properties = f", {_declared(columns)}" if columns else ""
    return f"CREATE REL TABLE {quote(type_)}({ends}{properties})"


def _recommended_pairs(schema: Schema) -> list[tuple[str, str]]:
    return [(user, item) for user in schema.roles.users for item in schema.roles.items]


def _columns(properties: Mapping[str, str]) -> dict[str, str]:
    return {name: TYPES[kind] for name, kind in properties.items()}


def _declared(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())


def _check_names(schema: Schema) -> None:
    """Check that names differ in more than case, since the engine ignores case and shares names of labels and types.

    Raises:
        StoreError: the engine cannot distinguish names; the message lists all of them.
    """
    names = [
        *schema.nodes,
        *schema.relationships,
        "RECOMMENDED",
        PUBLISHED,
        SCHEMA_TABLE,
        *map(vector_table, schema.nodes),
    ]
    groups = {"labels and types": names}
    for label, node in schema.nodes.items():
        groups[label] = [node.key, *node.properties, *RESERVED]
    for type_, relationship in schema.relationships.items():
        groups[type_] = [*relationship.properties, *RESERVED, *ENDS]
    problems = [f"{where}: {name!r}" for where, group in groups.items() for name in _repeated(group)]
    if problems:
        raise StoreError(
            "the embedded store cannot distinguish these names (it ignores case, labels and types share one namespace, "
            f"and some names are reserved): {'; '.join(problems)}. Rename them in the schema"
        )


def _repeated(names: list[str]) -> list[str]:
    counts = Counter(name.lower() for name in names)
    return list(dict.fromkeys(name for name in names if counts[name.lower()] > 1))
