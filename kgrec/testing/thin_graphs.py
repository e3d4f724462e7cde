"""Graphs in which most users have one behavior and one relation of many says what they take next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kgrec._util.types import BoolArray, DoubleArray, IntArray
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables

TOOK: Final[EdgeType] = ("User", "TOOK", "Item")
BY: Final[EdgeType] = ("Item", "BY", "Author")
WROTE: Final[EdgeType] = ("Author", "WROTE", "Item")
HUB: Final[EdgeType] = ("Item", "IN", "Hub")
RARE: Final[EdgeType] = ("Item", "RARE", "Thing")
MAX_ITEMS_OF_AUTHOR: Final = 70
MAX_TRAIN_BEHAVIORS: Final = 100
SAME_AUTHOR_SHARE: Final = 0.48
"""Share of next items that are sought among those of an author; some authors have no other item."""
TRIES: Final = 4
"""Draws of a next item until one is new to the user."""


def thin_graph(
    seed: int = 0, n_users: int = 10_000, n_items: int = 9_000, n_idle: int = 20, behaviors: int | None = None
) -> GraphTables:
    """Return a graph in which the author of a user's items explains four in ten of the next ones.

    The other next items are drawn by popularity, as is the item among those of an author. Each item has one author, of
    1 to 70 items, and one node of every idle relation, which tells nothing: the sizes of its nodes are those of the
    authors. A random item of each user is in the part "test".

    Args:
        seed: the same seed gives the same graph.
        n_users, n_items: size of the graph.
        n_idle: number of relations that tell nothing.
        behaviors: train behaviors of every user; None: 1 to 100, the median is 1.

    Returns:
        Checked tables: users, items, authors, nodes of the idle relations.
    """
    rng = np.random.default_rng(seed)
    author = _authors(n_items, rng)
    appeal = 1 / (1 + rng.permutation(n_items)) ** 0.8
    count = np.full(n_users, behaviors) if behaviors else np.minimum(rng.zipf(2.2, n_users), MAX_TRAIN_BEHAVIORS)
    taken = _histories(count + 1, author, appeal, rng)
    user, turn = np.nonzero(taken >= 0)
    n_taken = np.bincount(user, minlength=n_users)
    withheld = (turn == rng.integers(n_taken)[user]) & (n_taken[user] > 1)
    took = {"src": user, "dst": taken[user, turn], "split": np.where(withheld, "test", "train")}
    tables = _tables(n_users, n_items, took)
    tables = with_relation(tables, BY, np.arange(n_items), author)
    for num in range(n_idle):
        tables = with_relation(tables, idle(num), np.arange(n_items), rng.permutation(author))
    return tables


def with_odd_relations(tables: GraphTables) -> GraphTables:
    """Return a `thin_graph` with the inverse of the author relation, a hub, and a relation of three edges."""
    items = np.arange(tables.nodes["Item"].num_rows)
    author = np.unique(tables.edges[BY]["dst"].to_numpy(zero_copy_only=False), return_inverse=True)[1]
    tables = with_relation(tables, WROTE, author, items)
    tables = with_relation(tables, HUB, items, np.zeros_like(items))
    return with_relation(tables, RARE, items[:3], np.zeros(3, np.int64))


def idle(num: int) -> EdgeType:
    """Return the edge type of a relation that tells nothing, by number."""
    return ("Item", f"IDLE_{num}", f"Node_{num}")


def with_relation(tables: GraphTables, edge_type: EdgeType, src: IntArray, dst: IntArray) -> GraphTables:
    """Return the tables with one more relation between items and other nodes, or between items, by their numbers."""
    data, nodes = tables.schema.to_dict(), dict(tables.nodes)
    data["relationships"][edge_type[1]] = {"from": edge_type[0], "to": edge_type[2]}
    for label, nums in ((edge_type[0], src), (edge_type[2], dst)):
        if label not in nodes:
            data["nodes"][label] = {"key": "id"}
            nodes[label] = pa.table({"id": _ids(label, np.unique(nums))})
    edges = dict(tables.edges) | {edge_type: pa.table({"src": _ids(edge_type[0], src), "dst": _ids(edge_type[2], dst)})}
    return check(replace(tables, schema=Schema.from_dict(data), nodes=nodes, edges=edges))


def _tables(n_users: int, n_items: int, took: Mapping[str, Any]) -> GraphTables:
    schema = {
        "name": "thin",
        "nodes": {"User": {"key": "id"}, "Item": {"key": "id"}},
        "relationships": {"TOOK": {"from": "User", "to": "Item", "properties": {"split": "string"}}},
        "roles": {"users": "User", "items": "Item", "behaviours": {"TOOK": {"split": "split"}}},
    }
    nodes = {label: pa.table({"id": _ids(label, np.arange(n))}) for label, n in (("User", n_users), ("Item", n_items))}
    ends = {"src": _ids("User", took["src"]), "dst": _ids("Item", took["dst"])}
    return GraphTables(Schema.from_dict(schema), nodes, {TOOK: pa.table({**ends, "split": took["split"]})})


def _authors(n_items: int, rng: np.random.Generator) -> IntArray:
    """Return the author of each item, int64 [n_items]: most authors have few items."""
    sizes = np.arange(1, MAX_ITEMS_OF_AUTHOR + 1)
    drawn = rng.choice(sizes, n_items, p=sizes**-1.5 / (sizes**-1.5).sum())
    return np.asarray(rng.permutation(np.repeat(np.arange(n_items), drawn)[:n_items]))


def _histories(count: IntArray, author: IntArray, appeal: DoubleArray, rng: np.random.Generator) -> IntArray:
    """Return the items that each user took, in order, int64 [n_users, most]; -1 after the last."""
    taken = np.full((len(count), int(count.max())), -1)
    catalog = _Catalog(author, appeal, rng)
    for turn in range(taken.shape[1]):
        missing = np.flatnonzero(count > turn)
        seeks = rng.random(len(missing)) < SAME_AUTHOR_SHARE * (turn > 0)
        for attempt in range(TRIES):
            before = taken[missing, :turn]
            drawn = catalog.draw(before, seeks & (attempt < TRIES - 1))
            new = ~(before == drawn[:, None]).any(axis=1)
            taken[missing[new], turn] = drawn[new]
            missing, seeks = missing[~new], seeks[~new]
        count[missing] = turn  # nothing new was found
    return taken


class _Catalog:
    """Items, drawn by their appeal: of all, or of an author."""

    def __init__(self, author: IntArray, appeal: DoubleArray, rng: np.random.Generator) -> None:
        self.rng, self.author = rng, author
        self.order = np.argsort(author, kind="stable")
        self.until = np.append(0.0, np.cumsum(appeal[self.order]))
        self.first, self.last = (np.searchsorted(author[self.order], author, side=side) for side in ("left", "right"))

    def draw(self, before: IntArray, seeks: BoolArray) -> IntArray:
        """Return an item for each row of `before`, of the author of one of its items where the row seeks that."""
        low, high = np.zeros(len(before), np.int64), np.full(len(before), len(self.author))
        rows = np.flatnonzero(seeks)
        if len(rows):
            known = before[rows, self.rng.integers(before.shape[1], size=len(rows))]
            low[rows], high[rows] = self.first[known], self.last[known]
        span = self.until[high] - self.until[low]
        place = np.searchsorted(self.until, self.until[low] + self.rng.random(len(low)) * span, side="right") - 1
        return np.asarray(self.order[np.clip(place, low, high - 1)])


def _ids(label: str, nums: IntArray) -> pa.Array:
    return pa.array(np.char.add(f"{label[:1].lower()}", np.char.zfill(np.asarray(nums).astype(str), 5)))
