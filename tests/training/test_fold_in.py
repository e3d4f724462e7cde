"""Fold-in: new users, new items and free texts are scored with parameters learned before."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kgrec import Recommender, UnknownItem, UnknownUser, UsageError
from kgrec.config import Config
from kgrec.data.graph_delta import GraphDelta
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.signals import signal_kinds
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import COMMUNITY_SCHEMA, HAS_TAG, LIKED, two_communities
from kgrec.text import VectorCache, describe, encoded_texts, text_vectors

pytestmark = pytest.mark.slow

N_ITEMS = 20
"""Items of each community."""
HISTORY = 5
"""Behaviors of a new user."""


def learned_from(tables):
    snapshot = GraphSnapshot.from_tables(tables)
    return snapshot.with_behaviors(snapshot.behaviors.split == "train")


def half_chosen(snapshot):
    """The graph with a random half of its behaviors: else nobody has anything left to choose."""
    return snapshot.with_behaviors(np.random.default_rng(0).random(len(snapshot.behaviors)) < 0.5)


WHOLE = half_chosen(learned_from(two_communities(seed=1, n_users=40, n_items=N_ITEMS)))
COMMUNITY = {
    id_: title.split()[0] in {"garden", "flower", "tulip", "meadow"}
    for id_, title in zip(WHOLE.items.ids, WHOLE.item_names, strict=True)
}
NEW_USERS = ["u003", "u010", "u033", "u055"]
NEW_ITEMS = [next(id_ for id_, garden in COMMUNITY.items() if garden == side) for side in (False, True)]


def without(tables, label, ids):
    """The tables without some nodes and their relationships."""
    key, gone = tables.schema.nodes[label].key, pa.array(ids)

    def kept(table, column):
        return table.filter(pc.invert(pc.is_in(table.column(column), value_set=gone)))

    edges = dict(tables.edges)
    for edge_type in edges:
        for end, of in (("src", edge_type[0]), ("dst", edge_type[2])):
            edges[edge_type] = kept(edges[edge_type], end) if of == label else edges[edge_type]
    return replace(tables, nodes={**tables.nodes, label: kept(tables.nodes[label], key)}, edges=edges)


def first_behaviors(tables, users, n):
    """The tables with only n behaviors of some users."""
    liked = tables.edges[LIKED].to_pandas()
    place = liked.groupby("src").cumcount()
    kept = ~liked["src"].isin(users) | (place < n)
    return replace(tables, edges={**tables.edges, LIKED: tables.edges[LIKED].filter(pa.array(kept))})


def unchosen(tables, items):
    """The tables without the behaviors with some items."""
    new = pc.is_in(tables.edges[LIKED].column("dst"), value_set=pa.array(items))
    return replace(tables, edges={**tables.edges, LIKED: tables.edges[LIKED].filter(pc.invert(new))})


NOW = first_behaviors(unchosen(WHOLE.to_tables(), NEW_ITEMS), NEW_USERS, HISTORY)
BEFORE = without(without(NOW, "User", NEW_USERS), "Item", NEW_ITEMS)


@pytest.fixture(scope="module")
def now():
    return GraphSnapshot.from_tables(NOW)


@pytest.fixture(scope="module")
def fitted():
    return Recommender(encoder=WordEncoder(), budget="1s").fit(GraphSnapshot.from_tables(BEFORE))


@pytest.fixture(scope="module")
def grown(fitted, now):
    return fitted.fold_in(now)


def side_of(now, user):
    """Whether a user is of the gardeners' community."""
    return COMMUNITY[now.items.ids[now.interactions[[int(now.users.nums([user])[0])]].indices[0]]]


def overlap(one, other):
    """Mean share of the items that two frames of lists have in common, by user."""
    lists = [frame.groupby("user_id")["item_id"].agg(set) for frame in (one, other)]
    return np.mean([len(a & b) / len(b) for a, b in zip(*lists, strict=True)])


def test_new_user_gets_nearly_the_lists_of_a_fit(fitted, grown, now):
    k = N_ITEMS - HISTORY - 1
    expected = Recommender(encoder=WordEncoder(), budget="1s").fit(now).recommend(NEW_USERS, k=k)
    untrained = fitted.recommend(NEW_USERS, k=k, on_unknown="popular")
    assert overlap(grown.recommend(NEW_USERS, k=k), expected) > 0.9
    assert overlap(untrained, expected) < 0.7


