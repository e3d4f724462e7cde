"""The training job bounds what grows with the number of users: measured test users, and stored lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import FAST

from kgrec.config import Config
from kgrec.jobs.evaluate import evaluate_run
from kgrec.jobs.train import train_run


def test_train_measures_a_sample_of_many_test_users(cinema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgrec.jobs.evaluate.MAX_TEST_USERS", 2)
    run = train_run(str(cinema), Config.read(overrides=[FAST]))
    assert run.info["metrics"]["users"] == 2
    assert "2 test users drawn" in run.info["metrics"]["protocol"]
    assert evaluate_run(str(cinema), run.name) == run.info["metrics"]


def test_train_of_many_users_stores_shorter_lists(cinema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgrec.jobs.train.MAX_ENTRIES", 10)
    monkeypatch.setattr("kgrec.jobs.train.SHORTEST", 3)
    config = Config.read(overrides=[FAST])
    assert max(train_run(str(cinema), config).table("recommendations")["rank"].to_pylist()) == 3
    assert max(train_run(str(cinema), config, k=4).table("recommendations")["rank"].to_pylist()) == 4
