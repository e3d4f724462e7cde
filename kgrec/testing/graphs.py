"""Small graphs with known answers, to test that models learn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from kgrec._util.types import BoolArray, FloatArray, IntArray
from kgrec.data.schema import Schema
from kgrec.data.schema_parts import EdgeType
from kgrec.data.snapshot import GraphSnapshot, Vectors
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.testing.encoder import WordEncoder

LIKED: EdgeType = ("User", "LIKED", "Item")
HAS_TAG: EdgeType = ("Item", "HAS_TAG", "Tag")
COMMUNITY_SCHEMA = Schema.from_dict(
    {
        "name": "communities",
        "nodes": {
            "User": {"key": "user_id", "text": ["liked {LIKED:3}"]},
            "Item": {
                "key": "item_id",
                "name": "title",
                "properties": {"title": "string", "year": "int", "topics": "strings"},
                "text": ["{title}"],
            },
            "Tag": {"key": "tag_id"},
        },
        "relationships": {
            "LIKED": {
                "from": "User",
                "to": "Item",
                "properties": {"rating": "float", "timestamp": "float", "split": "string"},
            },
            "HAS_TAG": {"from": "Item", "to": "Tag"},
        },
        "roles": {
            "users": "User",
            "items": "Item",
            "behaviours": {"LIKED": {"weight": "rating", "time": "timestamp", "split": "split"}},
        },
    }
)
_WORDS = (("spaceship", "galaxy", "robot", "laser"), ("garden", "flower", "tulip", "meadow"))


def two_communities(seed: int = 0, n_users: int = 20, n_items: int = 10) -> GraphTables:
    """Return a graph in which one test item is right for every user, and only the communities predict it.

    Users of a community like all its items but one, which their `split` marks as test. It is the only unseen item of
    the user's own community, so a model that learns ranks it first. All items are about equally popular, so popularity
    does not help. Each item has two of the community's tags, and its title the words of these.

    Args:
        seed: decides the community of each user and item; the same seed gives the same graph.
        n_users, n_items: users and items of each community.

    Returns:
        Checked tables: `COMMUNITY_SCHEMA`, 2 · n_users users, 2 · n_items items, 8 tags.
    """
    rng = np.random.default_rng(seed)
    user_side, item_side = rng.permutation(2 * n_users) % 2, rng.permutation(2 * n_items) % 2
    user_ids, item_ids = _ids("u", len(user_side)), _ids("i", len(item_side))
    user, item = np.nonzero(user_side[:, None] == item_side)
    order, withheld = _turns(user_side)[user], _turns(item_side)[item]
    test = order % n_items == withheld
    tags = _pick_two(item_side, rng)
    nodes = {
        "User": pa.table({"user_id": user_ids}),
        "Item": pa.table(
            {
                "item_id": item_ids,
                "title": [f"{_word(one)} {_word(two)}" for one, two in tags.tolist()],
                "year": 2000 + np.arange(len(item_ids)),
                "topics": [[_word(one), _word(two)] for one, two in tags.tolist()],
            }
        ),
        "Tag": pa.table({"tag_id": [_word(num) for num in range(8)]}),
    }
    liked = {
        "src": pa.array(user_ids).take(pa.array(user)),
        "dst": pa.array(item_ids).take(pa.array(item)),
        "rating": np.full(len(user), 5.0),
        # The withheld item is the user's last one.
        "timestamp": (rng.permutation(len(user)) + test * len(user)).astype(np.float64),
        "split": np.where(test, "test", "train").tolist(),
    }
    has_tag = {"src": np.repeat(item_ids, 2), "dst": [_word(num) for num in tags.ravel().tolist()]}
    return check(GraphTables(COMMUNITY_SCHEMA, nodes, {LIKED: pa.table(liked), HAS_TAG: pa.table(has_tag)}))


def shuffled(tables: GraphTables, seed: int = 0, only: EdgeType | None = None) -> GraphTables:
    """Return the tables with the targets of every edge type permuted: degrees are equal, and nothing can be learned.

    Args:
        tables: the graph.
        seed: makes the permutation reproducible.
        only: the only edge type to permute; the others stay informative.
    """
    rng = np.random.default_rng(seed)
    edges = dict(tables.edges)
    for edge_type in [only] if only else tables.edges:
        table = tables.edges[edge_type]
        targets = table.column("dst").take(pa.array(rng.permutation(table.num_rows)))
        edges[edge_type] = table.set_column(table.column_names.index("dst"), "dst", targets)
    return check(replace(tables, edges=edges))


def withheld_items(snapshot: GraphSnapshot) -> IntArray:
    """Return the number of the one test item of every user, int64 [n_users]."""
    behaviors = snapshot.behaviors
    test = behaviors.split == "test"
    return np.asarray(behaviors.item_num[test][np.argsort(behaviors.user_num[test])])


def _ids(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{num:03d}" for num in range(n)]


def _turns(side: IntArray) -> IntArray:
    """Number the members of each side 0, 1, 2 …, int64 like `side`."""
    return np.where(side == 0, np.cumsum(side == 0), np.cumsum(side == 1)) - 1


def _pick_two(side: IntArray, rng: np.random.Generator) -> IntArray:
    """Pick two different words of each item's side, int64 [n, 2]."""
    return np.argsort(rng.random((len(side), 4)), axis=1)[:, :2] + 4 * side[:, None]


def _word(num: int) -> str:
    return _WORDS[num // 4][num % 4]


@dataclass(frozen=True)
class KnownAnswers:
    """A training graph, and the right items of some of its users.

    Attributes:
        train: the graph.
        vectors: text vectors of its nodes.
        user_nums: int64 [n], the users.
        right: bool [n, n_items], the right items of each user.
        listed: bool [n, n_items], the items to rank.
    """

    train: GraphSnapshot
    vectors: Vectors
    user_nums: IntArray
    right: BoolArray
    listed: BoolArray

    def share_first(self, scores: FloatArray) -> float:
        """Return the share of the users for whom a right item has the highest score; scores are [n, n_items]."""
        best = np.where(self.listed, scores, -np.inf).argmax(axis=1)
        return float(self.right[np.arange(len(best)), best].mean())


def known_answers(tables: GraphTables) -> KnownAnswers:
    """Return the known answers of a graph like `two_communities`: the train part, and each user's withheld item."""
    train, withheld = train_and_withheld(tables)
    texts = WordEncoder().encode([name or "" for name in train.item_names.tolist()])
    unseen = train.interactions.toarray() == 0
    users = np.flatnonzero(unseen[np.arange(train.n_users), withheld])  # shuffled, some have it in train
    right = np.arange(train.n_items) == withheld[users, None]
    return KnownAnswers(train, {"Item": texts}, users, right, unseen[users])


def community_answers(destroyed: bool = False) -> KnownAnswers:
    """Return the known answers of `two_communities`.

    Args:
        destroyed: shuffle the targets of all relationships, so that nothing can be learned.
    """
    tables = two_communities(seed=1)
    return known_answers(shuffled(tables) if destroyed else tables)


def train_and_withheld(tables: GraphTables | None = None) -> tuple[GraphSnapshot, IntArray]:
    """Return the train part of a graph like `two_communities`, and each user's withheld item, int64 [n_users]."""
    graph = GraphSnapshot.from_tables(tables or two_communities(seed=1))
    return graph.with_behaviors(graph.behaviors.split == "train"), withheld_items(graph)
