"""Words: items are near by the rare words they share; without them there is nothing to find."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import check
from kgrec.signals.content.tfidf import TFIDF
from kgrec.testing.graphs import shuffled, two_communities, withheld_items
from kgrec.testing.signal_settings import settings_of_grid


def graph(change=lambda tables: tables):
    whole = GraphSnapshot.from_tables(change(two_communities(seed=1)))
    return whole.with_behaviors(whole.behaviors.split == "train"), withheld_items(whole)


def untitled(tables):
    items = tables.nodes["Item"]
    blank = pa.nulls(items.num_rows, pa.string())
    return check(replace(tables, nodes={**tables.nodes, "Item": items.set_column(1, "title", blank)}))


def share_ranked_first(train, withheld, max_share=1.0):
    scores = TFIDF().fit(train, {}).scores(np.arange(train.n_users)) - 1e6 * train.interactions.toarray()
    return (scores.argmax(axis=1) == withheld).mean()


def test_the_withheld_item_ranks_first_by_its_words(monkeypatch):
    monkeypatch.setattr("kgrec.signals.content.tfidf.MAX_DOCUMENT_SHARE", 1.0)  # eight words in all: none is rare
    assert share_ranked_first(*graph()) > 0.9
    assert share_ranked_first(*graph(shuffled)) < 0.4


def test_without_text_it_does_not_apply_and_words_nobody_shares_score_nothing(monkeypatch):
    train, _ = graph(untitled)
    assert not TFIDF.applies(train, {})
    monkeypatch.setattr("kgrec.signals.content.tfidf.MAX_DOCUMENT_SHARE", 0.0)
    train, _ = graph()
    assert TFIDF.applies(train, {})
    assert not TFIDF().fit(train, {}).scores(np.arange(3)).any()


def test_scores_survive_state_for_every_setting():
    train, _ = graph()
    for settings in settings_of_grid(TFIDF):
        signal = TFIDF(settings).fit(train, {})
        scores = signal.scores(np.arange(5))
        assert scores.dtype == np.float32
        assert scores.shape == (5, train.n_items)
        np.testing.assert_array_equal(TFIDF(settings).restore(train, {}, signal.state()).scores(np.arange(5)), scores)
