"""Real data sets, if present: in `shared/data` above the repository, or in the folder KGREC_TEST_DATA."""

import os
from functools import cache
from pathlib import Path

import pytest

from kgrec.data.schema import Schema
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.table_checks import check
from loaders.atomic import AtomicLoader, derive_schema
from loaders.movielens import MovieLensLoader

pytestmark = pytest.mark.slow

SIZES = {
    "ml-100k": (943, 1682, 100_000, 24),
    "ml-1m-kg": (6040, 3883, 998_539, 8),
    "lastfm-kg": (1872, 3846, 21_173, 60),
    "amazon-beauty-seq": (22_363, 12_101, 198_502, 1),
    "amazon-art-office/warm": (9577, 38_396, 182_385, 0),
    "amazon-art-office/cold": (9577, 38_396, 182_385, 0),
}


@cache
def data() -> Path | None:
    given = os.environ.get("KGREC_TEST_DATA")
    above = [folder / "shared" / "data" for folder in Path(__file__).resolve().parents]
    return next((folder for folder in ([Path(given)] if given else above) if folder.is_dir()), None)


def folder_of(name: str) -> Path:
    folder = data()
    if folder is None or not (folder / name).is_dir():
        pytest.skip(f"no {name} in shared/data above the repository or in KGREC_TEST_DATA")
    return folder / name


@pytest.mark.parametrize("name", SIZES)
def test_shared_data_sets_load_and_check(name: str) -> None:
    folder = folder_of(name)
    schema = derive_schema(folder)
    snapshot = GraphSnapshot.from_tables(check(AtomicLoader().load(folder, Schema.parse(schema.to_yaml()))))
    relations = [r for r in schema.relationships if not r.isupper()]
    found = (snapshot.n_users, snapshot.n_items, len(snapshot.behaviors), len(relations))
    assert found == SIZES[name]
    assert snapshot.behaviors.split.tolist().count("test") > 0


def test_relations_of_ml_100k_become_types() -> None:
    graph = check(MovieLensLoader().load(folder_of("ml-100k")))
    relations = set(graph.schema.relationships) - {"RATED", "HAS_GENRE"}
    assert len(relations) == SIZES["ml-100k"][3]
    assert {"film_film_actor", "film_director_film", "film_film_genre_films_in_this_genre"} <= relations
    triples = sum(table.num_rows for edge_type, table in graph.edges.items() if edge_type[1] in relations)
    assert 91_000 < triples <= 91_631


def test_genres_and_names_of_ml_1m() -> None:
    graph = check(AtomicLoader().load(folder_of("ml-1m-kg")))
    assert graph.nodes["Genre"].num_rows == 18
    assert "Joseph F. Biroc" in graph.nodes["Entity"].column("name").to_pylist()
    assert graph.nodes["Item"].column("description")[0].as_py().startswith('"Toy Story (1995)" is')
