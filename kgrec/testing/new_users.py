"""Graphs in which what is known of new users says what they take, and nothing else does."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.testing.graphs import KnownAnswers

SCHEMA: Final = Schema.from_dict(
    {
        "name": "trades",
        "nodes": {
            "User": {"key": "user_id", "properties": {"trade": "string"}},
            "Item": {"key": "item_id"},
            "Club": {"key": "club_id"},
        },
        "relationships": {
            "TOOK": {"from": "User", "to": "Item", "properties": {"split": "string"}},
            "IN": {"from": "User", "to": "Club"},
        },
        "roles": {"users": "User", "items": "Item", "behaviours": {"TOOK": {"split": "split"}}},
    }
)
N_USERS: Final = 600
N_NEW: Final = 100
N_ITEMS: Final = 40
N_TASTES: Final = 4
TAKEN: Final = 3


def users_of_trades(seed: int = 0, destroyed: bool = False) -> GraphTables:
    """Return a graph of users with a trade and a club, which together decide their taste: 4 tastes of 10 items.

    The last 100 users are new: all that they take is in the part "test". Items of a taste differ in popularity.

    Args:
        seed: the same seed gives the same graph.
        destroyed: shuffle trades and clubs among users, so that they say nothing.
    """
    rng = np.random.default_rng(seed)
    taste = rng.permutation(N_USERS) % N_TASTES
    chance = 1 / (1 + np.arange(N_ITEMS // N_TASTES)) ** 0.5
    drawn = [rng.choice(len(chance), TAKEN, replace=False, p=chance / chance.sum()) for _ in range(N_USERS)]
    user = np.repeat(np.arange(N_USERS), TAKEN)
    item = N_TASTES * np.concatenate(drawn) + taste[user]
    known = rng.permutation(taste) if destroyed else taste
    users, items = ([f"{prefix}{num:03}" for num in range(n)] for prefix, n in (("u", N_USERS), ("i", N_ITEMS)))
    nodes = {
        "User": pa.table({"user_id": users, "trade": np.array(["smith", "baker"])[known % 2]}),
        "Item": pa.table({"item_id": items}),
        "Club": pa.table({"club_id": ["chess", "rowing"]}),
    }
    split = np.where(user < N_USERS - N_NEW, "train", "test")
    took = pa.table({"src": np.array(users)[user], "dst": np.array(items)[item], "split": split})
    clubs = pa.table({"src": users, "dst": np.array(["chess", "rowing"])[known // 2]})
    return check(GraphTables(SCHEMA, nodes, {("User", "TOOK", "Item"): took, ("User", "IN", "Club"): clubs}))


def trade_answers(destroyed: bool = False) -> KnownAnswers:
    """Return the known answers of `users_of_trades`: for each new user, all items of their taste.

    Args:
        destroyed: trades and clubs say nothing.
    """
    graph = GraphSnapshot.from_tables(users_of_trades(1, destroyed))
    train = graph.with_behaviors(graph.behaviors.split == "train")
    new = np.arange(N_USERS - N_NEW, N_USERS)
    taken = graph.interactions[new].toarray()
    own = taken.reshape(N_NEW, -1, N_TASTES).sum(axis=1).argmax(axis=1)
    right = np.arange(N_ITEMS) % N_TASTES == own[:, None]
    return KnownAnswers(train, {}, new, right, np.ones_like(right))
