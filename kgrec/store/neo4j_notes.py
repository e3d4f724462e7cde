"""Names in a query that neither the database nor the schema knows: Neo4j answers such a query with a note, and no rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kgrec.schema import Schema

if TYPE_CHECKING:
    import neo4j

_KINDS = {
    "UnknownLabelWarning": "label",
    "UnknownRelationshipTypeWarning": "relationship type",
    "UnknownPropertyKeyWarning": "property",
}
_PUBLISHED = {
    "Published",
    "RECOMMENDED",
    "embedding",
    "id",
    "run",
    "release",
    "score",
    "rank",
    "graph",
    "cf",
    "content",
}


def unknown_name(summary: neo4j.ResultSummary, schema: Schema | None) -> tuple[str, int | None] | None:
    """Return what a query names that does not exist, and where in the query; None if all exists."""
    known = _PUBLISHED | (_names(schema) if schema else set())
    for note in summary.notifications or ():
        kind = _KINDS.get(str(note.get("code")).rpartition(".")[2])
        name = re.search(r"name is: (.+?)\)", str(note.get("description")))
        if kind and name and name[1].strip("`") not in known:
            position = note.get("position") or {}
            return f"there is no {kind} {name[1]!r} in the database", position.get("offset")
    return None


def _names(schema: Schema) -> set[str]:
    names = {*schema.nodes, *schema.relationships, *(f"{label}Vector" for label in schema.nodes)}
    for kind in (*schema.nodes.values(), *schema.relationships.values()):
        names |= set(kind.properties)
    return names | {node.key for node in schema.nodes.values()}
