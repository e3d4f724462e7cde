"""Signals that need behaviors alone: each finds withheld items of a graph with known answers, and none by chance."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from kgrec.data.histories import sequences, steps_ago, user_histories
from kgrec.data.snapshot import Edges, GraphSnapshot
from kgrec.data.tables import check
from kgrec.signals.cf import EASE, IALS, ItemKNN, ItemTransitions, Popularity, UserEASE
from kgrec.signals.graph.spectral_filter import Spectral
from kgrec.testing.graphs import LIKED, shuffled, two_communities, withheld_items
from kgrec.testing.signal_settings import settings_of_grid

PERSONAL = (ItemKNN, ItemTransitions, Spectral, IALS, EASE, UserEASE)


def graph(change=lambda tables: tables):
    """Train part, and the item withheld from every user."""
    whole = GraphSnapshot.from_tables(change(two_communities(seed=1)))
    return whole.with_behaviors(whole.behaviors.split == "train"), withheld_items(whole)


def with_liked(tables, **columns):
    """The tables with some columns of the behaviors replaced."""
    liked = tables.edges[LIKED]
    for name, values in columns.items():
        liked = liked.set_column(liked.column_names.index(name), name, pa.array(values))
    return check(replace(tables, edges={**tables.edges, LIKED: liked}))


def share_ranked_first(signal, train, withheld):
    scores = signal.scores(np.arange(train.n_users)) - 1e6 * train.interactions.toarray()
    return (scores.argmax(axis=1) == withheld).mean()


@pytest.mark.parametrize("kind", PERSONAL)
def test_the_withheld_item_ranks_first(kind):
    train, withheld = graph()
    assert share_ranked_first(kind().fit(train, {}), train, withheld) > 0.95


@pytest.mark.parametrize("kind", PERSONAL)
def test_shuffled_behaviours_destroy_the_result(kind):
    train, withheld = graph(shuffled)
    assert share_ranked_first(kind().fit(train, {}), train, withheld) < 0.4


@pytest.mark.parametrize("kind", [Popularity, *PERSONAL])
def test_scores_repeat_by_seed_and_survive_state(kind):
    train, _ = graph()
    users = np.array([3, 0, 7])
    signal = kind().fit(train, {}, seed=5)
    scores = signal.scores(users)
    assert scores.dtype == np.float32
    assert scores.shape == (3, train.n_items)
    np.testing.assert_array_equal(scores, kind().fit(train, {}, seed=5).scores(users))
    np.testing.assert_array_equal(scores, kind().restore(train, {}, signal.state()).scores(users))
    np.testing.assert_allclose(scores[1:2], signal.scores(users[1:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Popularity, *PERSONAL])
def test_every_setting_of_the_grid_fits(kind):
    train, _ = graph()
    for settings in settings_of_grid(kind):
        scores = kind(settings).fit(train, {}).scores(np.arange(2))
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("kind", [Popularity, *PERSONAL])
def test_users_and_items_without_behaviours_get_finite_scores(kind):
    train, _ = graph()
    behaviors = train.behaviors
    train = train.with_behaviors((behaviors.user_num > 0) & (behaviors.item_num > 0))
    assert np.isfinite(kind().fit(train, {}).scores(np.arange(train.n_users))).all()


def test_popularity_counts_lately_if_asked():
    tables = two_communities(seed=1)
    dst = tables.edges[LIKED].column("dst").to_numpy(zero_copy_only=False)
    late = np.where(dst == "i000", 1.0, np.where(dst == "i001", 0.99, 0.0))
    train, _ = graph(lambda tables: with_liked(tables, timestamp=late))
    scores = Popularity(Popularity.Settings(half_life=0.01)).fit(train, {}).scores(np.array([0]))[0]
    assert np.argsort(-scores)[:2].tolist() == [0, 1]
    assert scores[0] == pytest.approx(np.log1p((train.behaviors.item_num == 0).sum()))


def test_order_tells_what_comes_next():
    """Everybody takes the items of their community in the order of their numbers."""
    tables = two_communities(seed=1)
    item = tables.edges[LIKED].column("dst").to_numpy(zero_copy_only=False)
    train, _ = graph(lambda tables: with_liked(tables, timestamp=[float(i[1:]) for i in item]))
    settings = ItemTransitions.Settings(backward_weight=0, half_life_items=0.2, shrinkage=0)
    learned = ItemTransitions(settings).fit(train, {}).state()
    early = train.with_behaviors(train.behaviors.item_num < train.n_items // 2)
    scores = ItemTransitions(settings).restore(early, {}, learned).scores(np.arange(train.n_users))
    scores[early.interactions.nonzero()] = -np.inf
    next_items = np.where(
        early.interactions.toarray() + (train.interactions.toarray() == 0), np.inf, np.arange(train.n_items)
    )
    assert (scores.argmax(axis=1) == next_items.argmin(axis=1)).mean() > 0.7


def test_only_k_neighbours_are_kept():
    train, _ = graph()
    signal = ItemKNN(ItemKNN.Settings(k=3)).fit(train, {})
    assert np.diff(signal._similarity.tocsc().indptr).max() == 3


def test_ease_has_no_weight_from_an_item_to_itself_and_meets_its_definition():
    train, _ = graph()
    signal = EASE(EASE.Settings(regularization=2.0, dropout=0.0, length_exponent=0.0, feedback_weight=0.0)).fit(
        train, {}
    )
    x = train.interactions.toarray().astype(np.float64)
    inverse = np.linalg.inv(x.T @ x + 2.0 * x.sum() / train.n_items * np.eye(train.n_items))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(signal.state()["weights"], expected, atol=1e-4)


@pytest.mark.parametrize("kind", [EASE, UserEASE])
def test_supports_looked_up_and_multiplied_are_the_same(kind, communities, monkeypatch):
    monkeypatch.setattr("kgrec.signals.cf.ridge.MAX_DENSE_ROWS", 1)
    found = []
    for few in (1e-9, 1e9):
        monkeypatch.setattr("kgrec.signals.cf.ridge.FEW_PAIRS_RATIO", few)
        found.append(kind().fit(communities, {}).scores(np.arange(communities.n_users)))
    np.testing.assert_array_equal(*found)


def test_ease_explains_items_of_large_catalogues_by_their_nearest_alone(monkeypatch):
    """With a support of all items the small ridges solve the same equations, but for the zero diagonal's price."""
    train, withheld = graph()
    dense = EASE().fit(train, {}).scores(np.arange(train.n_users))
    monkeypatch.setattr("kgrec.signals.cf.ridge.MAX_DENSE_ROWS", 1)
    sparse = EASE().fit(train, {})
    assert share_ranked_first(sparse, train, withheld) > 0.95
    np.testing.assert_allclose(sparse.scores(np.arange(train.n_users)), dense, rtol=0.02, atol=0.01)
    restored = EASE().restore(train, {}, sparse.state())
    np.testing.assert_array_equal(restored.scores(np.arange(3)), sparse.scores(np.arange(3)))
    monkeypatch.setattr("kgrec.signals.cf.ridge.SUPPORT_SIZE", 2)
    few = EASE().fit(train, {})._weights.tocsc()
    assert np.diff(few.indptr).max() == 2
    assert not few.diagonal().any()


