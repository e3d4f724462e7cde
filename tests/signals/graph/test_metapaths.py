"""Meta-paths find held-out items, give weight to informative relationships only, and explain scores."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.signals.graph.metapath_matrices import build_metapaths, shared_nodes
from kgrec.signals.graph.metapaths import MetaPaths, MetaPathsSettings
from kgrec.testing.graphs import (
    COMMUNITY_SCHEMA,
    HAS_TAG,
    LIKED,
    known_answers,
    train_and_withheld,
    two_communities,
)
from kgrec.testing.signal_contract import SignalContract

FRIEND, SEQUEL, HAS_NOISE = ("User", "FRIEND", "User"), ("Item", "SEQUEL", "Item"), ("Item", "HAS_NOISE", "Tag")


class TestMetapaths(SignalContract):
    signal = MetaPaths


def with_edges(tables, edge_type, src, dst, keep=(LIKED,)):
    """The tables with one more edge type, and with the old edge types in `keep` only."""
    data = COMMUNITY_SCHEMA.to_dict()
    data["relationships"][edge_type[1]] = {"from": edge_type[0], "to": edge_type[2]}
    edges = {name: tables.edges[name] for name in keep} | {edge_type: pa.table({"src": src, "dst": dst})}
    return check(replace(tables, schema=Schema.from_dict(data), edges=edges))


def sides(tables):
    """Ids of the users, and of the items, of each community."""
    train = GraphSnapshot.from_tables(tables)
    mine = train.interactions[[0]].toarray()[0] > 0
    like_me = (train.interactions @ mine) > 1
    items = train.interactions[like_me].sum(axis=0) > 0
    pick = lambda ids, flag: (ids[flag].tolist(), ids[~flag].tolist())  # noqa: E731
    return pick(train.users.ids, like_me), pick(train.items.ids, np.asarray(items).ravel())


def ring(parts):
    """Edges from each member of a part to the next three."""
    src = [x for part in parts for x in part for _ in range(3)]
    dst = [part[(num + step) % len(part)] for part in parts for num in range(len(part)) for step in (1, 2, 3)]
    return src, dst


def weight_of(signal, edge_type):
    return next(
        weight for path, weight in zip(signal.paths, signal.weights, strict=False) if edge_type in path.edge_types
    )


def community_tables():
    return two_communities(seed=1)


def friend_tables():
    tables = community_tables()
    return with_edges(tables, FRIEND, *ring(sides(tables)[0]))


def sequel_tables():
    tables = community_tables()
    return with_edges(tables, SEQUEL, *ring(sides(tables)[1]))


@pytest.mark.parametrize("tables", [community_tables, friend_tables, sequel_tables])
def test_held_out_item_ranks_first(tables):
    known = known_answers(tables())
    assert known.share_first(MetaPaths().fit(known.train, {}).scores(known.user_nums)) > 0.9


def test_uninformative_relationship_gets_no_weight():
    tables = two_communities(seed=1, n_users=40, n_items=30)
    has_tag, random = tables.edges[HAS_TAG], np.random.default_rng(2)
    noise = has_tag.column("dst").take(pa.array(random.permutation(has_tag.num_rows)))
    tables = with_edges(tables, HAS_NOISE, has_tag.column("src"), noise, keep=(LIKED, HAS_TAG))
    signal = MetaPaths().fit(train_and_withheld(tables)[0], {})
    assert weight_of(signal, HAS_NOISE) < 0.05 * weight_of(signal, HAS_TAG)


@pytest.mark.parametrize("tables", [community_tables, friend_tables, sequel_tables])
def test_scores_repeat_by_seed_and_survive_state(tables):
    train, _ = train_and_withheld(tables())
    users = np.array([3, 0, 7])
    signal = MetaPaths().fit(train, {}, seed=5)
    scores = signal.scores(users)
    assert scores.dtype == np.float32
    assert scores.shape == (3, train.n_items)
    np.testing.assert_array_equal(scores, MetaPaths().fit(train, {}, seed=5).scores(users))
    np.testing.assert_array_equal(scores, MetaPaths().restore(train, {}, signal.state()).scores(users))
    np.testing.assert_allclose(scores[1:2], signal.scores(users[1:2]), rtol=1e-5, atol=1e-6)


def test_user_without_history_uses_friends_or_popularity():
    train, withheld = train_and_withheld(friend_tables())
    hidden = train.with_behaviors(train.behaviors.user_num != 4)
    scores = MetaPaths().fit(hidden, {}).scores(np.array([4]))[0]
    mine = np.union1d(train.interactions[[4]].indices, withheld[4])
    assert np.isfinite(scores).all()
    assert scores[mine].min() > np.delete(scores, mine).max()
    alone, _ = train_and_withheld(two_communities(seed=1))
    alone = alone.with_behaviors(alone.behaviors.user_num != 4)
    popularity = np.asarray(alone.interactions.sum(axis=0)).ravel()
    signal = MetaPaths().fit(alone, {})
    np.testing.assert_allclose(signal.scores(np.array([4]))[0], signal.weights[-1] * np.log1p(popularity), atol=1e-6)


@pytest.mark.parametrize("tables", [community_tables, friend_tables, sequel_tables])
def test_contributions_sum_to_the_score(tables):
    train, withheld = train_and_withheld(tables())
    signal = MetaPaths().fit(train, {})
    item = int(withheld[0])
    found = signal.contributions(0, item)
    assert len(found) > 0
    assert (np.diff(found.value) <= 0).all()
    popularity = signal.weights[-1] * np.log1p(train.interactions[:, [item]].sum())
    rest = signal.scores(np.array([0]))[0, item] - popularity + signal._offset[item]
    np.testing.assert_allclose(found.value.sum(), rest, rtol=1e-4)
    steps = {signal.paths[num].side for num in found.path_num.tolist()}
    history = train.interactions[[0]].indices
    chosen_by = train.interactions[:, [item]].nonzero()[0]
    assert np.isin(found.through, history if steps == {"items"} else chosen_by).all()


def test_refitted_keeps_weights_of_the_same_paths():
    """Weights learned again may rank alike on another scale, which a blend was not learned for."""
    train, _ = train_and_withheld(friend_tables())
    signal, fewer = MetaPaths().fit(train, {}), train.with_behaviors(np.arange(len(train.behaviors)) % 7 > 0)
    again = signal.refitted(fewer, {}, seed=3)
    np.testing.assert_array_equal(again.weights, signal.weights)
    assert (again.scores(np.array([3])) != signal.scores(np.array([3]))).any()
    other, _ = train_and_withheld(sequel_tables())
    assert weight_of(signal.refitted(other, {}), SEQUEL) > 0


def test_missing_path_contributes_nothing():
    train, _ = train_and_withheld(friend_tables())
    signal = MetaPaths().fit(train, {})
    far = int(np.flatnonzero(signal.scores(np.array([0]))[0] == signal.scores(np.array([0]))[0].min())[0])
    assert len(signal.contributions(0, far)) == 0


def test_metapaths_need_a_relationship():
    tables = two_communities(seed=1)
    bare = GraphSnapshot.from_tables(check(replace(tables, edges={LIKED: tables.edges[LIKED]})))
    assert not MetaPaths.applies(bare, {})
    assert MetaPaths.applies(GraphSnapshot.from_tables(tables), {})


def tiny():
    """Items a, b, c: `rare` is shared by a and b, `common` by all three."""
    liked = {"src": ["u"], "dst": ["a"], "rating": [1.0], "timestamp": [1.0], "split": ["train"]}
    items = {"item_id": ["a", "b", "c"], "title": ["", "", ""], "year": [1, 2, 3], "topics": [["x"]] * 3}
    nodes = {
        "User": pa.table({"user_id": ["u"]}),
        "Item": pa.table(items),
        "Tag": pa.table({"tag_id": ["common", "rare", "own"]}),
    }
    tags = {"src": ["a", "b", "c", "a", "b", "c"], "dst": ["common", "common", "common", "rare", "rare", "own"]}
    return GraphSnapshot.from_tables(
        check(GraphTables(COMMUNITY_SCHEMA, nodes, {LIKED: pa.table(liked), HAS_TAG: pa.table(tags)}))
    )


def test_relatedness_is_rarity_weighted_cosine():
    (path,) = build_metapaths(tiny(), degree_exponent=1.0)
    # Weights 1/3 (common) and 1/2 (rare); a tag of a single item relates no items.
    to_c = (1 / 3) / (np.sqrt(1 / 3 + 1 / 2) * np.sqrt(1 / 3))
    np.testing.assert_allclose(path.related(0, np.arange(3)), [0, 1, to_c], rtol=1e-6)
    (flat,) = build_metapaths(tiny(), degree_exponent=0.0)
    np.testing.assert_allclose(flat.related(0, np.array([2])), [1 / np.sqrt(2)], rtol=1e-6)


def test_shared_nodes_are_rarest_first():
    graph = tiny()
    a, b, c = graph.item_nodes.tolist()
    names = graph.ids("Tag").to_pylist()
    named = lambda nodes: [names[node - graph.offsets["Tag"]] for node in nodes]  # noqa: E731
    assert named(shared_nodes(graph, (HAS_TAG, HAS_TAG), a, b)) == ["rare", "common"]
    assert named(shared_nodes(graph, (HAS_TAG, HAS_TAG), a, c)) == ["common"]


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="extra"):
        MetaPathsSettings(depth=2)
    with pytest.raises(ValueError, match="degree_exponent"):
        MetaPathsSettings(degree_exponent=-1)
