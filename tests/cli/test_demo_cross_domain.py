"""`kgrec demo --cross-domain`: real lists in a new domain that match the user's taste."""

import pytest

from kgrec.cli.app import main
from kgrec.recommender import Recommender
from kgrec.runs.folder import find_run

pytestmark = pytest.mark.slow


def kgrec(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["kgrec", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_demo_recommends_in_a_new_domain(tmp_path, monkeypatch, capsys):
    assert not kgrec(monkeypatch, "demo", "--cross-domain", "--folder", str(tmp_path / "demo"))
    printed = capsys.readouterr().out
    assert "user u081 knows no book" in printed
    assert "user u097 knows no film" in printed
    assert "made up" in printed
    model = Recommender.load(find_run(tmp_path / "demo" / "films_and_books.runs").folder)
    genre = dict(zip(model._model.train.items.ids, genres(model._model.train), strict=True))
    for known, wanted, ids in (("film", "book", range(81, 97)), ("book", "film", range(97, 113))):
        listed = model.recommend([f"u{n:03}" for n in ids], k=5, domain=wanted)
        taste = (
            listed["user_id"].str[1:].astype(int).map(lambda n: ["space", "crime", "romance", "western"][(n - 1) % 4])
        )
        assert listed["item_id"].str.startswith(wanted).all()
        assert (listed["item_id"].map(genre) == taste).mean() > 0.8, known


def test_cross_domain_demo_has_its_own_data(monkeypatch, capsys):
    assert kgrec(monkeypatch, "demo", "--cross-domain", "--source", "ml-100k") == 2
    assert "--source is a folder of ml-100k" in capsys.readouterr().err


def genres(train):
    edges = next(edges for (_, type_, _), edges in train.edges.items() if type_ == "HAS_GENRE")
    names = train.ids("Genre").to_pylist()
    return [names[num] for num in edges.dst_num]
