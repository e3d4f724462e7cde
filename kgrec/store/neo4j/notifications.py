"""Unknown names in a query, for which Neo4j returns a notification and no rows instead of an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kgrec.data.columns import SHARE_COLUMNS
from kgrec.data.schema import Schema

if TYPE_CHECKING:
    import neo4j

_KINDS: Final = {"01N50": "label", "01N51": "relationship type", "01N52": "property"}
"""GQL status code of a notification → kind of unknown name."""

_OWN_NAMES: Final = {
    *("Published", "RECOMMENDED", "_Kgrec"),
    *("id", "yaml", "embedding", "run", "release", "score", "rank", *SHARE_COLUMNS),
}


def unknown_name(summary: neo4j.ResultSummary, schema: Schema | None) -> tuple[str, int | None] | None:
    """Return a message about the first unknown name in a query and its position; None if all names exist."""
    known = _OWN_NAMES | (_names(schema) if schema else set())
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
