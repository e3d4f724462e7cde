"""The package of docs/how-to/extending.md extends kgrec without a fork: it keeps the contracts and is blended."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import ClassVar

import pytest

import kgrec
from kgrec.errors import RunError, UsageError
from kgrec.signals.cf.popularity import Popularity
from kgrec.testing.graphs import community_answers
from kgrec.testing.plugins import install, write_metadata

ROOT = Path(__file__).parents[1]
EXTENSION = ROOT / "docs" / "examples" / "extension"


class Mine(Popularity):
    """A signal that no package registers."""

    name: ClassVar[str] = "mine"


def test_extension_passes_its_own_tests(tmp_path: Path) -> None:
    project = tomllib.loads((EXTENSION / "pyproject.toml").read_text())["project"]
    write_metadata(tmp_path, "kgrec_extension", project["entry-points"])
    path = os.pathsep.join(map(str, (tmp_path, EXTENSION, ROOT)))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", os.devnull, str(EXTENSION)]
    command += ["-k", "not TestJournaledStore or read_back or twice"]  # the whole contract of a store takes a minute
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_page_shows_the_files_of_the_extension() -> None:
    page = (ROOT / "docs" / "how-to" / "extending.md").read_text()
    for name in ("random_walk.py", "playlists.py", "journaled.py", "pyproject.toml"):
        assert (EXTENSION / name).read_text() in page, name


@pytest.fixture(scope="module")
def train() -> kgrec.GraphSnapshot:
    return community_answers().train


def test_signal_class_is_fitted_and_loaded(train: kgrec.GraphSnapshot, tmp_path: Path) -> None:
    model = kgrec.Recommender(signals=["ease", Mine], models={"mine": {"half_life": 0.5}}, budget="1s").fit(train)
    assert model.config.models == {"mine": {"half_life": 0.5}}
    listed = model.recommend(train.users.ids[:3], k=3)
    model.save(tmp_path / "run")
    with pytest.raises(RunError, match=r"unknown signal 'mine'.*Recommender.load\(folder, signals="):
        kgrec.Recommender.load(tmp_path / "run")
    again = kgrec.Recommender.load(tmp_path / "run", signals=[Mine])
    assert again.recommend(train.users.ids[:3], k=3).equals(listed)
    assert again.refit(train).recommend(train.users.ids[:3], k=3).equals(listed)


def test_unused_broken_entry_point_is_ignored(
    train: kgrec.GraphSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, "bad_signal", "1 / 0", {"kgrec.signals": {"bad": "bad_signal:Bad"}})
    with pytest.raises(UsageError, match=r"signal 'bad' \(bad_signal:Bad\) cannot be imported: ZeroDivisionError"):
        kgrec.Recommender(signals=["bad"], budget="1s").fit(train)
    model = kgrec.Recommender(signals=["popularity"], budget="1s").fit(train)
    assert len(model.recommend(train.users.ids[:1], k=2)) == 2


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("Walk = 3", "Expected a subclass of kgrec.signals.base.Signal"),
        ("from kgrec.signals.cf.popularity import Popularity as Walk", "gives a signal called 'popularity'"),
        ("from kgrec.signals.base import Signal\nclass Walk(Signal):\n    name = 'walk'", "lacks group, Settings, fit"),
    ],
)
def test_entry_point_of_wrong_type_is_named(
    train: kgrec.GraphSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    install(monkeypatch, tmp_path, "walks", code, {"kgrec.signals": {"walk": "walks:Walk"}})
    with pytest.raises(UsageError, match=told):
        kgrec.Recommender(signals=["walk"]).fit(train)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"name": "My Signal"}, "wrong name 'My Signal'. Expected at most 40 lower-case letters"),
        ({"group": "magic"}, "unknown group 'magic'. Expected one of graph, cf, content"),
        ({"grid": {"speed": (1, 2)}}, "grid or inference_params has speed. Expected settings of PopularitySettings"),
        ({"Settings": dict}, "Expected a subclass of SignalSettings"),
    ],
)
def test_wrong_declaration_of_a_signal_is_refused(body: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        type("Wrong", (Popularity,), body)


def test_two_signals_of_one_name_are_refused(train: kgrec.GraphSnapshot) -> None:
    with pytest.raises(UsageError, match="two signals are called 'popularity'"):
        kgrec.Recommender(signals=["popularity", type("Popular", (Popularity,), {})]).fit(train)
