"""Export of a graph, or of the neighborhood of a node, to networkx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from kgrec._util.types import BoolArray
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_rows import check_times
from kgrec.errors import MissingExtra, UsageError, near_matches

if TYPE_CHECKING:
    import networkx


def to_networkx(
    snapshot: GraphSnapshot, node: str | tuple[str, str] | None = None, *, hops: int = 1, limit: int = 10_000
) -> networkx.MultiDiGraph:
    """Return a networkx graph with (label, key) as node, properties on nodes and edges, and the edge attribute `type`.

    Args:
        snapshot: the graph.
        node: key of the center of the neighborhood, or (label, key) if several labels have this key; None exports the
            complete graph.
        hops: maximum number of relationships, followed in both directions, from the center.
        limit: maximum number of nodes; networkx keeps a Python object for each.

    Raises:
        UsageError: the node is unknown, several labels have the key, or there are more than `limit` nodes.
        DataError: a time is outside the years 1 to 9999.
        MissingExtra: networkx is not installed.
    """
    try:
        import networkx
    except ImportError:
        raise MissingExtra('networkx is not installed; run: pip install "kgrec[networkx]"') from None
    within = np.ones(snapshot.n_nodes, dtype=bool)
    if node is not None:
        within = _around(snapshot, _node_number(snapshot, node), hops)
    if within.sum() > limit:
        what = f"{hops} hops around {node!r} hold" if node is not None else "the graph has"
        raise UsageError(f"{what} {within.sum():,} nodes; expected at most {limit:,}: ask for less, or raise `limit`")
    check_times([*snapshot.nodes.items(), *((edge_type, edges.table) for edge_type, edges in snapshot.edges.items())])
    graph = networkx.MultiDiGraph()
    for label in snapshot.nodes:
        graph.add_nodes_from(_nodes(snapshot, label, within))
    for edge_type in snapshot.edges:
        graph.add_edges_from(_edges(snapshot, edge_type, within))
    return graph


def _node_number(snapshot: GraphSnapshot, node: str | tuple[str, str]) -> int:
    """Return the graph-wide number of a node."""
    label, key = node if isinstance(node, tuple) else (None, node)
    numbers = {name: snapshot.ids(name).index(key).as_py() for name in snapshot.nodes if label is None or name == label}
    numbers = {name: number for name, number in numbers.items() if number >= 0}
    if len(numbers) == 1:
        [(name, number)] = numbers.items()
        return int(snapshot.offsets[name] + number)
    if numbers:
        raise UsageError(
            f"{key!r} is the key of several nodes; expected one of {', '.join(str((n, key)) for n in numbers)}"
        )
    others = (name for name in snapshot.nodes if name not in snapshot.schema.roles.users)
    known = (id_ for name in others for id_ in snapshot.ids(name).to_pylist())
    raise UsageError(f"unknown node: {node!r}{near_matches(str(key), known)}")


def _around(snapshot: GraphSnapshot, number: int, hops: int) -> BoolArray:
    """Return a mask of the nodes at most `hops` relationships away, bool [n_nodes]."""
    ends = [(e.src_num + snapshot.offsets[t[0]], e.dst_num + snapshot.offsets[t[2]]) for t, e in snapshot.edges.items()]
    none = np.empty(0, np.int64)
    src, dst = (np.concatenate(part) for part in zip((none, none), *ends, strict=True))
    n = snapshot.n_nodes
    links = sp.csr_matrix((np.ones(len(src), np.float32), (src, dst)), shape=(n, n))
    within = np.zeros(n, dtype=bool)
    within[number] = True
    for _ in range(hops):
        reached = within.astype(np.float32)
        within |= (links @ reached + links.T @ reached) > 0
    return within


def _nodes(snapshot: GraphSnapshot, label: str, within: BoolArray) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    table, start = snapshot.nodes[label], snapshot.offsets[label]
    key = snapshot.schema.nodes[label].key
    for row in table.filter(pa.array(within[start : start + table.num_rows])).to_pylist():
        yield (label, row[key]), {"label": label, **row}


def _edges(
    snapshot: GraphSnapshot, edge_type: tuple[str, str, str], within: BoolArray
) -> Iterator[tuple[tuple[str, str], tuple[str, str], dict[str, Any]]]:
    source, type_, target = edge_type
    edges = snapshot.edges[edge_type]
    kept = edges.where(
        within[edges.src_num + snapshot.offsets[source]] & within[edges.dst_num + snapshot.offsets[target]]
    )
    starts = snapshot.ids(source).take(pa.array(kept.src_num)).to_pylist()
    ends = snapshot.ids(target).take(pa.array(kept.dst_num)).to_pylist()
    rows = kept.table.to_pylist() if kept.table.num_columns else [{} for _ in starts]
    for start, end, row in zip(starts, ends, rows, strict=True):
        yield (source, start), (target, end), {"type": type_, **row}
