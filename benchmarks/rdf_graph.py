"""RDF: loading 1.3 million triples beside pyoxigraph's own bulk load, and MovieLens 1M with DBpedia on every engine.

    python benchmarks/rdf_graph.py [FOLDER OF ml-1m-kg]

The triples are a graph as kgrec writes it. Both sides load the same N-Triples file into a new folder, in turn; kgrec
reads, checks every id and value, and writes. With the folder, MovieLens 1M (users, movies, ratings) and its DBpedia
triples become one RDF folder, in which the movies have DBpedia's IRIs; it is loaded into each engine, Neo4j too where
NEO4J_URI names one (it is emptied!), and digests, recommendations and explanations are compared. Results go to
results/rdf_graph.json.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyoxigraph
from bulk_load import make_tables
from server_graph import clear, connected

import kgrec
from kgrec.data.schema import Schema
from kgrec.data.table_checks import check
from kgrec.data.tables import GraphTables
from kgrec.rdf.encode import to_bytes, triples
from kgrec.store.base import GraphStore

RESULTS = Path(__file__).parent / "results" / "rdf_graph.json"
ROUNDS = 3
N_RATED, N_HAS = 155_000, 120_000
"""Relationships that, with their nodes, make 1.3 million triples."""

MOVIES = """
name: movies-dbpedia
nodes:
  User: {key: user_id, properties: {age: string, gender: string, occupation: string}, text: ["liked {RATED:10}"]}
  Movie: {key: movie_id, name: title, properties: {title: string, year: string}, text: ["{title}", "with {STARRING:5}"]}
  Entity: {key: entity_id, name: name, properties: {name: string}}
relationships:
  RATED: {from: User, to: Movie}
  STARRING: {from: Movie, to: [Entity, Movie]}
  WRITTEN_BY: {from: Movie, to: [Entity, Movie]}
  PRODUCED_BY: {from: Movie, to: [Entity, Movie]}
  DISTRIBUTED_BY: {from: Movie, to: [Entity, Movie]}
  DIRECTED_BY: {from: Movie, to: [Entity, Movie]}
  MUSIC_BY: {from: Movie, to: [Entity, Movie]}
  FILMED_BY: {from: Movie, to: [Entity, Movie]}
  EDITED_BY: {from: Movie, to: [Entity, Movie]}
roles:
  users: User
  items: Movie
  behaviours: {RATED: {}}
