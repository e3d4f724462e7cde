"""Collaborative signals: each finds the held-out items of a synthetic graph, and none in shuffled data."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data.edges import Edges
from kgrec.data.histories import sequences, steps_ago, user_histories
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.signals.cf import EASE, IALS, AttributeRidge, ItemKNN, ItemTransitions, Popularity, UserEASE
from kgrec.testing.graphs import LIKED, KnownAnswers, community_answers, train_and_withheld, two_communities
from kgrec.testing.new_users import trade_answers
from kgrec.testing.signal_contract import SignalContract


class TestPopularity(SignalContract):
    signal = Popularity


class TestItemKNN(SignalContract):
    signal = ItemKNN


class TestItemTransitions(SignalContract):
    signal = ItemTransitions


class TestIALS(SignalContract):
    signal = IALS
    settings = {"iterations": 5}


class TestEASE(SignalContract):
    signal = EASE


class TestUserEASE(SignalContract):
    signal = UserEASE


class TestAttributeRidge(SignalContract):
    signal = AttributeRidge

    @classmethod
    def answers(cls, destroyed: bool = False) -> KnownAnswers:
        return trade_answers(destroyed)


def test_attribute_ridge_meets_its_definition() -> None:
    known = trade_answers()
    signal = AttributeRidge().fit(known.train, {})
    active = np.flatnonzero(np.diff(known.train.interactions.indptr))
    profiles, taken = signal._profiles[active].toarray(), known.train.interactions[active].toarray()
    taken /= np.linalg.norm(taken, axis=1, keepdims=True)
    np.testing.assert_allclose((profiles[:, :-1] ** 2).sum(axis=1), 1, rtol=1e-5)
    penalty = np.diag([5.0] * (profiles.shape[1] - 1) + [1e-3])
    expected = np.linalg.solve(profiles.T @ profiles + penalty, profiles.T @ taken)
    np.testing.assert_allclose(signal.state()["weights"], expected, atol=1e-5)


def with_liked(tables, **columns):
    """The tables with some columns of the behaviors replaced."""
    liked = tables.edges[LIKED]
    for name, values in columns.items():
        liked = liked.set_column(liked.column_names.index(name), name, pa.array(values))
    return check(replace(tables, edges={**tables.edges, LIKED: liked}))


def test_popularity_with_half_life_prefers_recent_items():
    tables = two_communities(seed=1)
    dst = tables.edges[LIKED].column("dst").to_numpy(zero_copy_only=False)
    late = np.where(dst == "i000", 1.0, np.where(dst == "i001", 0.99, 0.0))
    train, _ = train_and_withheld(with_liked(tables, timestamp=late))
    scores = Popularity(Popularity.Settings(half_life=0.01)).fit(train, {}).scores(np.array([0]))[0]
    assert np.argsort(-scores)[:2].tolist() == [0, 1]
    assert scores[0] == pytest.approx(np.log1p((train.behaviors.item_num == 0).sum()))


def test_item_transitions_learn_the_order():
    """Each user chooses the items of their community in the order of their numbers."""
    tables = two_communities(seed=1)
    item = tables.edges[LIKED].column("dst").to_numpy(zero_copy_only=False)
    train, _ = train_and_withheld(with_liked(tables, timestamp=[float(i[1:]) for i in item]))
    settings = ItemTransitions.Settings(backward_weight=0, half_life_items=0.2, shrinkage=0)
    learned = ItemTransitions(settings).fit(train, {}).state()
    early = train.with_behaviors(train.behaviors.item_num < train.n_items // 2)
    scores = ItemTransitions(settings).restore(early, {}, learned).scores(np.arange(train.n_users))
    scores[early.interactions.nonzero()] = -np.inf
    next_items = np.where(
        early.interactions.toarray() + (train.interactions.toarray() == 0), np.inf, np.arange(train.n_items)
    )
    assert (scores.argmax(axis=1) == next_items.argmin(axis=1)).mean() > 0.7


def test_item_knn_keeps_k_neighbors():
    train, _ = train_and_withheld()
    signal = ItemKNN(ItemKNN.Settings(k=3)).fit(train, {})
    assert np.diff(signal._similarity.tocsc().indptr).max() == 3


def test_item_knn_active_users_count_less():
    train, _ = train_and_withheld()
    user_num, item_num = train.behaviors.user_num, train.behaviors.item_num
    other = user_num[~np.isin(item_num, item_num[user_num == 0])][0]  # of the other community
    pair, many = np.sort(item_num[user_num == 0])[:2], np.sort(item_num[user_num == other])
    two_users = train.with_behaviors((user_num == other) | ((user_num == 0) & np.isin(item_num, pair)))
    for exponent in (0.0, 0.25):
        settings = ItemKNN.Settings(activity_exponent=exponent)
        similarity = ItemKNN(settings).fit(two_users, {}).item_similarity(np.arange(train.n_items))
        ratio = similarity[pair[0], pair[1]] / similarity[many[0], many[1]]
        assert ratio == pytest.approx(1) if exponent == 0 else ratio > 1.2


def test_item_knn_amplification_powers_similarities():
    train, _ = train_and_withheld()
    once, twice = (ItemKNN(ItemKNN.Settings(amplification=power)).fit(train, {})._similarity for power in (1.0, 2.0))
    np.testing.assert_allclose(twice.toarray(), once.toarray() ** 2, rtol=1e-5)


def test_ease_meets_its_definition():
    train, _ = train_and_withheld()
    signal = EASE(EASE.Settings(regularization=2.0, dropout=0.0, length_exponent=0.0, feedback_weight=0.0)).fit(
        train, {}
    )
    x = train.interactions.toarray().astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + 2.0 * x.sum() / train.n_items * np.eye(train.n_items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(signal._weights.matrix, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [EASE, UserEASE])
def test_supports_by_lookup_equal_matrix_product(kind, communities, monkeypatch):
    monkeypatch.setattr("kgrec.signals.cf.ridge.MAX_DENSE_ROWS", 1)
    found = []
    for few in (1e-9, 1e9):
        monkeypatch.setattr("kgrec.signals.cf.ridge.FEW_PAIRS_RATIO", few)
        found.append(kind().fit(communities, {}).scores(np.arange(communities.n_users)))
    np.testing.assert_array_equal(*found)


def test_ease_of_large_catalog_uses_nearest_items(monkeypatch):
    """With a support of all items, the sparse solution solves the same equations, except for the zero diagonal."""
    known = community_answers()
    train = known.train
    dense = EASE().fit(train, {}).scores(np.arange(train.n_users))
    monkeypatch.setattr("kgrec.signals.cf.ridge.MAX_DENSE_ROWS", 1)
    sparse = EASE().fit(train, {})
    assert known.share_first(sparse.scores(known.user_nums)) > 0.95
    np.testing.assert_allclose(sparse.scores(np.arange(train.n_users)), dense, rtol=0.02, atol=0.01)
    restored = EASE().restore(train, {}, sparse.state())
    np.testing.assert_array_equal(restored.scores(np.arange(3)), sparse.scores(np.arange(3)))
    monkeypatch.setattr("kgrec.signals.cf.ridge.SUPPORT_SIZE", 2)
    few = EASE().fit(train, {})._weights.matrix.tocsc()
    assert np.diff(few.indptr).max() == 2
    assert not few.diagonal().any()


def test_ease_attributes_score_cold_items():
    train, withheld = train_and_withheld()
    unchosen = train.with_behaviors(train.behaviors.item_num != withheld[0])
    assert not EASE().fit(unchosen, {}).scores(np.arange(1))[0, withheld[0]]
    scores = EASE(EASE.Settings(attributes=1.0)).fit(unchosen, {}).scores(np.arange(train.n_users))
    own = withheld == withheld[0]
    assert scores[own, withheld[0]].min() > 0


def with_pictures(tables, pictures):
    """The train snapshot of some tables with vectors of items, None for an item without."""
    data = tables.schema.to_dict()
    data["nodes"]["Item"]["properties"]["picture"] = "vector"
    items = tables.nodes["Item"].append_column("picture", pa.array(pictures, pa.list_(pa.float32())))
    nodes = {**tables.nodes, "Item": items}
    return train_and_withheld(check(replace(tables, schema=Schema.from_dict(data), nodes=nodes)))[0]


def test_ease_item_vectors_score_cold_items():
    """Of two cold items of one community, only that with a picture is scored, and highest for this community."""
    tables = two_communities(seed=1)
    chosen = GraphSnapshot.from_tables(tables).interactions.toarray() > 0
    own = chosen[chosen[:, chosen[0]].any(axis=1)].any(axis=0)  # items of the first user's community
    users, (cold, blind) = chosen[:, own].any(axis=1), np.flatnonzero(own)[:2]
    noise = np.random.default_rng(0).normal(0, 0.1, (len(own), 4))
    pictures: list[list[float] | None] = (noise + np.where(own[:, None], [1, 0, 0, 1], [0, 1, 1, 0])).tolist()
    pictures[blind] = None
    train = with_pictures(tables, pictures)
    train = train.with_behaviors(~np.isin(train.behaviors.item_num, [cold, blind]))
    scores = EASE().fit(train, {}).scores(np.arange(train.n_users))
    assert scores[users, cold].min() > 0 > scores[~users, cold].max()
    assert not scores[:, blind].any()
    without = EASE(EASE.Settings(item_vectors=0)).fit(train, {}).scores(np.arange(train.n_users))
    assert not without[:, cold].any()


def with_friends(train):
    """The tables, with each user a friend of the next user of their community."""
    sides = [np.flatnonzero(train.interactions.toarray()[:, item]) for item in train.interactions[0].indices[:1]]
    sides.append(np.setdiff1d(np.arange(train.n_users), sides[0]))
    friends = Edges(np.concatenate(sides), np.concatenate([np.roll(side, -1) for side in sides]), pa.table({}))
    return replace(train, edges={**train.edges, ("User", "FRIEND", "User"): friends})


def test_user_ease_meets_its_definition():
    train, _ = train_and_withheld()
    settings = UserEASE.Settings(regularization=2.0, dropout=0.0, popularity_exponent=0.0, feedback_weight=0.0)
    signal = UserEASE(settings).fit(train, {})
    x = train.interactions.toarray().astype(np.float64)
    inverse = np.linalg.inv(x @ x.T + 2.0 * x.sum() / train.n_users * np.eye(train.n_users))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(signal._weights.matrix, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(signal.scores(np.arange(3)), expected[:, :3].T @ x, atol=1e-3)


def test_user_ease_of_large_graph_uses_nearest_users(monkeypatch):
    known = community_answers()
    train = known.train
    users = np.arange(train.n_users)
    dense = UserEASE().fit(train, {}).scores(users)
    monkeypatch.setattr("kgrec.signals.cf.ridge.MAX_DENSE_ROWS", 1)
    sparse = UserEASE().fit(train, {})
    assert known.share_first(sparse.scores(known.user_nums)) > 0.95
    np.testing.assert_allclose(sparse.scores(users), dense, rtol=0.05, atol=0.02)
    restored = UserEASE().restore(train, {}, sparse.state())
    np.testing.assert_array_equal(restored.scores(users[:3]), sparse.scores(users[:3]))
    pairs = (np.bincount(train.interactions.indices) ** 2).min()
    monkeypatch.setattr("kgrec.signals.cf.user_ease.MAX_USER_PAIRS", pairs)
    one_item = UserEASE(UserEASE.Settings(popularity_exponent=0.0)).fit(train, {})
    assert one_item._weights.matrix.nnz <= pairs


def test_user_ease_that_drops_most_behaviors_does_not_apply(monkeypatch):
    train = community_answers().train
    assert UserEASE.applies(train, {})
    monkeypatch.setattr("kgrec.signals.cf.user_ease.MAX_USER_PAIRS", 1)
    assert UserEASE.applies(train, {})  # one dense matrix drops nothing
    monkeypatch.setattr("kgrec.signals.cf.ridge.MAX_DENSE_ROWS", 1)
    assert not UserEASE.applies(train, {})


def test_user_ease_friends_score_users_without_behaviors():
    train, withheld = train_and_withheld()
    friends = with_friends(train)
    friends = friends.with_behaviors(friends.behaviors.user_num > 0)
    alone = UserEASE(UserEASE.Settings(user_attributes=0.0)).fit(friends, {}).scores(np.array([0]))
    assert not alone.any()
    scores = UserEASE().fit(friends, {}).scores(np.array([0]))[0]
    own = train.interactions[0].indices
    others = np.setdiff1d(np.arange(train.n_items), np.r_[own, withheld[0]])
    assert scores[own].min() > scores[others].max()


def test_half_life_decays_older_items():
    train, _ = train_and_withheld()
    faded = user_histories(train, half_life_items=2.0)
    first = np.sort(faded[0].data)[::-1]
    np.testing.assert_allclose(first, 0.5 ** (np.arange(len(first)) / 2), rtol=1e-5)


def test_ials_places_users_near_their_items():
    train, _ = train_and_withheld()
    signal = IALS().fit(train, {})
    assert signal.user_vectors.shape == (train.n_users, 64)
    assert signal.item_vectors.shape == (train.n_items, 64)
    np.testing.assert_allclose(
        signal.user_vectors[:1] @ signal.item_vectors.T, signal.scores(np.array([0])), rtol=1e-5, atol=1e-6
    )


def test_items_of_equal_time_have_equal_age():
    tables = two_communities(seed=1)
    times = [i // 3 * 1.0 for i in range(tables.edges[LIKED].num_rows)]
    train, _ = train_and_withheld(with_liked(tables, timestamp=times))
    series, user_num, _, time = sequences(train)
    ago = steps_ago(series, time)
    for user in range(train.n_users):
        own = user_num == user
        later = [(time[own] > at).sum() for at in time[own]]
        np.testing.assert_array_equal(ago[own], later)
    same = with_liked(tables, timestamp=[1.0] * tables.edges[LIKED].num_rows)
    whole = GraphSnapshot.from_tables(same)
    assert not ItemTransitions().fit(whole, {}).scores(np.arange(whole.n_users)).any()
