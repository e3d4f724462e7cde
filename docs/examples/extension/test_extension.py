"""Tests of the extension: contracts of kgrec, and a recommender that all three take part in."""

from pathlib import Path

import pytest
from journaled import JournaledStore
from playlists import PlaylistLoader
from random_walk import RandomWalk

import kgrec
from kgrec.store.load import load
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import two_communities
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
def test_signal_takes_part_in_a_blend(signal: object, tmp_path: Path) -> None:
    model = kgrec.Recommender(signals=["popularity", "ease", signal], encoder=WordEncoder(), budget="1s")
    with kgrec.open(f"journaled:{tmp_path}/graph") as graph:
        graph.write(two_communities())
        model.fit(graph)
        assert graph.journal.read_text().count("\n") == 1
    listed = model.recommend(["u000", "u001"], k=3)
    model.save(tmp_path / "run")
    again = kgrec.Recommender.load(tmp_path / "run", encoder=WordEncoder())
    assert again.recommend(["u000", "u001"], k=3).equals(listed)
    assert "random_walk" in str(again.explain("u000", listed["item_id"][0]))


def test_playlists_are_loaded_by_name(tmp_path: Path) -> None:
    (tmp_path / "plays.txt").write_text("ann: Clair de lune, Gymnopédie\nben: Clair de lune\n")
    tables = load("playlists", str(tmp_path / "plays.txt"))
    assert tables.counts() == {"Listener": 2, "Song": 2, "PLAYED": 3}