def test_attributes_tell_ease_of_items_nobody_chose():
    train, withheld = graph()
    unchosen = train.with_behaviors(train.behaviors.item_num != withheld[0])
    assert not EASE().fit(unchosen, {}).scores(np.arange(1))[0, withheld[0]]
    scores = EASE(EASE.Settings(attributes=1.0)).fit(unchosen, {}).scores(np.arange(train.n_users))
    own = withheld == withheld[0]
    assert scores[own, withheld[0]].min() > 0


def with_friends(train):
    """Users of one community befriend the next of it."""
    sides = [np.flatnonzero(train.interactions.toarray()[:, item]) for item in train.interactions[0].indices[:1]]
    sides.append(np.setdiff1d(np.arange(train.n_users), sides[0]))
    friends = Edges(np.concatenate(sides), np.concatenate([np.roll(side, -1) for side in sides]), pa.table({}))
    return replace(train, edges={**train.edges, ("User", "FRIEND", "User"): friends})


def test_ease_between_users_has_no_weight_from_a_user_to_itself_and_meets_its_definition():
    train, _ = graph()
    settings = UserEASE.Settings(regularization=2.0, dropout=0.0, popularity_exponent=0.0, feedback_weight=0.0)
    signal = UserEASE(settings).fit(train, {})
    x = train.interactions.toarray().astype(np.float64)
    inverse = np.linalg.inv(x @ x.T + 2.0 * x.sum() / train.n_users * np.eye(train.n_users))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(signal.state()["weights"], expected, atol=1e-4)
    np.testing.assert_allclose(signal.scores(np.arange(3)), expected[:, :3].T @ x, atol=1e-3)


