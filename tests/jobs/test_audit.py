"""The audit of a saved run finds planted leaks in every stage, and none in a clean run."""

import json
from functools import partial

import pandas as pd
import pytest
from conftest import FAST

from kgrec.config import Config
from kgrec.errors import UsageError
from kgrec.jobs.audit import audit_leakage, summary
from kgrec.jobs.evaluate import evaluate_run
from kgrec.jobs.train import train_run
from kgrec.recommender import Recommender
from kgrec.runs.folder import find_run, root_of
from kgrec.store import open_graph
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import two_communities
from kgrec.testing.planted_leaks import PLANTED_IN_DATA, PLANTS, audited, rows, stored
from kgrec.text import encoder_pair

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _words(monkeypatch):
    """Texts become vectors by their words, without a text model."""
    monkeypatch.setattr(encoder_pair, "encoder_of", lambda *_, **__: WordEncoder())


def test_audit_clean_run_finds_nothing(tmp_path):
    assert audited(
        tmp_path, ("popularity", "ease", "ials", "item_transitions", "metapaths", "embeddings", "tfidf")
    ).empty


@pytest.mark.parametrize("split", ["random", "time", "last"])
def test_audit_run_with_split_rule_finds_nothing(tmp_path, split):
    assert audited(tmp_path, ("popularity", "ease", "embeddings"), split=split).empty


@pytest.mark.parametrize("name", PLANTS)
def test_audit_finds_planted_leaks(tmp_path, name):
    plant, signals, stages = PLANTS[name]
    found = audited(tmp_path, signals, plant)
    assert stages <= set(found["stage"]) <= stages | {"settings", "blend", "recommendations"}
    assert found["id"].str.len().gt(0).all()


@pytest.mark.parametrize("name", PLANTED_IN_DATA)
def test_audit_finds_leaks_in_the_data(tmp_path, name):
    plant, stage = PLANTED_IN_DATA[name]
    tables, pairs = plant(two_communities(seed=1))
    found = audited(tmp_path, ("popularity", "ease"), tables=tables)
    assert set(found["stage"]) == {stage}
    assert sorted(found["id"]) == sorted(pairs)


def test_audit_command_lists_rows_and_exits_1(kgrec, tmp_path):
    assert len(audited(tmp_path, ("popularity", "ease"), rows)) > 0
    graph = tmp_path / "shop.lbug"
    told = kgrec("audit", "leakage", graph)
    assert told.code == 1
    assert "graph" in told.out
    assert "used for training, but not in train" in told.out
    listed = kgrec("audit", "leakage", graph, "--json")
    assert listed.code == 1
    assert {row["stage"] for row in json.loads(listed.out)} >= {"graph", "ease"}
    assert kgrec("train", graph, "--set", FAST, "--split", "last").code == 0
    clean = kgrec("audit", "leakage", graph)
    assert (clean.code, clean.out.strip()) == (0, "no leakage: no stage used the test behaviors")


def test_summary_has_one_line_per_kind():
    found = pd.DataFrame({"stage": "graph", "kind": "pair", "id": [f"u{i} i" for i in range(7)], "detail": "leaks"})
    assert summary(found).to_dict("records") == [
        {"stage": "graph", "kind": "pair", "rows": 7, "which": "u0 i, u1 i, u2 i, u3 i, u4 i …", "detail": "leaks"}
    ]


def test_audit_or_evaluate_unsuitable_run_says_why(tmp_path, cinema):
    graph, _ = stored(tmp_path, two_communities(seed=1))
    train = partial(train_run, graph, Config(signals=("popularity",), budget="1s"))
    train(split="none")
    for job in (audit_leakage, evaluate_run):
        with pytest.raises(UsageError, match="has no test split"):
            job(graph)
    train(split="last")
    with open_graph(graph, create=True) as store:
        store.cypher("MATCH (u:User {user_id: 'u001'}) DETACH DELETE u", write=True)
    with pytest.raises(UsageError, match="has changed since run"):
        audit_leakage(graph)
    Recommender.load(find_run(root_of(cinema)).folder).save(root_of(cinema) / "mine")
    for job in (audit_leakage, evaluate_run):
        with pytest.raises(UsageError, match="has no split"):
            job(str(cinema), "mine")
