"""When texts are encoded as means of token vectors, and that a run keeps its encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kgrec import Recommender
from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.jobs.train import publish_run, train_run
from kgrec.query.similar import nearest_nodes
from kgrec.store import open_graph
from kgrec.testing.graphs import two_communities
from kgrec.text import TransformersEncoder
from kgrec.text.encoder_pair import EncoderPair
from kgrec.text.static import StaticEncoder
from kgrec.training.text_cost import why_static

pytestmark = pytest.mark.slow

GRAPH = GraphSnapshot.from_tables(two_communities())
SMALL = {"signals": "embeddings,popularity", "effort": "fast"}
LONGER = {**SMALL, "effort": "balanced", "budget": "20s"}


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the texts of a small graph take about a minute."""
    monkeypatch.setattr("kgrec.text.static.BYTES_PER_SECOND", 5)


def chosen(**settings: object) -> str | None:
    config = Config.checked(dict(settings))
    return why_static(GRAPH, EncoderPair(None, config.encoder), config)


def test_small_catalog_has_the_transformer() -> None:
    assert chosen(budget="1s") is None


def test_fast_effort_is_static_for_any_catalog() -> None:
    assert "all-MiniLM-L6-v2 takes about" in str(chosen(effort="fast"))


@pytest.mark.usefixtures("costly")
def test_costly_catalog_is_static_by_effort_and_budget() -> None:
    assert chosen(effort="balanced") is None
    for settings in ({"effort": "fast"}, {"budget": "20s"}, {"effort": "best", "budget": "20s"}):
        assert "all-MiniLM-L6-v2 takes about" in str(chosen(**settings))
    assert chosen(effort="best") is None


@pytest.mark.usefixtures("costly")
def test_settings_are_not_overruled() -> None:
    assert chosen(effort="fast", encoder={"static": False}) is None
    assert chosen(effort="fast", tune="lora") is None
    pair = EncoderPair(None, Config.checked({"encoder": {"static": True}}).encoder)
    assert isinstance(pair.text, StaticEncoder)
    assert isinstance(pair.query, StaticEncoder)


@pytest.mark.usefixtures("costly")
def test_loaded_model_keeps_the_static_encoder(tmp_path: Path) -> None:
    model = Recommender(**SMALL).fit(GRAPH)
    assert "text model" in model.report_.choices["skipped"]
    assert isinstance(model._encoder, StaticEncoder)
    model.save(tmp_path / "run")
    loaded = Recommender.load(tmp_path / "run")
    tags = [f"{word} laser" for word in ("galaxy", "tulip")]
    for later in (model, loaded, loaded.fold_in(GRAPH), loaded.refit(GRAPH)):
        assert isinstance(later._encoder, StaticEncoder)
        np.testing.assert_array_equal(later._trained.vectors["Item"], model._trained.vectors["Item"])
        assert later.recommend_for_text(tags[0]).equals(model.recommend_for_text(tags[0]))


def test_next_fit_chooses_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recommender(**LONGER)
    monkeypatch.setattr("kgrec.text.static.BYTES_PER_SECOND", 5)
    assert isinstance(model.fit(GRAPH)._encoder, StaticEncoder)
    monkeypatch.undo()
    assert isinstance(model.fit(GRAPH)._encoder, TransformersEncoder)
    assert "static_text" not in model.report_.choices


@pytest.mark.usefixtures("costly")
def test_search_uses_the_encoder_of_the_live_run(tmp_path: Path) -> None:
    uri = str(tmp_path / "graph.lbug")
    with open_graph(uri, create=True) as store:
        store.write(two_communities())
    publish_run(uri, train_run(uri, Config.checked(SMALL), split="given").name)
    title = GRAPH.nodes["Item"].column("title")[0].as_py()
    with open_graph(uri) as store:
        found = nearest_nodes(store, text=title, label="Item", k=3)
    assert found["name"][0] == title
    assert found["score"][0] == pytest.approx(1, abs=0.01)
