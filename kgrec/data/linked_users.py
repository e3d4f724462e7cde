"""Same: users who are linked as one person act as one, whatever their ids are in each domain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kgrec._util.types import IntArray
from kgrec.data.edges import Edges
from kgrec.data.snapshot import GraphSnapshot
from kgrec.errors import DataError, Problem


def merge_linked_users(graph: GraphSnapshot) -> GraphSnapshot:
    """Return the graph with what linked users did moved to the first of them, who stands for all of them.

    A cut is made of the graph that this returns: which behavior is the latest depends on who did it.

    Raises:
        DataError: users who are linked as one act in the same domain, where a person is one user; with all of them.
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
    """Return behaviors with the first of linked users as their source, sorted again."""
    source = first[edges.src_num]
    order = np.lexsort([edges.dst_num, source])
    return Edges(
        source[order], edges.dst_num[order], edges.table.take(order) if edges.table.num_columns else edges.table
    )


def _contradictions(graph: GraphSnapshot, first: IntArray) -> Iterator[Problem]:
    """Yield, for each person and domain, the several users who act there."""
    counts, _ = graph.user_domains
    user, domain = np.nonzero(counts)
    cell = first[user] * counts.shape[1] + domain
    names = np.unique(graph.item_domains.astype(str))
    for several in np.flatnonzero(np.bincount(cell) > 1).tolist():
        ids = ", ".join(graph.users.ids[user[cell == several]])
        found = f"users {ids} linked as one, who all act in {str(names[several % len(names)])!r}"
        yield Problem(str(graph.schema.roles.same), found, "one user of a domain for a person; take a link away")