@pytest.mark.parametrize("kind", signal_kinds(Config().signals), ids=lambda kind: kind.name)
def test_every_signal_scores_new_users_like_a_fit(kind, now, monkeypatch):
    monkeypatch.setattr("kgrec.signals.content.tfidf.MAX_DOCUMENT_SHARE", 1.0)  # eight words in all: none is rare
    before, encoder, cache = GraphSnapshot.from_tables(BEFORE), WordEncoder(), VectorCache()
    vectors = text_vectors(now, encoder, cache)
    new, old_items = now.users.nums(NEW_USERS), before.items.ids
    fitted = kind().fit(before, text_vectors(before, encoder, cache))
    found = fitted.fold_in(GraphDelta(before, now, vectors)).scores(new)[:, now.items.nums(old_items)]
    expected = kind().fit(now, vectors).scores(new)[:, now.items.nums(old_items)]
    if np.ptp(expected, axis=1).any():
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.85  # networks of two seeds differ so much
    else:
        np.testing.assert_allclose(found, expected)


def test_new_item_reaches_its_community(grown, now):
    users = [user for user in now.users.ids if user not in NEW_USERS]
    found, garden = grown.recommend(users, k=8), np.array([side_of(now, user) for user in users])
    top, best = (part.groupby("user_id")["item_id"].agg(list) for part in (found, found[found["rank"] <= 5]))
    for side, item in enumerate(NEW_ITEMS):
        own, other = garden == side, garden != side
        listed, first = (np.array([item in lists[user] for user in users]) for lists in (top, best))
        assert listed[own].mean() > 0.4  # a user has about 12 unseen items of the own community
        assert listed[other].mean() < 0.1
        assert not first[other].any()
    nearer = grown.recommend(users, k=1, items=NEW_ITEMS)["item_id"]
    assert (nearer.map(COMMUNITY).to_numpy() == garden).mean() > 0.95
    new = found[found["item_id"].isin(NEW_ITEMS)]
    np.testing.assert_allclose(new["graph"] + new["content"], new["score"], rtol=1e-4, atol=1e-5)


def test_recommend_for_text_finds_matching_items(grown):
    names = dict(zip(grown._model.train.items.ids, grown._model.train.item_names, strict=True))
    found = grown.recommend_for_text("a tulip in the meadow", k=4)
    assert list(found.columns) == ["item_id", "score", "rank", "graph", "cf", "content"]
    assert all({"tulip", "meadow"} & set(names[item].split()) for item in found["item_id"])
    assert set(names[found["item_id"][0]].split()) == {"tulip", "meadow"}
    np.testing.assert_allclose(found["content"], found["score"], rtol=1e-5)
    some = found["item_id"].tolist()[1:3]
    assert grown.recommend_for_text("tulip meadow", items=some, domain="Item")["item_id"].tolist() == some
    assert NEW_ITEMS[0] in grown.recommend_for_text(names[NEW_ITEMS[0]], k=8)["item_id"].tolist()


def test_new_word_is_found_by_its_vector(fitted, now):
    title = now.nodes["Item"].column("title").to_pylist()
    title[int(now.items.nums(NEW_ITEMS[:1])[0])] = "zeppelin"
    items = now.nodes["Item"].set_column(1, "title", pa.array(title))
    grown = fitted.fold_in(replace(now, nodes={**now.nodes, "Item": items}))
    assert grown.recommend_for_text("zeppelin", k=1)["item_id"].tolist() == NEW_ITEMS[:1]


def test_new_user_with_only_text_gets_matching_items():
    described = with_descriptions(BEFORE, {"u000": "galaxy robot laser", "u001": "tulip meadow garden"})
    described = first_behaviors(described, ["u000", "u001"], 0)
    model = Recommender(encoder=WordEncoder(), budget="1s").fit(learned_from(described))
    assert_tastes(model.recommend(["u000", "u001"], k=10), "u000", "u001")
    about = {"n0": "galaxy robot laser", "n1": "tulip meadow garden", "n2": ""}
    grown = model.fold_in(learned_from(with_descriptions(described, about)))
    found = grown.recommend(["n0", "n1", "n2"], k=10)
    assert_tastes(found, "n0", "n1")
    np.testing.assert_allclose(found["graph"] + found["cf"] + found["content"], found["score"], rtol=1e-4, atol=1e-5)
    popular = np.argsort(-grown._model.popularity, kind="stable")[:10]
    assert found["item_id"].tolist()[-10:] == grown._model.train.items.ids[popular].tolist()
    explanation = grown.explain("n1", found["item_id"][10])
    assert explanation.shares["embeddings"] > 0
    np.testing.assert_allclose(sum(explanation.shares.values()), explanation.score, rtol=1e-4)


