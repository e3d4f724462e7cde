"""Whitening: parts of a vector that a node lacks stay zero, so that lacking a picture is no likeness."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.signals.content import Embeddings
from kgrec.signals.graph.lightgcn import LightGCN
from kgrec.signals.whitening import centered_rows, mean_row, part_widths
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import train_and_withheld, two_communities
from kgrec.text import VectorCache, text_vectors


def half_with_pictures(item_text: list[str]) -> GraphSnapshot:
    """The train part of two communities; pictures of every second item are alike, the others have none."""
    tables = two_communities(seed=1)
    data = tables.schema.to_dict()
    data["nodes"]["Item"] |= {"text": item_text}
    data["nodes"]["User"] |= {"text": []}
    data["nodes"]["Item"]["properties"]["picture"] = "vector"
    looks = (10 + np.random.default_rng(0).normal(0, 1, (20, 8))).tolist()
    pictures = pa.array([row if num % 2 else None for num, row in enumerate(looks)], pa.list_(pa.float32()))
    nodes = {**tables.nodes, "Item": tables.nodes["Item"].append_column("picture", pictures)}
    return train_and_withheld(check(replace(tables, schema=Schema.from_dict(data), nodes=nodes)))[0]


def test_missing_part_is_neither_in_mean_nor_centered() -> None:
    x = np.array([[1, 2, 4, 0], [3, 0, 0, 0], [0, 0, 2, 2], [0, 0, 0, 0]], np.float32)
    mean = mean_row(x, [2, 2])
    np.testing.assert_array_equal(mean, [2, 1, 3, 1])
    centered = [[-1, 1, 1, -1], [1, -1, 0, 0], [0, 0, -1, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(centered_rows(x, mean, [2, 2]), centered)


def test_parts_are_the_text_and_each_vector_property() -> None:
    train = half_with_pictures(["{title}"])
    assert part_widths(train, 16 + 8) == [16, 8]
    assert part_widths(train, 8) == [8]
    assert part_widths(train_and_withheld()[0], 16) == [16]


def test_items_without_pictures_are_not_alike_for_it(tmp_path) -> None:
    """Items without a picture are compared by their titles alone."""
    train = half_with_pictures(["{title}"])
    vectors = text_vectors(train, WordEncoder(dim=16), VectorCache(tmp_path))
    blind = np.arange(0, 20, 2)
    titles = {"Item": vectors["Item"][:, :16]}
    alike = Embeddings().fit(train, vectors).item_similarity(blind)[:, blind]
    by_title = Embeddings().fit(train, titles).item_similarity(blind)[:, blind]
    np.testing.assert_allclose(np.corrcoef(alike.ravel(), by_title.ravel())[0, 1], 1, atol=0.02)
    assert abs((alike - by_title).mean()) < 0.1
    first = LightGCN(LightGCN.Settings(steps=1, dim=8)).fit(train, vectors)
    assert np.isfinite(first.scores(np.arange(3))).all()
