"""Neighbor sampling: unbiased samples of the subgraph around some nodes, of bounded size."""

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
        matrix: float32 CSR [m, m]; rows of the nodes farthest from the seeds are empty. For the rows of the seeds, its
            powers up to the number of layers are unbiased estimates of those of the full matrix.
    """

    nodes: IntArray
    matrix: sp.csr_matrix


def sample_subgraph(
    graph: sp.csr_matrix, seeds: IntArray, layers: int, fanout: int, limit: int, random: np.random.Generator
) -> Subgraph:
    """Return a subgraph sampled outwards from the seeds, with one ring of neighbors for each layer.

    For a node with more than `fanout` neighbors, `fanout` of them are sampled, with weights multiplied by degree /
    fanout (Hamilton et al., "Inductive Representation Learning on Large Graphs", NeurIPS 2017). Rings share the nodes
    that `limit` leaves equally; a larger ring is sampled, and its weights are divided by the sampled share.

    Args:
        graph: float32 CSR [n, n].
        seeds: distinct nodes, int64 [s]; s is at most `limit`.
        layers: number of rings.
        fanout: neighbors sampled for a node.
        limit: nodes of the subgraph, at most.
        random: random generator of the samples.
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
    """Return edges of nodes as starts, ends and weights, [e] each: all edges, or `fanout` sampled with replacement."""
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
    """Return the nodes, or `room` random ones of them, and the share returned."""
    if len(nodes) <= room:
        return nodes, 1.0
    # max(room, 1) avoids a division by 0; without room all these edges are dropped.
    return random.choice(nodes, room, replace=False), max(room, 1) / len(nodes)
