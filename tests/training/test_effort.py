"""The effort of a fit: what is searched, and what an interrupt keeps."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given
from kgrec.evaluation.evaluate import mean_metrics, measure
from kgrec.hybrid.model import HYBRID
from kgrec.signals.cf import EASE
from kgrec.testing.graphs import two_communities
from kgrec.training import pipeline
from kgrec.training.pipeline import Trained, train
from kgrec.training.report import worth_table

SIGNALS = ("popularity", "item_knn", "spectral", "ials", "ease", "metapaths")


@pytest.fixture(scope="module")
def split() -> Split:
    return by_given(GraphSnapshot.from_tables(two_communities(seed=4, n_users=120, n_items=20)))


@pytest.fixture
def few_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick signals as the default ones; a configuration that names signals keeps them all."""
    kinds = pipeline.signal_kinds(SIGNALS)
    monkeypatch.setattr(pipeline, "signal_kinds", lambda wanted: kinds)


def fitted(split: Split, **settings: Any) -> Trained:
    return train(split, Config(**settings), lambda graph: {}, "train")


def n_tried(trained: Trained) -> int:
    return sum(len(choice["tried"]) for choice in trained.choices["signals"].values())


def hits(trained: Trained, split: Split, name: str = HYBRID) -> float:
    return mean_metrics(measure(trained.model, split, (1,)), name)["HR@1"]


@pytest.mark.usefixtures("few_kinds")
def test_more_effort_searches_more_and_finds_tastes(split: Split) -> None:
    of_effort = {effort: fitted(split, effort=effort) for effort in ("fast", "balanced", "best")}
    fast, balanced, best = of_effort.values()
    assert all(set(trained.model.signals) == set(SIGNALS) for trained in of_effort.values())
    assert len(SIGNALS) == n_tried(fast) < n_tried(balanced) <= n_tried(best)
    assert [effort for effort, trained in of_effort.items() if "race" in trained.choices] == ["balanced"]
    assert [effort for effort, trained in of_effort.items() if "search" in trained.choices.get("skipped", {})] == [
        "fast"
    ]
    assert min(hits(trained, split) for trained in of_effort.values()) > 3 * hits(best, split, "popularity")


@pytest.mark.usefixtures("few_kinds")
def test_worth_of_all_signals_is_reported(split: Split) -> None:
    table = worth_table(fitted(split).choices)
    assert set(table["signal"]) == set(SIGNALS)
    assert table["CPU seconds"].ge(0).all()
    assert table["gain in NDCG@20"].notna().any()


@pytest.mark.usefixtures("few_kinds")
def test_interrupt_ends_search_and_keeps_model(
    split: Split, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "tune_further", interrupted)
    with caplog.at_level(logging.WARNING, "kgrec"):
        trained = fitted(split)
    assert "interrupted: the search ends here" in caplog.text
    assert n_tried(trained) == len(SIGNALS)
    assert trained.choices["skipped"] == dict.fromkeys(SIGNALS, "has default settings: its search was interrupted")
    assert np.isfinite(trained.model.score(np.arange(5)).total).all()


@pytest.mark.usefixtures("few_kinds")
def test_effort_repeats_with_its_seed(split: Split) -> None:
    one, other = (fitted(split, seed=1).model.score(np.arange(20)).total for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("few_kinds")
def test_budget_skips_slow_signal_and_says_so(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EASE, "cost", lambda settings, train: 1000.0)
    trained = fitted(split, budget="30s")
    assert set(trained.model.signals) == set(SIGNALS) - {"ease"}
    assert trained.choices["skipped"] == {"ease": "a fit takes about 17 min, too long for the budget"}
