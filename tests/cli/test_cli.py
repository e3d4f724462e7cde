"""The commands on the cinema data, run in this process: their text and JSON output."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from typing import Any

import pandas as pd
import pytest
from conftest import CINEMA, FAST

from kgrec.cli.output import show

pytestmark = pytest.mark.slow


def answer(result: Any) -> Any:
    """Return the JSON that a command printed; it must have said nothing else."""
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def test_full_workflow(kgrec, tmp_path):
    graph = tmp_path / "shop.lbug"
    loaded = answer(kgrec("load", "atomic", CINEMA, "--into", graph, "--json"))
    assert (loaded["User"], loaded["INTERACTED"]) == (90, 1230)
    trained = answer(kgrec("train", graph, "--set", FAST, "--k", 20, "--json"))
    assert trained["recommendations"] == 90 * 20
    assert set(trained["metrics"]["models"]) == {"popularity", "ease", "linear fusion", "hybrid"}
    assert answer(kgrec("evaluate", graph, "--json"))["models"] == trained["metrics"]["models"]
    published = answer(kgrec("publish", graph, "--k", 3, "--json"))
    assert published == {"run": trained["run"], "recommendations": 270, "vectors": ["Genre", "Item", "User"]}
    counted = "MATCH (:User)-[r:RECOMMENDED]->(:Item) RETURN r.rank AS rank, count(*) AS n ORDER BY rank"
    assert answer(kgrec("cypher", graph, counted, "--json")) == [{"rank": rank, "n": 90} for rank in (1, 2, 3)]
    held_out = "MATCH (u:User)-[:RECOMMENDED]->(i:Item)<-[:INTERACTED]-(u) RETURN count(*) AS n"
    assert answer(kgrec("cypher", graph, held_out, "--json")) == [{"n": 0}]
    listed = answer(kgrec("recommend", graph, "u1", "--k", 3, "--json"))
    shown = answer(kgrec("explore", graph, "recommended", "--param", "user=u1", "--json"))
    assert len(shown) == len(listed) == 3
    assert len(answer(kgrec("nearest", graph, "--node", "f1", "--k", 4, "--json"))) == 4


def test_load_twice_changes_nothing(kgrec, cinema):
    count = "MATCH (n)-[r:INTERACTED]->(m) RETURN count(*) AS n"
    before = answer(kgrec("cypher", cinema, count, "--json"))
    assert kgrec("load", "atomic", CINEMA, "--into", cinema).code == 0
    assert answer(kgrec("cypher", cinema, count, "--json")) == before


def test_check_writes_a_schema_that_can_be_edited(kgrec, tmp_path):
    assert answer(kgrec("check", "atomic", CINEMA, "--write-schema", tmp_path / "s.yaml", "--json"))["Item"] == 72
    edited = (tmp_path / "s.yaml").read_text().replace("Item", "Film")
    (tmp_path / "s.yaml").write_text(edited)
    assert answer(kgrec("check", "atomic", CINEMA, "--schema", tmp_path / "s.yaml", "--json"))["Film"] == 72
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_audit_data_reports_noise(kgrec, cinema):
    told = kgrec("audit", "data", cinema, "--json")
    bots = [row["id"] for row in json.loads(told.out) if row["kind"] == "bot-like"]
    assert sorted(bots) == ["u34", "u53", "u56"]


def test_runs_are_listed_and_shown(kgrec, cinema):
    assert kgrec("train", cinema, "--set", FAST, "--split", "none").code == 0
    first, second = answer(kgrec("runs", "list", cinema, "--json"))
    assert (first["split"], second["split"]) == ("random", "none")
    assert first["NDCG@20"] > 0
    assert second["NDCG@20"] is None
    shown = answer(kgrec("runs", "show", cinema, "--json"))
    assert (shown["run"], shown["metrics"]) == (second["run"], None)
    assert answer(kgrec("runs", "show", cinema, first["run"], "--json"))["run"] == first["run"]
    assert first["run"] in kgrec("runs", "list", cinema).out
    table = kgrec("runs", "show", cinema, first["run"]).out.partition("what")[2]
    assert re.search(r"ease +0\.\d+ .*defaults", table), "what was tried, and how well it did"
    assert re.search(r"blend of Item +0\.\d+ +(single|fusion|search)", table)
    assert re.search(r"Item +\w+ +[+-]0\.\d+ \([+-]0\.\d+ … [+-]0\.\d+\) +\w+ \d+%", table), "the gain, and shares"
    assert shown["choices"]["signals"]["ease"]["tried"]


def test_evaluate_cold_item_reports_cold_first_baseline(kgrec, cinema):
    models = answer(kgrec("evaluate", cinema, "--protocol", "cold-item", "--set", FAST, "--json"))["models"]
    first = models["cold items first, at random"]
    assert first["Recall@10"] == 1.0, "7 of 72 items are new"
    assert models["hybrid"]["Recall@10"] < 1.0


def test_empty_recommendations_are_explained(kgrec, cinema):
    told = kgrec("recommend", cinema, "u1", "--where", "title=None of them")
    assert (told.code, told.out) == (
        0,
        "No recommendations: no item matches the filters, or the users have already seen every match.\n",
    )
    assert answer(kgrec("recommend", cinema, "u1", "--where", "title=None of them", "--json")) == []


def test_long_value_is_shortened_in_tables(capsys):
    show(pd.DataFrame({"text": ["x" * 48_000]}), as_json=False)
    assert capsys.readouterr().out.count("x") < 1_000
    show(pd.DataFrame({"text": ["x" * 48_000]}), as_json=True)
    assert capsys.readouterr().out.count("x") > 48_000


@pytest.mark.parametrize("split", ["none", "random"])
def test_users_who_saw_every_item_get_empty_lists(kgrec, tmp_path, split):
    rows = "".join(f"u{user}\ti{item}\n" for user in range(30) for item in range(3))
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "small.inter").write_text("user_id:token\titem_id:token\n" + rows)
    graph = tmp_path / "small.lbug"
    assert kgrec("load", "atomic", tmp_path / "small", "--into", graph).code == 0
    assert kgrec("train", graph, "--set", FAST, "--split", split).code == 0
    assert answer(kgrec("publish", graph, "--json"))["recommendations"] == 0


def test_version_option_prints_the_version(kgrec):
    assert kgrec("--version").out == f"kgrec {version('kgrec')}\n"


def test_runs_list_without_runs(kgrec, tmp_path):
    graph = tmp_path / "shop.lbug"
    assert kgrec("load", "atomic", CINEMA, "--into", graph).code == 0
    assert kgrec("runs", "list", graph).out == f"no run in {tmp_path}/shop.runs. Run: kgrec train {graph}\n"
    assert answer(kgrec("runs", "list", graph, "--json")) == []
    for command in (["runs", "show", graph], ["recommend", graph, "u1"], ["evaluate", graph], ["publish", graph]):
        failed = kgrec(*command)
        assert failed.code == 1
        assert failed.err == f"error: no run in {tmp_path}/shop.runs. Run: kgrec train GRAPH\n"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "GRAPH"],
        ["evaluate", "GRAPH"],
        ["publish", "GRAPH"],
        ["recommend", "GRAPH", "u1"],
        ["explain", "GRAPH", "u1", "f1"],
        ["nearest", "GRAPH", "--text", "robots"],
        ["cypher", "GRAPH", "RETURN 1"],
        ["explore", "GRAPH", "overview"],
        ["runs", "list", "GRAPH"],
        ["runs", "show", "GRAPH"],
    ],
    ids=" ".join,
)
def test_missing_graph_fails(kgrec, tmp_path, command):
    graph = str(tmp_path / "gone.lbug")
    failed = kgrec(*[graph if word == "GRAPH" else word for word in command])
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == f"error: no graph at {graph}. Run: kgrec load LOADER SOURCE --into {graph}\n"
    assert list(tmp_path.iterdir()) == []


def test_recommend_filters_items(kgrec, trained_cinema):
    def items(*words):
        return [row["item_id"] for row in answer(kgrec("recommend", trained_cinema, "u1", *words, "--json"))]

    best = items("--k", 5)
    assert items("--k", 2, "--exclude", best[0], "--exclude", best[1]) == best[2:4]
    assert items("--item", best[3], "--item", best[1]) == [best[1], best[3]]
    title = answer(kgrec("recommend", trained_cinema, "u1", "--k", 1, "--json"))[0]["name"]
    assert best[0] in items("--where", f"title={title}")
    assert items("--k", 3, "--domain", "Item") == best[:3]


def test_recommend_for_text(kgrec, cinema):
    train = kgrec("train", cinema, "--set", "signals=popularity,tfidf", "--set", "budget=1s")
    assert train.code == 0
    [first] = answer(kgrec("recommend", cinema, "--text", "an android colony", "--k", 1, "--json"))
    assert "user_id" not in first
    neither = kgrec("recommend", cinema)
    assert (neither.code, "neither users nor --text. Expected one" in neither.err) == (2, True)


def test_explain_as_text_and_json(kgrec, trained_cinema):
    found = answer(kgrec("explain", trained_cinema, "u1", "f1", "--json"))
    assert set(found) == {"user_id", "item_id", "item_name", "score", "rank", "shares", "paths"}
    assert sum(found["shares"].values()) == pytest.approx(found["score"], rel=1e-4)
    assert kgrec("explain", trained_cinema, "u1", "f1").out.startswith(f"{found['item_name']} (f1) for user u1")


def test_named_queries_are_listed_without_a_graph(kgrec, trained_cinema):
    names = [row["name"] for row in answer(kgrec("explore", trained_cinema, "--json"))]
    assert len(names) >= 10
    assert "why_item" in names


def test_query_changes_the_graph_only_with_write(kgrec, cinema):
    query = "CREATE (:Item {item_id: 'new'})"
    assert kgrec("cypher", cinema, query).code == 1
    assert kgrec("cypher", cinema, query, "--write").code == 0
    found = "MATCH (i:Item) WHERE i.item_id = $id RETURN i.item_id AS id"
    assert answer(kgrec("cypher", cinema, found, "--param", "id=new", "--json")) == [{"id": "new"}]


def test_a_metrics_table_fits_a_terminal(kgrec, trained_cinema):
    wide = kgrec("evaluate", trained_cinema).out
    assert wide.startswith("random")
    assert "test cases, one per user and domain" in wide
    table = wide[wide.index("model ") :].splitlines()
    header = table[0].split()
    assert header[:3] == ["model", "NDCG@10", "Recall@10"]
    assert not any(name.startswith(("HR", "MAP", "Novelty", "Precision")) for name in header)
    assert max(map(len, table)) <= 120
    assert "Novelty@20" in answer(kgrec("evaluate", trained_cinema, "--json"))["models"]["hybrid"]


def test_values_of_every_kind_are_shown(capsys):
    frame = pd.DataFrame({"text": ["a", None], "number": [0.123456, float("nan")], "list": [["x"], []]})
    show(frame, False)
    assert capsys.readouterr().out.split() == ["text", "number", "list", "a", "0.1235", "['x']", "[]"]
    show(frame, True)
    rows = [{"text": "a", "number": 0.123456, "list": ["x"]}, {"text": None, "number": None, "list": []}]
    assert json.loads(capsys.readouterr().out) == rows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lod"], "No such command 'lod'"),
        (["load", "atomic"], "Missing argument 'source'"),
        (["train", "GRAPH", "--fast"], "No such option: --fast"),
        (["recommend", "GRAPH", "u1", "--k", "ten"], "--k"),
        (["train", "GRAPH", "--set", "signals"], "setting 'signals'; expected key=value"),
        (["train", "GRAPH", "--set", "seed=[1"], "setting 'seed=[1': found a value that is not YAML"),
        (["train", "GRAPH", "--set", "speed=3"], "unknown setting 'speed'; expected one of signals"),
        (["train", "GRAPH", "--set", "signals=eas"], "unknown signal 'eas'; expected one of"),
        (["train", "GRAPH", "--set", "models.ease.drop=1"], "unknown setting 'models.ease.drop'; expected one of"),
        (["train", "GRAPH", "--set", "metric=F1@10"], "setting 'metric': found 'F1@10'; expected one of NDCG"),
        (["train", "GRAPH", "--config", "gone.yaml"], "config gone.yaml cannot be read"),
        (["train", "GRAPH", "--split", "daily"], "unknown split 'daily'; expected one of none, random"),
        (["train", "GRAPH", "--split", "given"], "no behavior is marked valid or test"),
        (["recommend", "GRAPH", "u1", "--where", "year"], "invalid where: 'year'. Expected property=value"),
        (["recommend", "GRAPH", "u1", "--where", "yaer=1"], "unknown item property 'yaer'. Expected one of"),
        (["recommend", "GRAPH", "u1", "--domain", "books"], "unknown domain 'books'. Expected one of Item"),
        (["recommend", "GRAPH", "u1", "--item", "f1x"], "unknown item: 'f1x'; near matches: f1"),
        (["explain", "GRAPH", "u1", "f1x"], "unknown item: 'f1x'; near matches: f1"),
        (["explore", "GRAPH", "hub"], "unknown query 'hub'. Expected one of"),
        (["explore", "GRAPH", "items_sharing_nodes"], "missing parameter 'item'"),
        (["nearest", "GRAPH"], "found neither a text nor a node. Expected one"),
        (["load", "atmic", "x", "--into", "GRAPH"], "unknown loader 'atmic'; expected one of"),
        (["check", "atomic", CINEMA, "--schema", "gone"], "no schema file 'gone'; expected a path or one of"),
        (["benchmark", CINEMA, "--seeds", "0"], "Expected at least 1"),
        (["benchmark", CINEMA, "--k", "10;20"], "invalid --k: '10;20'. Expected integers, such as 10,20"),
        (["benchmark", CINEMA, "--fit-on", "all"], "--fit-on: 'all'. Expected one of train, train+valid"),
    ],
)
def test_usage_error_exits_2(kgrec, trained_cinema, words, message):
    failed = kgrec(*[trained_cinema if word == "GRAPH" else word for word in words])
    assert (failed.code, failed.out) == (2, "")
    assert message in failed.err
    assert "Traceback" not in failed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cypher", "GRAPH", "MATCH (n) RETRN n"], "in the query:\n  MATCH (n) RETRN n"),
        (["cypher", "GRAPH", "MATCH (i:Item) WHERE i.item_id = $id RETURN i"], "Parameter id not found"),
        (["recommend", "GRAPH", "u1", "--run", "gone"], "no run 'gone' in"),
        (["nearest", "GRAPH", "--text", "robots"], "no vectors of Item in"),
        (["check", "atomic", CINEMA, "--write-schema", "/dev/null/s.yaml"], "error: /dev/null/s.yaml: not a directory"),
        (["train", "GRAPH", "--set", FAST, "--runs", "/dev/null/runs"], "/dev/null/runs cannot be written"),
        (["cypher", "mysql://host", "RETURN 1"], "unknown kind of graph 'mysql'"),
        (
            ["cypher", "oxigraph:", "RETURN 1"],
            "the URI names no folder: oxigraph:. Expected oxigraph:FOLDER, such as oxigraph:shop",
        ),
    ],
)
def test_failure_exits_1(kgrec, trained_cinema, words, message):
    failed = kgrec(*[trained_cinema if word == "GRAPH" else word for word in words])
    assert (failed.code, failed.out) == (1, "")
    assert message in failed.err
    assert "Traceback" not in failed.err


def test_doctor_reports_healthy_installation(kgrec):
    facts = answer(kgrec("doctor", "--json"))
    assert facts["graph store"] == "works"
    assert facts["text encoder"].endswith("works")
    assert {"atomic", "movielens", "tables"} <= set(facts["loaders"].split(", "))
    assert {"ease", "lightgcn"} <= set(facts["signals"].split(", "))
    assert {"neo4j", "oxigraph"} <= set(facts["stores"].split(", "))


def test_rdf_commands(kgrec: Any, tmp_path: Any) -> None:
    graph = f"oxigraph:{tmp_path / 'cinema'}"
    assert kgrec("load", "atomic", CINEMA, "--into", graph).code == 0
    assert "answer" in kgrec("sparql", graph, "ASK { ?s ?p ?o }").out
    assert kgrec("export", graph, tmp_path / "cinema.ttl").code == 0
    assert kgrec("check", "rdf", tmp_path / "cinema.ttl").code == 0
    refused = kgrec("sparql", graph, "SELECT ?s WHERE { ?s ?p ?o }", "--row-limit", 3)
    assert refused.code == 1
    assert "more than 3 rows" in refused.err
    assert "does not support Cypher. Expected a query in SPARQL" in kgrec("cypher", graph, "RETURN 1").err
    assert "sh:NodeShape" in kgrec("schema", "shacl", "movies").out
    assert "Expected a Neo4j database" in kgrec("schema", "infer", graph).err
