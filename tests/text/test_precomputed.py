import numpy as np
import pyarrow as pa
import pytest

import kgrec
from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError
from kgrec.query.similar import nearest_nodes
from kgrec.recommender import Recommender
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import two_communities
from kgrec.text import VectorCache, given_vectors, text_vectors

ENCODER = WordEncoder(dim=16)


@pytest.fixture
def cache(tmp_path):
    return VectorCache(tmp_path)


def with_pictures(tables, pictures, text, others=None):
    """The tables with vectors of items, of other labels too if given, and no text but that of the items."""
    data = tables.schema.to_dict()
    nodes = dict(tables.nodes)
    for label in data["nodes"]:
        data["nodes"][label]["text"] = text if label == "Item" else []
    for label, vectors in {"Item": pictures, **(others or {})}.items():
        data["nodes"][label].setdefault("properties", {})["picture"] = "vector"
        nodes[label] = nodes[label].append_column("picture", pa.array(vectors, pa.list_(pa.float32())))
    return GraphTables(Schema.from_dict(data), nodes, tables.edges)


def snapshot_of(tables):
    return GraphSnapshot.from_tables(check(tables))


@pytest.fixture
def shop():
    return two_communities(seed=0, n_users=6, n_items=4)


def pictures(n, d=3):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_given_vectors_without_text_are_used_alone(shop, cache):
    given = pictures(8)
    vectors = text_vectors(snapshot_of(with_pictures(shop, list(given), [])), ENCODER, cache)
    assert list(vectors) == ["Item"]
    np.testing.assert_allclose(vectors["Item"], unit(given), atol=1e-6)
    assert vectors["Item"].dtype == np.float32
    assert cache.encoded == 0


def test_text_and_given_vectors_are_concatenated(shop, cache):
    given = [*pictures(7)[:2], None, *pictures(7)[2:]]
    snapshot = snapshot_of(with_pictures(shop, given, ["{title}"], {"Tag": [*pictures(7), [0, 0, 0]]}))
    vectors = text_vectors(snapshot, ENCODER, cache)
    titles = snapshot.nodes["Item"].column("title").to_pylist()
    np.testing.assert_allclose(vectors["Item"][:, :16], ENCODER.encode(titles), atol=1e-6)
    np.testing.assert_allclose(vectors["Item"][:, 16:], np.insert(unit(pictures(7)), 2, 0, axis=0), atol=1e-6)
    order = np.argsort(shop.nodes["Tag"].column("tag_id").to_pylist())  # a snapshot's nodes go by their key
    tags = np.pad(unit(pictures(7)), ((0, 1), (16, 0)))[order]
    np.testing.assert_allclose(vectors["Tag"], tags, atol=1e-6)
    assert "User" not in vectors


def test_label_without_vectors_is_omitted(shop):
    assert given_vectors(snapshot_of(with_pictures(shop, [None] * 8, []))) == {}


def test_vectors_follow_nodes_in_any_row_order(shop):
    tables = with_pictures(shop, list(pictures(8)), [])
    turned = GraphTables(
        tables.schema, {x: t.take(pa.array(range(len(t)))[::-1]) for x, t in tables.nodes.items()}, shop.edges
    )
    np.testing.assert_array_equal(
        given_vectors(snapshot_of(turned))["picture"]["Item"], given_vectors(snapshot_of(tables))["picture"]["Item"]
    )


def test_vectors_of_different_lengths_fail_on_use(shop, tmp_path):
    with kgrec.open(tmp_path / "shop.lbug", create=True) as store:
        store.write(with_pictures(shop, list(pictures(8)), []))
        later = with_pictures(shop, list(pictures(8, d=4)), [])
        items = later.nodes["Item"].slice(0, 2)
        store.write(GraphTables(later.schema, {"Item": items}, {}))
        with pytest.raises(DataError, match=r"Item: picture: found vectors of 3, 4 numbers; expected one length"):
            given_vectors(store.snapshot())


def test_image_vectors_alone_find_items():
    """Items of one community look alike, and nothing else of them is known to the signal."""
    tables = two_communities(seed=1)
    titles = tables.nodes["Item"].column("title").to_pylist()
    side = np.array(
        [[1.0, 0] if set(t.split()) & {"spaceship", "galaxy", "robot", "laser"} else [0, 1] for t in titles]
    )
    looks = side + np.random.default_rng(0).normal(0, 0.05, side.shape)
    graph = snapshot_of(with_pictures(tables, list(looks), []))
    model = Recommender(signals=("embeddings",), budget="1s").fit(graph)
    test = graph.behaviors.where(graph.behaviors.split == "test")
    best = model.recommend(graph.users.ids[test.user_num], k=1)["item_id"].to_numpy()
    wanted = graph.items.ids[test.item_num]
    assert np.mean(best == wanted) > 0.9


def test_text_query_works_with_given_vectors(shop, tmp_path, cache):
    tables = with_pictures(shop, list(pictures(8)), ["{title}"])
    with kgrec.open(tmp_path / "shop.lbug", create=True) as store:
        store.write(tables)
        snapshot = store.snapshot()
        vectors = text_vectors(snapshot, ENCODER, cache)["Item"]
        store.write_vectors("Item", snapshot.ids("Item"), vectors)
        title = snapshot.nodes["Item"].column("title")[3].as_py()
        found = nearest_nodes(store, text=title, label="Item", encoder=ENCODER, k=3)
    assert title == found["name"][0]
    assert found["score"][0] == pytest.approx(1 / np.sqrt(2), abs=1e-5)
