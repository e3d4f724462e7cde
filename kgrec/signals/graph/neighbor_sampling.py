"""Sampled sub-graphs: the neighborhoods of a few nodes, no larger than asked, right on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from kgrec._util.types import FloatArray, IntArray


@dataclass(frozen=True)
class Subgraph:
    """Some nodes of a graph and sampled edges between them.

    Attributes:
        nodes: int64 [m], graph-wide numbers; the seeds come first, in their order.
        matrix: float32 CSR [m, m]; rows of the nodes farthest from the seeds are empty. Its products, and its powers
            up to the number of layers, have those of the whole matrix as expectations, for the seeds' rows.
    """

    nodes: IntArray
    matrix: sp.csr_matrix


def sample_subgraph(
    graph: sp.csr_matrix, seeds: IntArray, layers: int, fanout: int, limit: int, random: np.random.Generator
) -> Subgraph:
    """Walk outwards from the seeds, a ring of neighbors for each layer.

    Of a node with more than `fanout` neighbors that many are drawn, the weight of each multiplied by degree / fanout
    (Hamilton et al., "Inductive Representation Learning on Large Graphs", NeurIPS 2017). A ring takes up to an equal
    part of the nodes that `limit` leaves; of more, random ones are taken, and count so much more.

    Args:
        graph: float32 CSR [n, n].
        seeds: different nodes, int64 [s]; s is at most `limit`.
        layers: how many rings.
        fanout: neighbors drawn of a node.
        limit: nodes that the sub-graph may have.
        random: source of the samples.
    """
    number = np.full(graph.shape[0], -1, dtype=np.int64)
    number[seeds] = np.arange(len(seeds))
    rings, entries = [seeds], []
    for _ in range(layers):
        start, end, weight = _drawn(graph, rings[-1], fanout, random)
        new = number[end] < 0
        ring, share = _at_most((limit - len(seeds)) // layers, np.unique(end[new]), random)
        number[ring] = np.arange(len(ring)) + sum(map(len, rings))
        weight[new] /= share
        inside = number[end] >= 0
        entries.append((number[start[inside]], number[end[inside]], weight[inside]))
        rings.append(ring)
    nodes = np.concatenate(rings)
    row, column, weight = (np.concatenate(part) for part in zip(*entries, strict=True))
    return Subgraph(nodes, sp.csr_matrix((weight, (row, column)), shape=(len(nodes), len(nodes))))


def _drawn(
    graph: sp.csr_matrix, nodes: IntArray, fanout: int, random: np.random.Generator
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return drawn edges as starts, ends and weights, [e] each: all of a node, or `fanout` drawn with replacement."""
    first = graph.indptr[nodes].astype(np.int64)
    degree = graph.indptr[nodes + 1] - first
    count = np.minimum(degree, fanout)
    row = np.repeat(np.arange(len(nodes)), count)
    turn = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    many = degree[row] > fanout
    turn[many] = (random.random(np.count_nonzero(many)) * degree[row[many]]).astype(np.int64)
    entry = first[row] + turn
    weight = graph.data[entry] * (degree / np.maximum(count, 1))[row]
    return nodes[row], graph.indices[entry].astype(np.int64), weight.astype(np.float32)


def _at_most(room: int, nodes: IntArray, random: np.random.Generator) -> tuple[IntArray, float]:
    """Return the nodes, or `room` random ones of them, and the share taken."""
    if len(nodes) <= room:
        return nodes, 1.0
    # A share of 0 divides only weights that are then left out.
    return random.choice(nodes, room, replace=False), max(room, 1) / len(nodes)
