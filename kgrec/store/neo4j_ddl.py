"""What kgrec declares in Neo4j: a constraint for the key of every label, and the names that it keeps for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kgrec.errors import StoreError
from kgrec.schema import Schema
from kgrec.store.merge import merge
from kgrec.store.neo4j_connect import Connection, quote
from kgrec.store.neo4j_lease import State

if TYPE_CHECKING:
    from neo4j import ManagedTransaction

SCHEMA_LABEL: Final = "_Kgrec"
POINTER_LABEL: Final = "Published"


def vector_label(label: str) -> str:
    """Return the label of the nodes that hold a label's vectors."""
    return f"{label}Vector"


def constraint(label: str) -> str:
    """Return the name of a label's constraint."""
    return f"kgrec_{label}"


def stored_schema(state: State) -> Schema | None:
    """Return the schema of the graph, or None if none was declared."""
    return Schema.parse(state.yaml, where="graph") if state.yaml else None


def check_names(schema: Schema) -> None:
    """Make sure that no label is one that kgrec writes itself.

    Raises:
        StoreError: one is.
    """
    own = {SCHEMA_LABEL, POINTER_LABEL, *map(vector_label, schema.nodes)}
    taken = [label for label in schema.nodes if label in own]
    if taken:
        raise StoreError(f"labels that kgrec keeps for what it publishes in Neo4j: {', '.join(taken)}; rename them")


def require_key(connection: Connection, label: str, key: str) -> bool:
    """Make a label's key unique; say whether that was new.

    Raises:
        StoreError: nodes of the label share a key, or the database has an index in the way.
    """
    name = constraint(label)
    if name in _names(connection):
        return False
    query = f"CREATE CONSTRAINT {quote(name)} IF NOT EXISTS FOR (x:{quote(label)}) REQUIRE x.{quote(key)} IS UNIQUE"
    connection.declare(query)
    return True


def require_keys(connection: Connection, schema: Schema) -> list[str]:
    """Make the key of every label unique; return the names of new constraints.

    Raises:
        StoreError: nodes of a label share a key; no new constraint is left.
    """
    made: list[str] = []
    try:
        for label, key in [(SCHEMA_LABEL, "id"), *((label, node.key) for label, node in schema.nodes.items())]:
            if require_key(connection, label, key):
                made.append(constraint(label))
    except BaseException:
        drop(connection, made)
        raise
    return made


def drop(connection: Connection, constraints: list[str]) -> None:
    """Remove constraints."""
    for name in constraints:
        connection.declare(f"DROP CONSTRAINT {quote(name)} IF EXISTS")


def declare(tx: ManagedTransaction, state: State, schema: Schema) -> None:
    """Join a schema to the graph's, in a transaction that counted a write.

    Raises:
        StoreError: the schema contradicts the graph's.
    """
    there = stored_schema(state)
    merged = merge(there, schema)
    if merged != there:
        query = "MATCH (s:_Kgrec {id: 'schema'}) SET s.yaml = $yaml"
        tx.run(query, yaml=merged.to_yaml()).consume()


def _names(connection: Connection) -> set[str]:
    return set(connection.read(lambda tx: tx.run("SHOW CONSTRAINTS YIELD name").value()))