rdf:
  base: http://example.org/movielens/
  prefixes: {dbo: "http://dbpedia.org/ontology/"}
  terms:
    STARRING: dbo:starring
    WRITTEN_BY: dbo:writer
    PRODUCED_BY: dbo:producer
    DISTRIBUTED_BY: dbo:distributor
    DIRECTED_BY: dbo:director
    MUSIC_BY: dbo:musicComposer
    FILMED_BY: dbo:cinematography
    EDITED_BY: dbo:editing
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        result = {"command": "python benchmarks/rdf_graph.py", **bulk(Path(place))}
        if len(sys.argv) > 1:
            result["command"] += " ml-1m-kg"
            result["ml-1m-kg"] = movielens(Path(sys.argv[1]), Path(place))
    result["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, pyoxigraph {pyoxigraph.__version__}"
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def bulk(place: Path) -> dict[str, Any]:
    made = make_tables()
    edges = {t: table.slice(0, n) for (t, table), n in zip(made.edges.items(), (N_RATED, N_HAS), strict=True)}
    tables = check(GraphTables(made.schema, made.nodes, edges))
    file, schema = place / "graph.nt", tables.schema
    file.write_bytes(b"".join(map(bytes, to_bytes(list(triples(tables))))))
    times: dict[str, list[float]] = {"bulk_load": [], "kgrec_load": [], "kgrec_snapshot": []}
    for turn in range(ROUNDS):
        raw, folder = place / f"raw{turn}", place / f"kgrec{turn}"
        times["bulk_load"].append(seconds(lambda raw=raw: bulk_load(raw, file)))
        times["kgrec_load"].append(seconds(lambda folder=folder: load(f"oxigraph:{folder}", file, schema)))
        times["kgrec_snapshot"].append(seconds(lambda folder=folder: snapshot(f"oxigraph:{folder}")))
        shutil.rmtree(raw)
        shutil.rmtree(folder)
        print({name: found[-1] for name, found in times.items()}, flush=True)
    medians = {name: round(statistics.median(found), 3) for name, found in times.items()}
    return {
        "triples": file.read_bytes().count(b"\n"),
        "wall_s": medians,
        "wall_s_all": times,
        "load_to_bulk_load": round(medians["kgrec_load"] / medians["bulk_load"], 3),
    }


def bulk_load(folder: Path, file: Path) -> None:
    store = pyoxigraph.Store(str(folder))
    store.bulk_load(path=file, format=pyoxigraph.RdfFormat.N_TRIPLES)
    store.flush()


def load(uri: str, source: Path, schema: Schema) -> None:
    with kgrec.open(uri, create=True) as store:
        kgrec.load("rdf", source, schema=schema, into=store)


def snapshot(uri: str) -> str:
    with kgrec.open(uri, read_only=True) as store:
        return store.snapshot().digest


def movielens(folder: Path, place: Path) -> dict[str, Any]:
    schema = Schema.parse(MOVIES)
    source = place / "ml-1m"
    source.mkdir()
    shutil.copy(folder / "rdf" / "ml-1m-dbpedia.nt", source)
    (source / "movielens.nt").write_bytes(b"".join(map(bytes, to_bytes(list(ratings(folder, schema))))))
    uris = {"oxigraph": f"oxigraph:{place / 'movies'}", "ladybug": str(place / "movies.lbug")}
    if "NEO4J_URI" in os.environ:
        uris["neo4j"] = os.environ["NEO4J_URI"]
        with connected(uris["neo4j"]) as driver:
            clear(driver)
    found: dict[str, Any] = {"triples": sum(path.read_bytes().count(b"\n") for path in source.iterdir())}
    for engine, uri in uris.items():
        found[engine] = {"load_s": seconds(lambda uri=uri: load(uri, source, schema))}
        start = time.perf_counter()
        found[engine] |= {"digest": snapshot(uri), "snapshot_s": round(time.perf_counter() - start, 3)}
        with kgrec.open(uri, create=True) as store:
            found[engine] |= use(store)
        print(engine, found[engine], flush=True)
    alike = ("digest", "top_10", "explanation")
    found["equal"] = all(found[engine][name] == found["ladybug"][name] for engine in uris for name in alike)
    return found


def ratings(folder: Path, schema: Schema) -> Iterator[pa.ChunkedArray]:
    """Yield users, movies and training ratings as RDF, each movie with its DBpedia IRI where it is linked to one."""
    parts = {name: read(folder / f"ml-1m-kg.{name}") for name in ("item", "user", "link", "train.inter")}
    items, iris = (column.to_pylist() for column in parts["link"].columns)
    first = dict(zip(reversed(iris), reversed(items), strict=True))  # two films may be linked to one IRI
    iri = {id_: id_ for id_ in parts["item"].column("item_id").to_pylist()} | {id_: i for i, id_ in first.items()}
    item, user, inter = parts["item"], parts["user"], parts["train.inter"]
    age, gender, occupation = (user.column(name) for name in ("age", "gender", "occupation"))
    users = pa.table({"user_id": user.column("user_id"), "age": age, "gender": gender, "occupation": occupation})
    movies = pa.table(
        {"movie_id": mapped(item, iri), "title": item.column("title"), "year": item.column("release_year")}
    )
    rated = pa.table({"src": inter.column("user_id"), "dst": mapped(inter, iri)})
    tables = check(GraphTables(schema, {"User": users, "Movie": movies}, {("User", "RATED", "Movie"): rated}))
    yield from triples(tables)


def read(path: Path) -> pa.Table:
    parse = pa.csv.ParseOptions(delimiter="\t", quote_char=False)
    header = path.open(encoding="utf-8").readline().rstrip("\n").split("\t")
    strings = pa.csv.ConvertOptions(column_types={name: pa.string() for name in header}, strings_can_be_null=False)
    table = pa.csv.read_csv(path, parse_options=parse, convert_options=strings)
    return table.rename_columns([name.partition(":")[0] for name in header])


def mapped(table: pa.Table, iri: dict[str, str]) -> pa.Array:
    ids = table.column("item_id").combine_chunks().dictionary_encode()
    return pa.array([iri[id_] for id_ in ids.dictionary.to_pylist()]).take(ids.indices)


def use(store: GraphStore) -> dict[str, Any]:
    """Train, recommend, explain and publish."""
    model = kgrec.Recommender(signals="popularity,ease,metapaths").fit(store)
    user = model._model.train.users.ids[0]
    top = model.recommend([user], k=10, names=True)
    store.publish(pa.Table.from_pandas(model.recommend(model._model.train.users.ids, k=10)), "benchmark")
    return {"top_10": top["name"].tolist(), "explanation": str(model.explain(user, top["item_id"][0])).splitlines()}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return round(time.perf_counter() - start, 3)


if __name__ == "__main__":
    main()
