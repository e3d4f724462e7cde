"""Tests of the extension: contracts of kgrec, and a recommender that all three take part in."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from journaled import JournaledStore
from playlists import PlaylistLoader
from random_walk import RandomWalk

import kgrec
from kgrec.store.load import load
from kgrec.testing.loader_contract import LoaderContract
from kgrec.testing.signal_contract import SignalContract
from kgrec.testing.store_contract import CypherStoreContract


class TestRandomWalk(SignalContract):
    signal = RandomWalk


class TestPlaylistLoader(LoaderContract):
    loader = PlaylistLoader
    files = {"plays.txt": "ann: Clair de lune, Gymnopédie\nben: Clair de lune\n"}
    broken = {"plays.txt": "ann: Clair de lune\n: Gymnopédie\nben\n"}
    problems = {"plays.txt:2", "plays.txt:3"}
    start = "plays.txt"


class TestJournaledStore(CypherStoreContract):
    engine, uri = JournaledStore, "journaled:{}/graph"


@pytest.mark.parametrize("signal", ["random_walk", RandomWalk, RandomWalk(RandomWalk.Settings(alpha=0.5))])
def test_signal_is_fitted_saved_and_explained(signal: object, tmp_path: Path) -> None:
    user, item = np.nonzero(np.arange(60)[:, None] % 3 == np.arange(30) % 3)
    kept = np.random.default_rng(0).random(len(user)) < 0.7
    interactions = pd.DataFrame({"user_id": user[kept], "item_id": item[kept]})
    model = kgrec.Recommender(signals=["popularity", "ease", signal], budget="1s").fit(interactions)
    listed = model.recommend([0, 1], k=3)
    assert (listed["item_id"] % 3 == listed["user_id"]).all()
    model.save(tmp_path / "run")
    again = kgrec.Recommender.load(tmp_path / "run")
    assert again.recommend([0, 1], k=3).equals(listed)
    assert "random_walk" in str(again.explain(0, listed["item_id"][0]))
    assert not list((tmp_path / "run").rglob("*.pkl"))


def test_store_journals_what_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "plays.txt").write_text("ann: Clair de lune, Gymnopédie\nben: Clair de lune\n")
    with kgrec.open(f"journaled:{tmp_path}/graph", create=True) as graph:
        load("playlists", str(tmp_path / "plays.txt"), into=graph)
        assert graph.journal.read_text().endswith(" 7 rows\n")
        assert graph.snapshot().n_users == 2


def test_playlists_are_loaded_by_name(tmp_path: Path) -> None:
    (tmp_path / "plays.txt").write_text("ann: Clair de lune, Gymnopédie\nben: Clair de lune\n")
    tables = load("playlists", str(tmp_path / "plays.txt"))
    assert tables.counts() == {"Listener": 2, "Song": 2, "PLAYED": 3}
