"""Anonymous users are scored as users with the same history are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kgrec import GraphTables, Recommender
from kgrec.config import Config
from kgrec.data.anonymous import AnonymousUsers
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.signals import signal_kinds
from kgrec.signals.base import Signal
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import LIKED, two_communities
from kgrec.text import VectorCache, text_vectors

ONE = "u003"
KINDS = signal_kinds(Config().signals)
LEARNED = {"user_ease": 0.8, "lightgcn": 0.8, "embeddings": 0.9, "ials": 0.99}
"""Signals that learn something of each user of the graph → correlation of their scores with those of the histories."""


def without(tables: GraphTables, user: str) -> GraphTables:
    kept = {LIKED: tables.edges[LIKED].filter(pc.not_equal(tables.edges[LIKED].column("src"), user))}
    users = tables.nodes["User"].filter(pc.not_equal(tables.nodes["User"].column("user_id"), user))
    return check(replace(tables, nodes={**tables.nodes, "User": users}, edges={**tables.edges, **kept}))


TABLES = two_communities(seed=1, n_users=30, n_items=20)
HALF = TABLES.edges[LIKED].filter(pa.array(np.random.default_rng(0).random(TABLES.edges[LIKED].num_rows) < 0.5))
TABLES = check(replace(TABLES, edges={**TABLES.edges, LIKED: HALF}))
GRAPH = GraphSnapshot.from_tables(TABLES)


@pytest.mark.parametrize("half_life_items", [None, 2.0])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_anonymous_scores_follow_history(
    kind: type[Signal], half_life_items: float | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    vectors = text_vectors(GRAPH, WordEncoder(), VectorCache(tmp_path_factory.getbasetemp() / "vectors"))
    if not kind.applies(GRAPH, vectors) or (half_life_items and "half_life_items" not in kind.Settings.model_fields):
        pytest.skip("not with this graph")
    signal = kind(kind.Settings(**({"half_life_items": half_life_items} if half_life_items else {}))).fit(
        GRAPH, vectors
    )
    nums = np.arange(8)
    theirs = GRAPH.behaviors.where(np.isin(GRAPH.behaviors.user_num, nums))
    known, new = signal.scores(nums), signal.anonymous_scores(AnonymousUsers(GRAPH, theirs, len(nums)))
    assert new is not None
    assert new.shape == known.shape
    if kind.name not in LEARNED:
        np.testing.assert_allclose(new, known, atol=1e-6)
    for one, other in zip(known, new, strict=True):
        assert np.corrcoef(one, other)[0, 1] > LEARNED.get(kind.name, 0.99)


def test_history_equals_fold_in() -> None:
    model = Recommender(encoder=WordEncoder(), budget="1s").fit(GraphSnapshot.from_tables(without(TABLES, ONE)))
    nodes = [table.num_rows for table in model._model.train.nodes.values()]
    grown = model.fold_in(GRAPH)
    liked = HALF.filter(pc.equal(HALF.column("src"), ONE)).to_pandas()
    liked = liked[liked["split"] == "train"]
    history = liked.rename(columns={"dst": "item_id", "rating": "weight"})[["item_id", "weight", "timestamp"]]
    known, new = grown.recommend([ONE], k=20), model.recommend(history=history, k=20)
    both = known.merge(new, on="item_id", suffixes=("", "_new"))
    assert len(both) >= 18
    assert both["score"].corr(both["score_new"]) > 0.98
    assert known["item_id"][:10].isin(new["item_id"][:10]).mean() >= 0.9
    in_order = model.recommend(history=history.sort_values("timestamp")["item_id"].tolist(), k=20)
    pd.testing.assert_frame_equal(in_order, new)
    assert [table.num_rows for table in model._model.train.nodes.values()] == nodes


@pytest.mark.parametrize("name", ["ials", "user_ease", "lightgcn"])
def test_second_fit_replaces_the_first(name: str) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    later = GRAPH.with_behaviors(GRAPH.behaviors.item_num % 3 > 0)
    users = AnonymousUsers(later, later.behaviors.where(later.behaviors.user_num < 3), 3)
    signal = kind().fit(GRAPH, {})
    before = signal.anonymous_scores(users)
    again, expected = (of.fit(later, {}).anonymous_scores(users) for of in (signal, kind()))
    np.testing.assert_allclose(again, expected, atol=1e-6)
    assert not np.allclose(before, expected, atol=1e-3)
