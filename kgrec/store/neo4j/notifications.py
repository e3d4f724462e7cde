"""Names in a query that neither the database nor the schema knows: Neo4j answers it with a note, and without rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.schema import Schema

if TYPE_CHECKING:
    import neo4j

_KINDS: Final = {"01N50": "label", "01N51": "relationship type", "01N52": "property"}
"""GQL status codes of Neo4j's notes."""

_OURS: Final = {
    *("Published", "RECOMMENDED", "_Kgrec"),
    *("id", "yaml", "embedding", "run", "release", "score", "rank", *SHARE_COLUMNS),
}


def unknown_name(summary: neo4j.ResultSummary, schema: Schema | None) -> tuple[str, int | None] | None:
    """Return what a query names that does not exist, and where in the query; None if all exists."""
    known = _OURS | (_names(schema) if schema else set())
    for notification in summary.gql_status_objects:
        kind = _KINDS.get(notification.gql_status)
        name = re.search(r"`(.+?)`", notification.status_description)
        if kind and name and name[1] not in known:
            offset = notification.position.offset if notification.position else None
            return f"there is no {kind} {name[1]!r} in the database", offset
    return None


def _names(schema: Schema) -> set[str]:
    names = {*schema.nodes, *schema.relationships, *(f"{label}Vector" for label in schema.nodes)}
    names |= {p for relationship in schema.relationships.values() for p in relationship.properties}
    return names | {p for node in schema.nodes.values() for p in (node.key, *node.properties)}
