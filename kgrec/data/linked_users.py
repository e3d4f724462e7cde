"""Identity resolution: accounts that the schema's `same` role links are merged into one user across domains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kgrec._util.types import IntArray
from kgrec.data.edges import Edges
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import DataError, Problem


def merge_linked_users(graph: GraphSnapshot) -> GraphSnapshot:
    """Return the graph with the behaviors of linked users moved to the first of them.

    Merge before splitting: which behavior of a user is the latest depends on which accounts are merged.

    Raises:
        DataError: lists the linked users who have behaviors in the same domain; a person must be one user per domain.
    """
    first, acting = graph.linked_users, np.unique(graph.behaviors.user_num)
    if (first[acting] == acting).all():
        return graph
    if problems := list(_contradictions(graph, first)):
        raise DataError(problems)
    label = graph.schema.relationships[str(graph.schema.roles.same)].from_[0]
    start = int(np.argmax(graph.user_nodes == graph.offsets[label]))
    own = first[start : start + graph.nodes[label].num_rows] - start
    mine = [t for t in graph.edges if t[0] == label and graph.schema.is_behavior(t)]
    return replace(graph, edges={**graph.edges, **{t: _moved(graph.edges[t], own) for t in mine}})


def _moved(edges: Edges, first: IntArray) -> Edges:
    """Return behaviors with the source replaced by the first of its linked users, sorted again."""
    source = first[edges.src_num]
    order = np.lexsort([edges.dst_num, source])
    return Edges(
        source[order], edges.dst_num[order], edges.table.take(order) if edges.table.num_columns else edges.table
    )


def _contradictions(graph: GraphSnapshot, first: IntArray) -> Iterator[Problem]:
    """Yield a problem for each person and domain in which several linked users have behaviors."""
    counts, _ = graph.user_domains
    user, domain = np.nonzero(counts)
    cell = first[user] * counts.shape[1] + domain
    names = np.unique(graph.item_domains.astype(str))
    for several in np.flatnonzero(np.bincount(cell) > 1).tolist():
        ids = ", ".join(graph.users.ids[user[cell == several]])
        found = f"linked users {ids} who all have behaviors in domain {str(names[several % len(names)])!r}"
        yield Problem(str(graph.schema.roles.same), found, "one user per person and domain; remove a link")
