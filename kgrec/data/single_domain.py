"""Single-domain subgraphs, to measure negative transfer between domains and to train signals on one domain.

If other domains lower the accuracy in a domain, its active users get signals trained on that domain alone: all signals,
or those that improve. Cold-start users of the domain keep the signals trained on the complete graph.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kgrec._util.types import BoolArray
from kgrec.data.edges import Edges
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.split import Split


def single_domain(graph: GraphSnapshot, domain: str) -> GraphSnapshot:
    """Return the graph without the items of other domains and without their relationships.

    All users are kept, so user numbers do not change; the domain's items keep their order.
    """
    kept = _kept(graph, domain)
    nodes = {label: table.filter(kept[label]) for label, table in graph.nodes.items() if kept[label].any()}
    number = {label: np.cumsum(mask) - 1 for label, mask in kept.items()}
    edges = {}
    for (source, type_, target), edges_of_type in graph.edges.items():
        own = edges_of_type.where(kept[source][edges_of_type.src_num] & kept[target][edges_of_type.dst_num])
        if len(own):
            ends = number[source][own.src_num], number[target][own.dst_num]
            edges[source, type_, target] = Edges(*ends, own.table, own.confidence)
    return replace(graph, nodes=nodes, edges=edges)


def single_domain_vectors(graph: GraphSnapshot, domain: str, vectors: Vectors) -> Vectors:
    """Return the vectors of the nodes that `single_domain` keeps, label → float32 [kept nodes, d]."""
    kept = _kept(graph, domain)
    return {label: matrix[kept[label]] for label, matrix in vectors.items() if kept[label].any()}


def single_domain_split(split: Split, domain: str) -> Split:
    """Return the split restricted to one domain, with the same validation and test behaviors in that domain."""
    graph = split.graph
    own = (graph.item_domains == domain)[graph.behaviors.item_num]
    return replace(split, graph=single_domain(graph, domain), is_valid=split.is_valid[own], is_test=split.is_test[own])


def _kept(graph: GraphSnapshot, domain: str) -> dict[str, BoolArray]:
    """Return label → mask of the nodes that are not items of another domain, bool [nodes of the label]."""
    kept = {label: np.ones(table.num_rows, dtype=bool) for label, table in graph.nodes.items()}
    labels = graph.present(graph.schema.roles.items)
    ends = np.cumsum([graph.nodes[label].num_rows for label in labels])[:-1]
    return kept | dict(zip(labels, np.split(graph.item_domains == domain, ends), strict=True))
