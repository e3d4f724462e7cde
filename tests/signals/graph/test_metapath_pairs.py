"""Meta-paths of two relationship types find items that no single type leads to, and name the types."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.explain.explanation import _path_text
from kgrec.signals.graph import metapath_matrices, metapath_weights
from kgrec.signals.graph.metapath_matrices import build_metapaths, shared_nodes
from kgrec.signals.graph.metapath_weights import select_metapaths
from kgrec.signals.graph.metapaths import MetaPaths, MetaPathsSettings
from kgrec.testing.graphs import COMMUNITY_SCHEMA, LIKED, two_communities, withheld_items

FIRST, SECOND, PART_OF = ("Item", "FIRST", "Tag"), ("Item", "SECOND", "Tag"), ("Tag", "PART_OF", "Tag")


def graph(edges, tags):
    """The two communities with other relationships: train part, and the held-out item of every user."""
    tables = two_communities(seed=1)
    data = COMMUNITY_SCHEMA.to_dict()
    data["relationships"] = {"LIKED": data["relationships"]["LIKED"]}
    data["relationships"] |= {name: {"from": source, "to": target} for source, name, target in edges}
    nodes = tables.nodes | {"Tag": pa.table({"tag_id": tags})}
    new = {edge_type: pa.table({"src": src, "dst": dst}) for edge_type, (src, dst) in edges.items()}
    new |= {LIKED: tables.edges[LIKED]}
    whole = GraphSnapshot.from_tables(check(replace(tables, schema=Schema.from_dict(data), nodes=nodes, edges=new)))
    return whole.with_behaviors(whole.behaviors.split == "train"), withheld_items(whole)


def communities():
    """Ids of the items of each community."""
    train = GraphSnapshot.from_tables(two_communities(seed=1))
    mine = (train.interactions.T @ train.interactions)[[0]].toarray()[0] > 0
    return train.items.ids[mine].tolist(), train.items.ids[~mine].tolist()


def two_roles():
    """The first tag of an item is the second tag of another one; no two items have the same first or second tag."""
    src, tags = [], []
    for part in communities():
        src += part
        tags += [f"of {item}" for item in part]
    second = [tag for half in (tags[:10], tags[10:]) for step in (1, 2, 3, 4) for tag in half[step:] + half[:step]]
    owners = [item for half in (src[:10], src[10:]) for _ in range(4) for item in half]
    # Each second tag belongs to one item only.
    own = [f"{tag} {num // 10 % 4}" for num, tag in enumerate(second)]
    first = [f"{tag} {num}" for tag in tags for num in range(4)]
    return graph(
        {FIRST: ([item for item in src for _ in range(4)], first), SECOND: (owners, own)}, sorted({*first, *own})
    )


def two_steps():
    """Each item has a tag of its own; the tags of a community belong to one common node."""
    src = [item for part in communities() for item in part]
    tags = [f"of {item}" for item in src]
    wholes = ["one"] * 10 + ["other"] * 10
    return graph({FIRST: (src, tags), PART_OF: (tags, wholes)}, [*tags, "one", "other"])


def share_first(signal, train, withheld):
    scores = signal.scores(np.arange(train.n_users)) - 1e6 * train.interactions.toarray()
    return (scores.argmax(axis=1) == withheld).mean()


@pytest.mark.parametrize(("data", "way"), [(two_roles, {"FIRST", "SECOND"}), (two_steps, {"FIRST", "PART_OF"})])
def test_metapath_pair_finds_the_held_out_item(data, way):
    train, withheld = data()
    alone = MetaPaths().fit(train, {})
    assert alone.paths == []
    signal = MetaPaths(MetaPathsSettings(pairs=True)).fit(train, {})
    assert share_first(signal, train, withheld) > 0.9
    assert share_first(alone, train, withheld) < 0.4
    item = int(withheld[0])
    found = signal.contributions(0, item)
    text = _path_text(train, signal.paths[found.path_num[0]], 0, int(found.through[0]), item)
    assert all(name in text for name in way)
    assert "of " in text or "one" in text or "other" in text
    back = MetaPaths(MetaPathsSettings(pairs=True)).restore(train, {}, signal.state())
    np.testing.assert_array_equal(back.scores(np.arange(5)), signal.scores(np.arange(5)))


def test_metapath_pair_is_symmetric():
    train, _ = two_roles()
    (path,) = build_metapaths(train, 1.0, pairs=True)
    related = (path.left @ path.right.T).toarray()
    np.testing.assert_allclose(related, related.T, rtol=1e-6)
    a, b = np.argwhere(np.triu(related, 1) > 0)[0]
    node_a, node_b = int(train.item_nodes[a]), int(train.item_nodes[b])
    ways = [shared_nodes(train, way, node_a, node_b) for way in (path.edge_types, path.edge_types[::-1])]
    assert sum(map(len, ways)) > 0


def test_relationship_and_inverse_give_one_path():
    src = [item for part in communities() for item in part]
    tags = ["one"] * 10 + ["other"] * 10
    train, _ = graph({FIRST: (src, tags), ("Tag", "INVERSE", "Item"): (tags, src)}, ["one", "other"])
    assert len(build_metapaths(train, 1.0, pairs=True)) == 1


def test_limits_drop_pairs(monkeypatch):
    roles, steps = two_roles()[0], two_steps()[0]
    paths = build_metapaths(roles, 1.0, pairs=True)
    assert select_metapaths(paths, roles.interactions).tolist() == [0]
    monkeypatch.setattr(metapath_weights, "MAX_PAIR_PATHS", 0)
    assert select_metapaths(paths, roles.interactions).tolist() == []
    monkeypatch.setattr(metapath_matrices, "MAX_RELATED_MEMBERS", 3)
    monkeypatch.setattr(metapath_matrices, "MAX_SEGMENT_LINKS", 3)
    assert build_metapaths(roles, 1.0, pairs=True) == []
    assert build_metapaths(steps, 1.0, pairs=True) == []


def test_pairs_are_relevant_with_two_relationships():
    src = [item for part in communities() for item in part]
    one, _ = graph({FIRST: (src, ["x"] * 20)}, ["x"])
    assert not MetaPaths.is_relevant("pairs", one)
    assert MetaPaths.is_relevant("pairs", two_roles()[0])
