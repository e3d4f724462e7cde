"""Graphs of two shops, whose users have known tastes; some are active in one shop only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from kgrec._util.types import DoubleArray, FloatArray, IntArray
from kgrec.data.edges import Behaviors
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.testing.graphs import KnownAnswers

SCHEMA = Schema.from_dict(
    {
        "name": "shops",
        "nodes": {
            "User": {"key": "user_id"},
            "Item": {"key": "item_id", "properties": {"shop": "string"}},
        },
        "relationships": {"BOUGHT": {"from": "User", "to": "Item"}},
        "roles": {"users": "User", "items": "Item", "behaviours": {"BOUGHT": {}}, "domain": "shop"},
    }
)
N_USERS, N_ITEMS, TASTES = 600, 30, 3


def shops(n_new: int) -> GraphSnapshot:
    """Return users of three tastes who buy three of ten items in each of two shops; the first `n_new` in one only."""
    rng = np.random.default_rng(0)
    ids = [f"{shop}{i:02}" for shop in "ab" for i in range(N_ITEMS)]
    items = {"item_id": ids, "shop": [id_[0] for id_ in ids]}
    rows = []
    for user in range(N_USERS):
        for shop in "a" if user < n_new else "ab":
            chosen = rng.choice(np.arange(user % TASTES, N_ITEMS, TASTES), 3, replace=False)
            rows += [(f"u{user:03}", f"{shop}{item:02}") for item in chosen]
    users, bought = zip(*rows, strict=True)
    nodes = {"User": pa.table({"user_id": sorted(set(users))}), "Item": pa.table(items)}
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users, "dst": bought})}
    return GraphSnapshot.from_tables(check(GraphTables(SCHEMA, nodes, edges)))


@dataclass(frozen=True)
class RarelyShared:
    """Two shops with few shared users, and what the others would buy in the shop that they do not know.

    Attributes:
        graph: the users and what they bought.
        new: shop → its cold-start users, int64 [n].
        chance: float64 [n_users, items of a shop], the probability of each item of the new shop, by its number.
    """

    graph: GraphSnapshot
    new: Mapping[str, IntArray]
    chance: DoubleArray

    def gain(self, shop: str, scores: FloatArray, k: int = 5) -> float:
        """Return the mean probability of the k best items of a shop for its cold-start users; scores are [n, items]."""
        best = np.argsort(-scores, axis=1)[:, :k]
        return float(np.take_along_axis(self.chance[self.new[shop]], best, axis=1).sum(axis=1).mean())


def rarely_shared(told: bool, n_users: int = 2_000, shared: float = 0.05) -> RarelyShared:
    """Return users of three tastes who buy four items of a shop, popular ones rather; few buy in both shops.

    Args:
        told: whether a user has the same taste in both shops; otherwise one shop says nothing about the other.
        n_users: users of both shops.
        shared: share of them who buy in both.
    """
    rng, user, item = np.random.default_rng(0), np.arange(n_users), np.arange(N_ITEMS)
    taste = np.stack([user % TASTES, user % TASTES if told else rng.integers(TASTES, size=n_users)])
    popular = (1.0 + item // TASTES) ** -0.7
    odds = np.where(item % TASTES == taste[:, :, None], 1, 0.05) * popular  # [shops, users, items]
    order = np.argsort(-(np.log(odds) + rng.gumbel(size=odds.shape)), axis=2)[:, :, :4]
    in_shop = (user < shared * n_users) | (user % 2 == np.arange(2)[:, None])
    shop, buyer = np.nonzero(in_shop)
    ids = [f"{shop}{i:02}" for shop in "ab" for i in range(N_ITEMS)]
    bought = {
        "src": [f"u{num:04}" for num in np.repeat(buyer, 4).tolist()],
        "dst": [ids[num] for num in (order[in_shop] + shop[:, None] * N_ITEMS).ravel().tolist()],
    }
    nodes = {
        "User": pa.table({"user_id": [f"u{num:04}" for num in range(n_users)]}),
        "Item": pa.table({"item_id": ids, "shop": [id_[0] for id_ in ids]}),
    }
    graph = GraphSnapshot.from_tables(check(GraphTables(SCHEMA, nodes, {("User", "BOUGHT", "Item"): pa.table(bought)})))
    chance = odds[0] if told else np.tile(popular, (n_users, 1))
    new = {"a": np.flatnonzero(~in_shop[0]), "b": np.flatnonzero(~in_shop[1])}
    return RarelyShared(graph, new, chance / chance.sum(axis=1, keepdims=True))


def twins() -> GraphSnapshot:
    """Return users who buy three random items in shop a, and those of the same numbers in shop b."""
    rng = np.random.default_rng(0)
    chosen = np.argsort(rng.random((N_USERS, N_ITEMS)), axis=1)[:, :3].ravel()
    users = [f"u{num // 3:03}" for num in range(len(chosen))]
    items = [f"{shop}{i:02}" for shop in "ab" for i in range(N_ITEMS)]
    bought = [f"{shop}{num:02}" for shop in "ab" for num in chosen]
    nodes = {
        "User": pa.table({"user_id": sorted(set(users))}),
        "Item": pa.table({"item_id": items, "shop": [item[0] for item in items]}),
    }
    edges = {("User", "BOUGHT", "Item"): pa.table({"src": users * 2, "dst": bought})}
    return GraphSnapshot.from_tables(check(GraphTables(SCHEMA, nodes, edges)))


def counts(graph: GraphSnapshot, behaviors: Behaviors) -> IntArray:
    """Return the number of interactions of each user in each shop, [n users, 2]."""
    shop = (graph.item_domains == "b").astype(int)[behaviors.item_num]
    return np.bincount(behaviors.user_num * 2 + shop, minlength=2 * graph.n_users).reshape(-1, 2)


def cold_start_answers(n_new: int = 100, destroyed: bool = False) -> KnownAnswers:
    """Return the known answers of `shops`: for cold-start users of shop b, its items of their taste.

    Args:
        n_new: number of users who buy in shop a only.
        destroyed: shuffle the items bought in shop b, so that nothing can be learned.
    """
    graph = _mixed_up(shops(n_new)) if destroyed else shops(n_new)
    taste, user_nums = np.array([int(id_[1:]) % TASTES for id_ in graph.items.ids]), np.arange(n_new)
    right, in_b = taste == (user_nums % TASTES)[:, None], graph.item_domains == "b"
    return KnownAnswers(graph, {}, user_nums, right & in_b, np.tile(in_b, (n_new, 1)))


def _mixed_up(graph: GraphSnapshot) -> GraphSnapshot:
    tables = graph.to_tables()
    [(type_, bought)] = tables.edges.items()
    item = bought["dst"].to_numpy(zero_copy_only=False).copy()
    in_b = np.flatnonzero([id_.startswith("b") for id_ in item])
    item[in_b] = item[np.random.default_rng(0).permutation(in_b)]
    mixed = bought.set_column(bought.column_names.index("dst"), "dst", pa.array(item))
    return GraphSnapshot.from_tables(check(replace(tables, edges={type_: mixed})))
