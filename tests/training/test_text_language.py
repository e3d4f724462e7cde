"""Which text model a graph gets by the script of its texts, and that a run says and keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from kgrec import Recommender, UsageError
from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.jobs.train import publish_run, train_run
from kgrec.query.similar import nearest_nodes
from kgrec.runs.tables import run_facts
from kgrec.store import open_graph
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import two_communities
from kgrec.text.encoder_pair import NO_MODEL, EncoderPair
from kgrec.training import text_language
from kgrec.training.text_language import letter_shares, model_for_texts

WORDS = {
    "garden ": "花园",
    "meadow": "草地",
    "flower": "鲜花",
    "tulip": "郁金香",
    "robot": "机器人",
    "galaxy": "银河",
    "spaceship": "飞船",
    "laser": "激光",
    "garden": "花园",
    " ": "",
}
SMALL = {"signals": "embeddings,tfidf,popularity", "effort": "fast"}
INSTALL = 'pip install "kgrec[multilingual]"'


def translated(words: dict[str, str]) -> GraphTables:
    """Return the graph of two communities with other words in the titles."""
    tables = two_communities()
    items = tables.nodes["Item"]
    titles = items.column("title")
    for word, other in words.items():
        titles = pc.replace_substring(titles, word, other)
    items = items.set_column(items.column_names.index("title"), "title", titles)
    return check(replace(tables, nodes={**tables.nodes, "Item": items}))


CHINESE = GraphSnapshot.from_tables(translated(WORDS))


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_language, "is_installed", lambda: False)


@pytest.fixture
def installed() -> None:
    if not text_language.is_installed():
        pytest.skip(INSTALL)


def chosen(graph: GraphSnapshot, **settings: Any) -> str | None:
    config = Config.checked(settings)
    found = model_for_texts(graph, EncoderPair(None, config.encoder), config)
    return found and found["name"]


def test_letters_of_other_languages_are_counted() -> None:
    assert letter_shares(["A quiet film, 1999: no. 7", "2001"]) == (0, 0)
    assert letter_shares(["naïve"]) == (pytest.approx(0.2), 0)
    assert letter_shares(["猫 cat 12"]) == (pytest.approx(0.25), pytest.approx(0.25))
    assert letter_shares([]) == (0, 0)


@pytest.mark.usefixtures("installed")
def test_texts_in_other_languages_get_their_model() -> None:
    assert chosen(CHINESE) == "multilingual"
    assert chosen(GraphSnapshot.from_tables(translated({"garden": "gärten", "robot": "bücher"}))) == "multilingual"
    assert chosen(GraphSnapshot.from_tables(two_communities())) is None
    assert chosen(CHINESE, encoder={"max_tokens": 32}) == "multilingual"


def test_named_model_is_not_overruled() -> None:
    assert chosen(CHINESE, encoder="models/own") is None
    assert model_for_texts(CHINESE, EncoderPair(WordEncoder(), None), Config()) is None


@pytest.mark.usefixtures("not_installed")
def test_unread_texts_have_no_model_without_extra() -> None:
    assert chosen(CHINESE) == NO_MODEL
    assert chosen(GraphSnapshot.from_tables(translated({"garden": "gärten"}))) is None
    assert chosen(CHINESE, tune="lora") is None


@pytest.mark.slow
@pytest.mark.usefixtures("not_installed")
def test_run_without_text_model_says_so_and_works(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uri = str(tmp_path / "graph.lbug")
    with open_graph(uri, create=True) as store:
        store.write(translated(WORDS))
    run = train_run(uri, Config.checked(SMALL), split="given")
    publish_run(uri, run.name)
    assert INSTALL in caplog.text
    assert INSTALL in run_facts(run)["text model"]
    loaded = Recommender.load(run.folder)
    for later in (loaded, loaded.fold_in(CHINESE), loaded.refit(CHINESE)):
        assert set(later._model.signals) == {"tfidf", "popularity"}
        assert not later._trained.vectors
        assert "机器人" in names_for(later, "机器人")[0]
    with open_graph(uri) as store, pytest.raises(UsageError, match=r"has no text vectors.*multilingual"):
        nearest_nodes(store, text="机器人")


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_search_finds_items_in_another_language(tmp_path: Path) -> None:
    uri = str(tmp_path / "graph.lbug")
    with open_graph(uri, create=True) as store:
        store.write(translated(WORDS))
    reading = {"signals": "embeddings,popularity", "encoder": {"static": False}}
    run = train_run(uri, Config.checked({**SMALL, **reading}), split="given")
    publish_run(uri, run.name)
    assert "multilingual" in run_facts(run)["text model"]
    loaded = Recommender.load(run.folder)
    for later in (loaded, loaded.fold_in(CHINESE), loaded.refit(CHINESE)):
        assert later._encoder.name == "multilingual"
        assert all(set(name) <= set("花园草地鲜花郁金香") for name in names_for(later, "a tulip"))
        assert all(set(name) <= set("机器人银河飞船激光") for name in names_for(later, "a robot"))
    with open_graph(uri) as store:
        found = nearest_nodes(store, text="robot", label="Item", k=3)
    assert all("机器人" in name for name in found["name"])


def names_for(model: Recommender, text: str) -> list[str]:
    return list(model.recommend_for_text(text, k=2, names=True)["name"])