def test_users_of_large_graphs_are_explained_by_their_nearest_alone(monkeypatch):
    train, withheld = graph()
    users = np.arange(train.n_users)
    dense = UserEASE().fit(train, {}).scores(users)
    monkeypatch.setattr("kgrec.signals.cf.ridge.MAX_DENSE_ROWS", 1)
    sparse = UserEASE().fit(train, {})
    assert share_ranked_first(sparse, train, withheld) > 0.95
    np.testing.assert_allclose(sparse.scores(users), dense, rtol=0.05, atol=0.02)
    restored = UserEASE().restore(train, {}, sparse.state())
    np.testing.assert_array_equal(restored.scores(users[:3]), sparse.scores(users[:3]))
    pairs = (np.bincount(train.interactions.indices) ** 2).min()
    monkeypatch.setattr("kgrec.signals.cf.user_ease.MAX_USER_PAIRS", pairs)
    one_item = UserEASE(UserEASE.Settings(popularity_exponent=0.0)).fit(train, {})
    assert one_item._weights.nnz <= pairs


def test_friends_tell_ease_between_users_of_somebody_without_behaviours():
    train, withheld = graph()
    friends = with_friends(train)
    friends = friends.with_behaviors(friends.behaviors.user_num > 0)
    alone = UserEASE(UserEASE.Settings(user_attributes=0.0)).fit(friends, {}).scores(np.array([0]))
    assert not alone.any()
    scores = UserEASE().fit(friends, {}).scores(np.array([0]))[0]
    own = train.interactions[0].indices
    others = np.setdiff1d(np.arange(train.n_items), np.r_[own, withheld[0]])
    assert scores[own].min() > scores[others].max()


def test_older_items_fade():
    train, _ = graph()
    faded = user_histories(train, half_life_items=2.0)
    first = np.sort(faded[0].data)[::-1]
    np.testing.assert_allclose(first, 0.5 ** (np.arange(len(first)) / 2), rtol=1e-5)


def test_ials_places_users_near_their_items():
    train, _ = graph()
    signal = IALS().fit(train, {})
    assert signal.user_vectors.shape == (train.n_users, 64)
    assert signal.item_vectors.shape == (train.n_items, 64)
    np.testing.assert_allclose(
        signal.user_vectors[:1] @ signal.item_vectors.T, signal.scores(np.array([0])), rtol=1e-5, atol=1e-6
    )


def test_items_of_one_time_are_as_old_as_one_another_and_none_follows_the_other():
    train, _ = graph(
        lambda tables: with_liked(tables, timestamp=[i // 3 * 1.0 for i in range(tables.edges[LIKED].num_rows)])
    )
    series, user_num, _, time = sequences(train)
    ago = steps_ago(series, time)
    for user in range(train.n_users):
        own = user_num == user
        later = [(time[own] > at).sum() for at in time[own]]
        np.testing.assert_array_equal(ago[own], later)
    same = with_liked(two_communities(seed=1), timestamp=[1.0] * two_communities(seed=1).edges[LIKED].num_rows)
    whole = GraphSnapshot.from_tables(same)
    assert not ItemTransitions().fit(whole, {}).scores(np.arange(whole.n_users)).any()
