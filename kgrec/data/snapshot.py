"""GraphSnapshot: an immutable, sorted and numbered copy of a graph, the only training input of models.

Nodes of a label are numbered in the order of their keys, so numbers and digest do not depend on the order in which a
store returns rows. There are three numberings: within a label, over all nodes of the graph (`offsets`), and over all
users and all items (`users`, `items`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from kgrec._util import html
from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.columns import column_numbers, flat, objects
from kgrec.data.digest import graph_digest
from kgrec.data.edges import Behaviors, Edges, numbered
from kgrec.data.id_map import IdMap, typed_ids
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.tables import GraphTables

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

    from kgrec.data.feedback_weights import FeedbackCurves

Vectors = Mapping[str, FloatArray]
"""Label → float32 [nodes of the label, dimensions]; the row of a node without a vector is zero."""


@dataclass(frozen=True)
class GraphSnapshot:
    """An immutable, numbered graph.

    Attributes:
        schema: schema of the graph.
        nodes: label → table of key and properties; row i is node i of the label.
        edges: edge type → its relationships, including behaviors.
        stored_curves: the `feedback_curves` that a run stored for this graph; None: they are learned when needed.
    """

    schema: Schema
    nodes: Mapping[str, pa.Table]
    edges: Mapping[EdgeType, Edges]
    stored_curves: FeedbackCurves | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_tables(cls, tables: GraphTables) -> GraphSnapshot:
        """Return a snapshot of checked tables, sorted and numbered."""
        schema = tables.schema
        nodes, keys = {}, {}
        for label in schema.nodes:
            if label in tables.nodes and tables.nodes[label].num_rows:
                nodes[label] = tables.nodes[label].sort_by(schema.nodes[label].key).combine_chunks()
                keys[label] = nodes[label].column(schema.nodes[label].key)
        edges = {
            edge_type: numbered(tables.edges[edge_type], keys[edge_type[0]], keys[edge_type[2]])
            for edge_type in schema.all_edge_types()
            if edge_type in tables.edges and tables.edges[edge_type].num_rows
        }
        return cls(schema, nodes, edges)

    def to_tables(self) -> GraphTables:
        """Return the graph as tables, with relationship ends as keys."""
        edges = {
            (src, type_, dst): pa.table(
                {
                    "src": self.ids(src).take(pa.array(e.src_num)),
                    "dst": self.ids(dst).take(pa.array(e.dst_num)),
                    **{name: e.table.column(name) for name in e.table.column_names},
                }
            )
            for (src, type_, dst), e in self.edges.items()
        }
        return GraphTables(self.schema, self.nodes, edges)

    def counts(self) -> dict[str, int]:
        """Return the number of nodes of each label and of relationships of each type."""
        counts = {label: table.num_rows for label, table in self.nodes.items()}
        for (_, type_, _), edges in self.edges.items():
            counts[type_] = counts.get(type_, 0) + len(edges)
        return counts

    def __repr__(self) -> str:
        return f"GraphSnapshot({', '.join(f'{name} {count:,}' for name, count in self.counts().items())})"

    def _repr_html_(self) -> str:
        return html.title(f"Graph of schema {self.schema.name}") + html.facts(self.counts())

    def ids(self, label: str) -> pa.Array:
        """Return the keys of a label's nodes, ordered by number."""
        return flat(self.nodes[label].column(self.schema.nodes[label].key))

    def names(self, label: str) -> pa.Array:
        """Return the display names of a label's nodes, ordered by number: the `name` property, else the key."""
        node = self.schema.nodes[label]
        column = self.nodes[label].column(node.name or node.key).cast(pa.string())
        return flat(pc.coalesce(column, self.ids(label)))

    @cached_property
    def users(self) -> IdMap:
        """Ids of all users, ordered by user number."""
        return self._role_ids(self.schema.roles.users)

    @cached_property
    def linked_users(self) -> IntArray:
        """Representative of each user, int64 [n_users]: the first of its linked users (role `same`), or itself."""
        own, type_ = np.arange(self.n_users), self.schema.roles.same
        for label, target, _ in (edge_type for edge_type in self.edges if edge_type[1] == type_):
            links, n = self.edges[label, target, label], self.nodes[label].num_rows
            start = self._role_offset(self.schema.roles.users, label)
            between = sp.coo_matrix((np.ones(len(links)), (links.src_num, links.dst_num)), shape=(n, n))
            _, person = connected_components(between, directed=False)
            own[start : start + n] = start + np.unique(person, return_index=True)[1][person]
        return own

    def user_nums(self, ids: Iterable[object]) -> IntArray:
        """Return the number of the representative (see `linked_users`) of each user id, int64 [n]; -1 if unknown."""
        nums = self.users.nums(ids)
        return np.where(nums >= 0, self.linked_users[nums], -1)

    @cached_property
    def items(self) -> IdMap:
        """Ids of all items, ordered by item number."""
        return self._role_ids(self.schema.roles.items)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    @cached_property
    def item_names(self) -> npt.NDArray[np.object_]:
        """Display names of all items, object [n_items]."""
        names = [self.names(label) for label in self.present(self.schema.roles.items)]
        return objects(pa.concat_arrays(names))

    def present(self, labels: Iterable[str]) -> list[str]:
        """Return the labels that have nodes in this graph."""
        return [label for label in labels if label in self.nodes]

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Label → graph-wide number of its first node."""
        sizes = [self.nodes[label].num_rows for label in self.nodes]
        return dict(zip(self.nodes, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))

    @property
    def n_nodes(self) -> int:
        """Number of nodes of all labels."""
        return sum(table.num_rows for table in self.nodes.values())

    @cached_property
    def user_nodes(self) -> IntArray:
        """Graph-wide node number of every user, int64 [n_users]."""
        return self._role_nodes(self.schema.roles.users)

    @cached_property
    def item_nodes(self) -> IntArray:
        """Graph-wide node number of every item, int64 [n_items]."""
        return self._role_nodes(self.schema.roles.items)

    @cached_property
    def item_domains(self) -> npt.NDArray[np.object_]:
        """Domain of each item, object [n_items]: the schema's domain property, else the item's label."""
        domain, parts = self.schema.roles.domain, []
        for label in self.present(self.schema.roles.items):
            own = pa.array([label] * self.nodes[label].num_rows, pa.string())
            column = self.nodes[label].column(domain).cast(pa.string()) if domain else own
            parts.append(flat(pc.fill_null(column, label)))
        return objects(pa.concat_arrays(parts))

    @cached_property
    def item_domain_nums(self) -> IntArray:
        """Index of each item's domain among the sorted domain names, int64 [n_items]."""
        return np.unique(self.item_domains.astype(str), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def behaviors(self) -> Behaviors:
        """All behaviors, ordered by the schema's edge types, then by edge."""
        parts = [self._behaviors_of(t) for t in self._behavior_types()]
        columns = zip(*parts, strict=True) if parts else ([np.empty(0, np.int64)] for _ in range(7))
        return Behaviors(*(np.concatenate(column) for column in columns))

    @cached_property
    def user_domains(self) -> tuple[IntArray, IntArray]:
        """Number of behaviors of each user in each domain, with domains sorted by name.

        Returns:
            Counts, int64 [n_users, domains], and each behavior's index into the flattened counts, int64 [n behaviors].
        """
        of_item = self.item_domain_nums
        n_domains = int(of_item.max(initial=-1)) + 1
        cells = self.behaviors.user_num * n_domains + of_item[self.behaviors.item_num]
        counts = np.bincount(cells, minlength=self.n_users * n_domains)
        return counts.reshape(self.n_users, n_domains), cells

    @cached_property
    def has_times(self) -> bool:
        """Whether any behavior has a time."""
        return bool(np.isfinite(self.behaviors.time).any())

    @cached_property
    def behaviors_differ(self) -> bool:
        """Whether behaviors have several types or weights, so that their feedback weights can differ."""
        behaviors = self.behaviors
        return bool(len(behaviors)) and bool(np.ptp(behaviors.weight) or np.ptp(behaviors.type_num))

    @cached_property
    def feedback_weights(self) -> FloatArray:
        """Feedback weight of every behavior, float32 [n behaviors]; see `kgrec.data.feedback_weights`."""
        from kgrec.data.feedback_weights import feedback_weights, weights_by_curve

        if self.stored_curves is not None:
            return weights_by_curve(self.behaviors, self.stored_curves)
        return feedback_weights(self.behaviors, self.n_items)

    @cached_property
    def feedback_curves(self) -> FeedbackCurves:
        """Behavior type → its distinct weights in ascending order, and the feedback weight of each."""
        from kgrec.data.feedback_weights import feedback_curves

        return feedback_curves(self.behaviors, self.feedback_weights)

    @cached_property
    def interactions(self) -> sp.csr_matrix:
        """Interaction matrix, float32 CSR [n_users, n_items]: 1 per pair, or less if its behaviors are noise."""
        return self.pairs(self.behaviors)

    @cached_property
    def interactions_of_type(self) -> list[sp.csr_matrix]:
        """Interaction matrix of each behavior type, in schema order; values as in `interactions`."""
        behaviors, n_types = self.behaviors, len(self.schema.roles.behaviours)
        return [self.pairs(behaviors.where(behaviors.type_num == n)) for n in range(n_types)]

    @cached_property
    def commonest_behavior(self) -> int:
        """Index in the schema of the most frequent behavior type."""
        return int(np.bincount(self.behaviors.type_num, minlength=1).argmax())

    @cached_property
    def median_weights(self) -> FloatArray:
        """Median weight of each behavior type, float32 [types]; 1 for a type without behaviors."""
        types, behaviors = range(len(self.schema.roles.behaviours)), self.behaviors
        of_types = [behaviors.weight[behaviors.type_num == n] for n in types]
        return np.array([np.median(weights) if len(weights) else 1 for weights in of_types], dtype=np.float32)

    def tie_breaks(self, user_num: IntArray, item_num: IntArray, seed: int = 0) -> npt.NDArray[np.uint64]:
        """Return a pseudo-random number for each (user, item) pair, uint64 [n], to order behaviors with equal times.

        The number is a hash of both ids and the seed: it is deterministic and independent of the rest of the graph.
        Ordering ties by id instead would always put the same items last.
        """
        of_users = self.users.hashes * np.uint64(2 * seed + 1)
        mixed = (of_users[user_num] << np.uint64(1)) ^ self.items.hashes[item_num]
        # The finalizer of SplitMix64 (Steele et al., OOPSLA 2014): every input bit affects every output bit.
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)))

    def pairs(self, behaviors: Behaviors) -> sp.csr_matrix:
        """Return the interaction matrix of behaviors, float32 CSR [n_users, n_items]; see `Behaviors.pairs`."""
        return behaviors.pairs(self.n_users, self.n_items)

    @cached_property
    def relations(self) -> dict[EdgeType, tuple[IntArray, IntArray]]:
        """Edge type that is not a behavior → graph-wide numbers of sources and targets, int64 [n] each."""
        return {
            t: (e.src_num + self.offsets[t[0]], e.dst_num + self.offsets[t[2]])
            for t, e in self.edges.items()
            if not self.schema.is_behavior(t)
        }

    @cached_property
    def item_attributes(self) -> sp.csr_matrix:
        """Nodes that each item is linked to in either direction, behaviors excluded: float32 CSR [n_items, n_nodes]."""
        return self._attributes(self.item_nodes)

    @cached_property
    def user_attributes(self) -> sp.csr_matrix:
        """Nodes that each user is linked to in either direction, behaviors excluded: float32 CSR [n_users, n_nodes]."""
        return self._attributes(self.user_nodes)

    def _attributes(self, nodes: IntArray) -> sp.csr_matrix:
        """Return the neighbors of some nodes by relationships that are not behaviors, CSR [nodes, n_nodes] of ones."""
        number = np.full(self.n_nodes, -1)
        number[nodes] = np.arange(len(nodes))
        none = np.empty(0, np.int64)
        source, target = (np.concatenate([none, *(ends[i] for ends in self.relations.values())]) for i in (0, 1))
        own, other = np.r_[source, target], np.r_[target, source]
        linked = number[own] >= 0
        cells = (number[own[linked]], other[linked])
        neighbors = sp.csr_matrix((np.ones(len(cells[0]), np.float32), cells), shape=(len(nodes), self.n_nodes))
        neighbors.data[:] = 1
        return neighbors

    def matrix(self, edge_type: EdgeType) -> sp.csr_matrix:
        """Return one edge type as a float32 CSR [sources of the label, targets of the label] of edge counts."""
        edges = self.edges[edge_type]
        shape = (self.nodes[edge_type[0]].num_rows, self.nodes[edge_type[2]].num_rows)
        return sp.csr_matrix((np.ones(len(edges), np.float32), (edges.src_num, edges.dst_num)), shape=shape)

    def with_behaviors(self, keep: BoolArray) -> GraphSnapshot:
        """Return the graph with only the behaviors that `keep` [n behaviors] marks; nodes and numbers do not change."""
        edges, start = dict(self.edges), 0
        for edge_type in self._behavior_types():
            n = len(self.edges[edge_type])
            edges[edge_type] = self.edges[edge_type].where(keep[start : start + n])
            start += n
        return replace(self, edges=edges, stored_curves=None)

    def with_confidence(self, confidence: FloatArray) -> GraphSnapshot:
        """Return the graph with a confidence set for each behavior, float32 [n behaviors]."""
        edges, start = dict(self.edges), 0
        for edge_type in self._behavior_types():
            n = len(self.edges[edge_type])
            edges[edge_type] = replace(self.edges[edge_type], confidence=confidence[start : start + n])
            start += n
        return replace(self, edges=edges, stored_curves=None)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of the schema, nodes and relationships, independent of the row order of the source."""
        return graph_digest(self.schema, self.nodes, self.edges)

    def to_pyg(self, vectors: Vectors | None = None) -> HeteroData:
        """Return the graph as torch-geometric `HeteroData`, with `vectors` (label → float32 [nodes, d]) as `x`."""
        import torch
        from torch_geometric.data import HeteroData

        data = HeteroData()
        for label, table in self.nodes.items():
            data[label].num_nodes = table.num_rows
            if vectors and label in vectors:
                data[label].x = torch.from_numpy(np.asarray(vectors[label]))
        for edge_type, edges in self.edges.items():
            data[edge_type].edge_index = torch.from_numpy(np.stack([edges.src_num, edges.dst_num]))
        return data

    def _role_ids(self, labels: Sequence[str]) -> IdMap:
        there = self.present(labels)
        parts = [self.ids(label) for label in there]
        if not any(self.schema.nodes[label].id_type == "int" for label in there):
            return IdMap(pa.concat_arrays(parts) if parts else pa.array([], pa.string()))
        typed = [typed_ids(ids, self.schema.nodes[label].id_type) for label, ids in zip(there, parts, strict=True)]
        return IdMap(pa.concat_arrays(parts), np.concatenate(typed))

    def _role_nodes(self, labels: Sequence[str]) -> IntArray:
        parts = [np.arange(self.nodes[x].num_rows) + self.offsets[x] for x in self.present(labels)]
        return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)

    def _role_offset(self, labels: Sequence[str], label: str) -> int:
        before = labels[: labels.index(label)]
        return sum(self.nodes[x].num_rows for x in self.present(before))

    def _behavior_types(self) -> list[EdgeType]:
        return [t for t in self.edges if self.schema.is_behavior(t)]

    def _behaviors_of(self, edge_type: EdgeType) -> tuple[npt.NDArray[Any], ...]:
        edges, roles, n = self.edges[edge_type], self.schema.roles, len(self.edges[edge_type])
        behavior = roles.behaviours[edge_type[1]]
        weight = column_numbers(edges.table.column(behavior.weight)) if behavior.weight else np.ones(n)
        time = column_numbers(edges.table.column(behavior.time)) if behavior.time else np.full(n, np.nan)
        split = np.full(n, "", dtype=object)
        if behavior.split:
            split = objects(flat(edges.table.column(behavior.split).fill_null("")))
        return (
            edges.src_num + self._role_offset(roles.users, edge_type[0]),
            edges.dst_num + self._role_offset(roles.items, edge_type[2]),
            weight.astype(np.float32),
            time,
            np.full(n, list(roles.behaviours).index(edge_type[1])),
            split,
            np.ones(n, dtype=np.float32) if edges.confidence is None else edges.confidence,
        )
