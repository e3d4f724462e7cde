"""The text signal: what users read about is what they get."""

import numpy as np
import pytest

from kgrec.signals.content import Text
from kgrec.snapshot import GraphSnapshot
from kgrec.testing.graphs import two_communities, withheld_items
from kgrec.testing.signal_settings import settings_of_grid


@pytest.fixture(scope="module")
def graph():
    whole = GraphSnapshot.from_tables(two_communities(seed=1))
    return whole.with_behaviours(whole.behaviours.split == "train"), withheld_items(whole)


@pytest.fixture(scope="module")
def vectors(graph):
    """Texts about one of two topics, on top of a direction that all share, as language models have it."""
    train, withheld = graph
    rng = np.random.default_rng(0)
    shared, topics = 5 * rng.normal(size=16), rng.normal(size=(2, 16))
    item_topic = _topic(train, withheld)
    user_topic = item_topic[withheld]
    made = {"Item": topics[item_topic], "User": topics[user_topic]}
    return {k: (v + shared + 0.3 * rng.normal(size=v.shape)).astype(np.float32) for k, v in made.items()}


def _topic(train, withheld):
    """Community of every item: the one of the first user's items, or the other."""
    same = train.interactions[0].toarray().ravel() > 0
    same[withheld[0]] = True
    return same.astype(int)


def own_topic_share(signal, train, withheld):
    topic = _topic(train, withheld)
    best = (signal.scores(np.arange(train.n_users)) - 10 * train.interactions.toarray()).argmax(axis=1)
    return (topic[best] == topic[withheld]).mean()


@pytest.mark.parametrize("own_text", [0.0, 0.1, 1.0])
def test_the_items_of_the_users_topic_come_first(graph, vectors, own_text):
    train, withheld = graph
    signal = Text(Text.Settings(own_text=own_text)).fit(train, vectors)
    assert own_topic_share(signal, train, withheld) > 0.95


def test_shuffled_vectors_destroy_the_result(graph, vectors):
    train, withheld = graph
    rng = np.random.default_rng(0)
    mixed = {label: rng.permutation(values) for label, values in vectors.items()}
    assert own_topic_share(Text().fit(train, mixed), train, withheld) < 0.8


def test_users_without_text_are_placed_by_their_items(graph, vectors):
    train, withheld = graph
    assert own_topic_share(Text().fit(train, {"Item": vectors["Item"]}), train, withheld) > 0.95


def test_an_item_without_text_scores_zero(graph, vectors):
    train, _ = graph
    items = vectors["Item"].copy()
    items[3] = 0
    scores = Text().fit(train, {**vectors, "Item": items}).scores(np.arange(train.n_users))
    assert np.isfinite(scores).all()
    assert not scores[:, 3].any()


def test_it_needs_item_texts(graph, vectors):
    train, _ = graph
    assert Text.applies(train, vectors)
    assert not Text.applies(train, {"User": vectors["User"]})
    assert not Text.applies(train, {"Item": np.zeros_like(vectors["Item"])})


def test_scores_repeat_and_survive_state(graph, vectors):
    train, _ = graph
    users = np.array([2, 0])
    signal = Text().fit(train, vectors)
    scores = signal.scores(users)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, Text().fit(train, vectors).scores(users))
    np.testing.assert_array_equal(scores, Text().restore(train, vectors, signal.state()).scores(users))


def test_every_setting_of_the_grid_fits(graph, vectors):
    train, _ = graph
    for settings in settings_of_grid(Text):
        assert np.isfinite(Text(settings).fit(train, vectors).scores(np.arange(2))).all()
