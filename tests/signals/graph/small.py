"""Changes of the two communities that the tests of the graph signals share."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from kgrec.schema import Schema
from kgrec.snapshot import GraphSnapshot
from kgrec.tables import GraphTables, check
from kgrec.testing.graphs import HAS_TAG, two_communities, withheld_items

FRIEND = ("User", "FRIEND", "User")


def graph(change=lambda tables: tables):
    """Train part, and the item withheld from every user."""
    whole = GraphSnapshot.from_tables(change(two_communities(seed=1)))
    return whole.with_behaviours(whole.behaviours.split == "train"), withheld_items(whole)


def share_ranked_first(signal, train, withheld):
    scores = signal.scores(np.arange(train.n_users)) - 1e6 * train.interactions.toarray()
    return (scores.argmax(axis=1) == withheld).mean()


def own_community(train, withheld):
    """Which items are of each user's community: what they did and the one withheld, bool [n_users, n_items]."""
    own = train.interactions.toarray() > 0
    own[np.arange(train.n_users), withheld] = True
    return own


def cold_items(change=lambda tables: tables):
    """Train part with one item of each community without behaviours, these two items, and which one each user wants."""
    train, withheld = graph(change)
    own = own_community(train, withheld)
    cold = np.array([own[0].argmax(), (~own[0]).argmax()])
    wanted = np.where(own[:, cold[0]], 0, 1)
    return train.with_behaviours(~np.isin(train.behaviours.item_num, cold)), cold, wanted


def share_wanted(signal, cold, wanted):
    """How many users have a higher score for the cold item of their community than for the other one."""
    return (signal.scores(np.arange(len(wanted)))[:, cold].argmax(axis=1) == wanted).mean()


def without_tags(tables):
    """The graph with behaviours alone."""
    return check(replace(tables, edges={t: table for t, table in tables.edges.items() if t != HAS_TAG}))


def with_friends(tables):
    """Every user befriends the next two of the own community."""
    whole = GraphSnapshot.from_tables(tables)
    own = whole.interactions.toarray()
    sides = [np.flatnonzero(own[:, 0] == side) for side in (0, 1)]
    src = np.concatenate([np.tile(side, 2) for side in sides])
    dst = np.concatenate([np.r_[np.roll(side, 1), np.roll(side, 2)] for side in sides])
    friends = pa.table({"src": whole.users.ids[src].tolist(), "dst": whole.users.ids[dst].tolist()})
    schema = tables.schema.to_dict()
    schema["relationships"]["FRIEND"] = {"from": "User", "to": "User"}
    return check(GraphTables(Schema.from_dict(schema), tables.nodes, {**tables.edges, FRIEND: friends}))