def with_descriptions(tables, about):
    """The tables with a sentence about users, who are added where they are new."""
    data = COMMUNITY_SCHEMA.to_dict()
    data["nodes"]["User"] |= {"properties": {"about": "string"}, "text": ["{about}"]}
    there = dict.fromkeys(tables.nodes["User"].column("user_id").to_pylist(), "")
    if "about" in tables.nodes["User"].column_names:
        there = dict(zip(*tables.nodes["User"].to_pydict().values(), strict=True))
    users = {**there, **about}
    nodes = {**tables.nodes, "User": pa.table({"user_id": list(users), "about": list(users.values())})}
    return check(replace(tables, schema=Schema.from_dict(data), nodes=nodes))


def assert_tastes(found, spaceman, gardener):
    for user, garden in ((spaceman, False), (gardener, True)):
        listed = found.loc[found["user_id"] == user, "item_id"].map(COMMUNITY)
        assert (listed == garden).mean() > 0.8


def test_fold_in_of_the_same_graph_changes_nothing(fitted, grown):
    for model in (fitted, grown):
        users = model._model.train.users.ids
        again = model.fold_in(model._model.train)
        pd.testing.assert_frame_equal(again.recommend(users), model.recommend(users), check_exact=True)
        pd.testing.assert_frame_equal(
            again.recommend_for_text("tulip"), model.recommend_for_text("tulip"), check_exact=True
        )
        for name, arrays in again._model.signals.items():
            for key, array in arrays.state().items():
                np.testing.assert_array_equal(array, model._model.signals[name].state()[key])


def test_fold_in_encodes_only_new_texts(fitted, now, tmp_path):
    class Watched(WordEncoder):
        read: ClassVar[list[str]] = []

        def encode(self, texts):
            self.read += texts
            return super().encode(texts)

    fitted.save(tmp_path / "run")
    loaded = Recommender.load(tmp_path / "run", encoder=Watched())
    loaded._cache = VectorCache(tmp_path / "vectors of another machine")
    grown = loaded.fold_in(now)
    texts = set().union(*encoded_texts(now, WordEncoder()).values())
    checked, *new = Watched.read
    assert checked in loaded._known_texts.texts
    assert set(new) == texts - set(loaded._known_texts.texts)
    assert new
    assert grown._cache.encoded == len(Watched.read)


def test_known_user_is_scored_by_new_interactions(fitted, now):
    user = next(user for user in BEFORE.nodes["User"].column("user_id").to_pylist() if not side_of(now, user))
    tulips = pa.table({"src": [user] * 12, "dst": [item for item, garden in COMMUNITY.items() if garden][1:13]})
    old = BEFORE.edges[LIKED]
    more = old.slice(0, 12).set_column(0, "src", tulips["src"]).set_column(1, "dst", tulips["dst"])
    late = pa.array(1e6 + np.arange(12.0))
    more = more.set_column(more.column_names.index("timestamp"), "timestamp", late)
    tables = replace(BEFORE, edges={**BEFORE.edges, LIKED: pa.concat_tables([old, more])})
    found = fitted.fold_in(learned_from(tables)).recommend([user], k=5)
    assert found["item_id"].map(COMMUNITY).mean() > fitted.recommend([user], k=5)["item_id"].map(COMMUNITY).mean()


def test_removed_item_is_not_recommended(grown):
    back = grown.fold_in(GraphSnapshot.from_tables(BEFORE))
    with pytest.raises(UnknownUser, match="u003"):
        back.recommend(NEW_USERS)
    assert not set(NEW_ITEMS) & set(back.recommend(["u000"], k=100)["item_id"])


def test_loaded_run_folds_in_equal(fitted, grown, now, tmp_path):
    fitted.save(tmp_path / "fitted")
    grown.save(tmp_path / "grown")
    loaded = Recommender.load(tmp_path / "fitted", encoder=WordEncoder()).fold_in(now)
    again = Recommender.load(tmp_path / "grown", encoder=WordEncoder())
    for model in (loaded, again):
        pd.testing.assert_frame_equal(model.recommend(now.users.ids), grown.recommend(now.users.ids))
        pd.testing.assert_frame_equal(model.recommend_for_text("laser"), grown.recommend_for_text("laser"))
    with pytest.raises(UsageError, match=r"the text encoder differs .* Recommender.load\(folder, encoder=…\)"):
        Recommender.load(tmp_path / "grown", encoder=WordEncoder(32)).recommend_for_text("laser")


def test_fold_in_uses_given_vectors_and_text():
    model = Recommender(signals=("popularity", "embeddings"), encoder=WordEncoder()).fit(learned_from(pictured(BEFORE)))
    grown = model.fold_in(learned_from(pictured(NOW)))
    again = grown.fold_in(grown._model.train)
    users = grown._model.train.users.ids
    pd.testing.assert_frame_equal(again.recommend(users), grown.recommend(users), check_exact=True)
    nearer = grown.recommend(users, k=1, items=NEW_ITEMS)["item_id"].map(COMMUNITY)
    assert (nearer.to_numpy() == [side_of(grown._model.train, user) for user in users]).mean() > 0.95
    assert grown.recommend_for_text("tulip meadow", k=5)["item_id"].map(COMMUNITY).all()


