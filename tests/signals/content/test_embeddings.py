"""The embeddings signal recommends items whose texts resemble those of the user and their items."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.signals.content import Embeddings
from kgrec.testing.graphs import LIKED, shuffled, train_and_withheld
from kgrec.testing.signal_contract import SignalContract
from kgrec.tuning.search import tune
from kgrec.tuning.validation import ValidationSet


class TestEmbeddings(SignalContract):
    signal = Embeddings


@pytest.fixture(scope="module")
def graph():
    return train_and_withheld()


@pytest.fixture(scope="module")
def vectors(graph):
    """Text vectors of one of two topics plus a direction common to all, as in the vectors of language models."""
    train, withheld = graph
    rng = np.random.default_rng(0)
    shared, topics = 5 * rng.normal(size=16), rng.normal(size=(2, 16))
    item_topic = _topic(train, withheld)
    user_topic = item_topic[withheld]
    made = {"Item": topics[item_topic], "User": topics[user_topic]}
    return {k: (v + shared + 0.3 * rng.normal(size=v.shape)).astype(np.float32) for k, v in made.items()}


def _topic(train, withheld):
    """The community of every item: that of the first user's items, or the other one."""
    same = train.interactions[0].toarray().ravel() > 0
    same[withheld[0]] = True
    return same.astype(int)


def own_topic_share(signal, train, withheld):
    topic = _topic(train, withheld)
    best = (signal.scores(np.arange(train.n_users)) - 10 * train.interactions.toarray()).argmax(axis=1)
    return (topic[best] == topic[withheld]).mean()


@pytest.mark.parametrize("own_text", [0.0, 0.1, 1.0])
def test_items_of_the_users_topic_rank_first(graph, vectors, own_text):
    train, withheld = graph
    signal = Embeddings(Embeddings.Settings(own_text=own_text)).fit(train, vectors)
    assert own_topic_share(signal, train, withheld) > 0.95


def test_shuffled_vectors_destroy_the_result(graph, vectors):
    train, withheld = graph
    rng = np.random.default_rng(0)
    mixed = {label: rng.permutation(values) for label, values in vectors.items()}
    assert own_topic_share(Embeddings().fit(train, mixed), train, withheld) < 0.8


def test_users_without_text_use_their_items(graph, vectors):
    train, withheld = graph
    assert own_topic_share(Embeddings().fit(train, {"Item": vectors["Item"]}), train, withheld) > 0.95


def test_item_without_text_scores_zero(graph, vectors):
    train, _ = graph
    items = vectors["Item"].copy()
    items[3] = 0
    scores = Embeddings().fit(train, {**vectors, "Item": items}).scores(np.arange(train.n_users))
    assert np.isfinite(scores).all()
    assert not scores[:, 3].any()


def test_embeddings_need_item_texts(graph, vectors):
    train, _ = graph
    assert Embeddings.applies(train, vectors)
    assert not Embeddings.applies(train, {"User": vectors["User"]})
    assert not Embeddings.applies(train, {"Item": np.zeros_like(vectors["Item"])})


@pytest.fixture(scope="module")
def towns(graph):
    """The graph, with the users of each community living in its town."""
    train, withheld = graph
    data = train.schema.to_dict()
    data["nodes"]["Town"] = {"key": "town_id"}
    data["relationships"]["LIVES_IN"] = {"from": "User", "to": "Town"}
    tables = train.to_tables()
    lives = {"src": train.users.ids, "dst": np.array(["t0", "t1"])[_topic(train, withheld)[withheld]]}
    nodes = {**tables.nodes, "Town": pa.table({"town_id": ["t0", "t1"]})}
    edges = {**tables.edges, ("User", "LIVES_IN", "Town"): pa.table(lives)}
    return GraphSnapshot.from_tables(GraphTables(Schema.from_dict(data), nodes, edges))


@pytest.fixture(scope="module")
def town_vectors(vectors, graph):
    """Text vectors of towns: those of their community's items plus a direction common to all towns."""
    topic = _topic(*graph)
    shared = 5 * np.random.default_rng(1).normal(size=16)
    return {**vectors, "Town": np.stack([vectors["Item"][topic == t].mean(axis=0) + shared for t in (0, 1)])}


def test_users_use_vectors_of_linked_nodes(towns, town_vectors, graph):
    _, withheld = graph
    texts = {label: town_vectors[label].astype(np.float32) for label in ("Item", "Town")}
    nothing = towns.with_behaviors(np.zeros(len(towns.behaviors), dtype=bool))
    scores = Embeddings().fit(nothing, texts).scores(np.arange(towns.n_users))
    topic = _topic(towns, withheld)
    assert (topic[scores.argmax(axis=1)] == topic[withheld]).mean() > 0.95
    assert own_topic_share(Embeddings(Embeddings.Settings(graph_text=1.0)).fit(towns, texts), towns, withheld) > 0.95
    assert not Embeddings().fit(nothing, {"Item": texts["Item"]}).scores(np.arange(towns.n_users)).any()


def test_shares_are_searched_only_with_several_sources(graph, towns):
    train, _ = graph
    assert Embeddings.is_relevant("own_text", train)  # the schema has text of users
    assert not Embeddings.is_relevant("graph_text", train)
    assert Embeddings.is_relevant("graph_text", towns)
    plain = train.schema.to_dict()
    del plain["nodes"]["User"]["text"]
    assert not Embeddings.is_relevant("own_text", replace(train, schema=Schema.from_dict(plain)))


def test_shares_need_no_fit(towns, town_vectors):
    for share in ({"own_text": 0.7}, {"graph_text": 0.6}):
        settings = Embeddings.Settings(**share)
        fitted = Embeddings(settings).fit(towns, town_vectors)
        taken_over = Embeddings(settings).restore(towns, town_vectors, Embeddings().fit(towns, town_vectors).state())
        np.testing.assert_array_equal(fitted.scores(np.arange(5)), taken_over.scores(np.arange(5)))
        assert not np.allclose(fitted.scores(np.arange(5)), Embeddings().fit(towns, town_vectors).scores(np.arange(5)))


@pytest.mark.parametrize("told_by", ["own_text", "graph_text"])
def test_tuning_prefers_the_informative_source(told_by, graph, towns, town_vectors):
    """Histories are shuffled, so that only the users' own texts, or those of their towns, are informative."""
    _, withheld = graph
    lost = GraphSnapshot.from_tables(shuffled(towns.to_tables(), only=LIKED))
    topic = _topic(towns, withheld)
    likes = sp.csr_matrix((topic[withheld][:, None] == topic).astype(np.float32))
    asked = [
        ValidationSet(
            "Item", np.arange(lost.n_users), np.ones(lost.n_users), np.arange(lost.n_items), likes, lost.interactions
        )
    ]
    known = {"own_text": "User", "graph_text": "Town"}[told_by]
    chosen = tune(Embeddings, lost, {label: town_vectors[label] for label in ("Item", known)}, asked).signal.settings
    assert getattr(chosen, told_by) == max(Embeddings.grid[told_by])