def pictured(tables):
    """The tables with a picture of each item, which tells its community."""
    data = COMMUNITY_SCHEMA.to_dict()
    data["nodes"]["Item"]["properties"]["picture"] = "vector"
    items = tables.nodes["Item"]
    rng = np.random.default_rng(0)
    sides = [COMMUNITY[id_] for id_ in items.column("item_id").to_pylist()]
    pictures = [(np.array([side, not side, 1.0]) + 0.1 * rng.normal(size=3)).tolist() for side in sides]
    nodes = {**tables.nodes, "Item": items.append_column("picture", pa.array(pictures))}
    return check(replace(tables, schema=Schema.from_dict(data), nodes=nodes))


def test_new_users_are_unknown_before_fold_in(fitted):
    with pytest.raises(UnknownUser, match=r"'u003'.*fold_in\(graph\)"):
        fitted.recommend(NEW_USERS)
    with pytest.raises(UnknownItem, match=r"fold_in\(graph\)"):
        fitted.similar_items(NEW_ITEMS)


def test_wrong_use_says_what_to_do(fitted, now):
    with pytest.raises(UsageError, match=r"text='  '\. Expected words"):
        fitted.recommend_for_text("  ")
    with pytest.raises(UsageError, match=r"neither users nor history given\. Expected one of them"):
        fitted.recommend()
    with pytest.raises(UsageError, match=r"both users and history given\. Expected one of them"):
        fitted.recommend(["u000"], history=["i001"])
    other = with_descriptions(BEFORE, {})
    with pytest.raises(UsageError, match="differs from that of the fit"):
        fitted.fold_in(GraphSnapshot.from_tables(other))
    with pytest.raises(UsageError, match="not fitted"):
        Recommender().fold_in(now)
    deaf = Recommender(signals=("popularity", "ease"), encoder=WordEncoder()).fit(GraphSnapshot.from_tables(BEFORE))
    with pytest.raises(UsageError, match="cannot score the text 'tulip': no signal of the model reads text"):
        deaf.recommend_for_text("tulip")


def test_fold_in_uses_relationships_of_new_item(now):
    """Without a text, tags alone place a new item."""
    untold = with_titles(BEFORE, "thing")
    model = Recommender(signals=("lightgcn", "metapaths"), encoder=WordEncoder(), budget="1s").fit(learned_from(untold))
    grown = model.fold_in(learned_from(with_titles(NOW, "thing")))
    train = grown._model.train
    items = train.items.nums(NEW_ITEMS)
    for signal in grown._model.signals.values():
        scores = signal.scores(np.arange(train.n_users))[:, items]
        gardeners = np.array([side_of(train, user) for user in train.users.ids])
        assert ((scores[:, 1] > scores[:, 0]) == gardeners).mean() > 0.95
    nearer = grown.recommend(train.users.ids, k=1, items=NEW_ITEMS)
    assert (nearer["item_id"].map(COMMUNITY).to_numpy() == gardeners).mean() > 0.95
    assert not nearer["content"].any()
    bare = unlinked(with_titles(NOW, "thing"), NEW_ITEMS)
    scores = model.fold_in(learned_from(bare))._model.signals["lightgcn"].scores(np.arange(train.n_users))
    np.testing.assert_allclose(*scores[:, items].T, atol=1e-5)


def with_titles(tables, title):
    items = tables.nodes["Item"]
    titles = pa.array([title] * items.num_rows)
    return replace(tables, nodes={**tables.nodes, "Item": items.set_column(1, "title", titles)})


def unlinked(tables, items):
    linked = pc.is_in(tables.edges[HAS_TAG].column("src"), value_set=pa.array(items))
    return replace(tables, edges={**tables.edges, HAS_TAG: tables.edges[HAS_TAG].filter(pc.invert(linked))})


def test_known_texts_are_shortened_by_the_encoder():
    class LetterTokens(WordEncoder):
        def count_tokens(self, texts):
            return np.array([len(text) for text in texts], dtype=np.int64)

    data = COMMUNITY_SCHEMA.to_dict()
    data["nodes"]["User"]["text"] = ["{behaviours:3, 60 tokens}"]
    graph = learned_from(replace(two_communities(seed=1), schema=Schema.from_dict(data)))
    model = Recommender(signals="embeddings", encoder=LetterTokens(encodes_behaviors=True), budget="1s").fit(graph)
    texts = describe(graph, "User", LetterTokens().count_tokens)
    assert set(texts) <= set(model._known_texts.texts)
    assert set(texts) != set(describe(graph, "User"))
