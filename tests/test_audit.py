"""A run in a folder that knows what it was tested on is found out, whatever stage learnt it; a clean one is not."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import FAST
from test_leakage import (
    factors,
    fit_on_everything,
    matrix,
    order,
    read_history,
    reverse_messages,
    weights_of_paths,
)

from kgrec import recommender, training
from kgrec.audit import audit_leakage, summary
from kgrec.config import Config
from kgrec.errors import UsageError
from kgrec.jobs import train_run
from kgrec.runs import find_run, root_of
from kgrec.schema import Schema
from kgrec.signals.cf.popularity import Popularity
from kgrec.split import Split, by_given
from kgrec.store import open_store
from kgrec.tables import GraphTables
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import LIKED, two_communities
from kgrec.text import text_vectors


@pytest.fixture(autouse=True)
def _words(monkeypatch):
    """Texts become vectors by their words, without a text model."""
    monkeypatch.setattr(recommender, "encoder_of", lambda *_: WordEncoder())


def stored(tmp_path, tables):
    graph = tmp_path / "shop.lbug"
    with open_store(graph) as store:
        store.write(tables)
        return str(graph), by_given(store.snapshot())


def audited(tmp_path, signals, plant=lambda patch, split: None, tables=None, split="given"):
    """Train a run with something planted, and audit it from its folder."""
    graph, cut = stored(tmp_path, tables or two_communities(seed=1))
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, cut)
        train_run(graph, Config(signals=signals, budget="1s"), split=split, k=5)
    return audit_leakage(graph)


def test_nothing_is_found_in_a_clean_run(tmp_path):
    assert audited(tmp_path, ("popularity", "ease", "ials", "transitions", "paths", "text", "words")).empty


@pytest.mark.parametrize("split", ["random", "time", "last"])
def test_nothing_is_found_where_the_cut_is_made_by_a_rule(tmp_path, split):
    assert audited(tmp_path, ("popularity", "ease", "text"), split=split).empty


def rows(patch, split):
    patch.setattr(Split, "train", property(lambda self: self.whole))


def user_text(patch, split):
    patch.setattr(recommender, "text_vectors", lambda _, *rest: text_vectors(split.whole, *rest))


def questions(patch, split):
    asked = training.questions
    patch.setattr(training, "questions", lambda train, _, seed: asked(train, split.test, seed))


def blend(patch, split):
    learn, test = training.learn_blends, split.whole.pairs(split.test)

    def planted(signals, inner, asked, seed):
        told = [replace(q, relevant=q.relevant + test[q.user_num][:, q.item_num]) for q in asked]
        return learn(signals, inner, told, seed)

    patch.setattr(training, "learn_blends", planted)


def lists(patch, split):
    recommend = recommender.Recommender.recommend

    def planted(self, users, k):
        listed = recommend(self, users, k)
        right = pd.MultiIndex.from_arrays(
            [split.whole.users.ids[split.test.user_num], split.whole.items.ids[split.test.item_num]]
        )
        raised = pd.MultiIndex.from_frame(listed[["user_id", "item_id"]]).isin(right)
        return listed.assign(score=listed["score"] + raised)

    patch.setattr(recommender.Recommender, "recommend", planted)


PLANTS = {
    "rows of the graph": (rows, ("popularity", "ease"), {"graph", "text vectors", "popularity", "ease", "statistics"}),
    "a matrix": (matrix, ("popularity", "ease"), {"ease"}),
    "factors": (factors, ("popularity", "ials"), {"ials"}),
    "messages the other way": (reverse_messages, ("popularity", "gnn"), {"gnn"}),
    "order in time": (order, ("popularity", "transitions"), {"transitions"}),
    "what was read": (read_history, ("popularity", "words"), {"recommendations"}),
    "weights of paths": (weights_of_paths, ("popularity", "paths"), {"paths"}),
    "a statistic": (fit_on_everything(Popularity), ("popularity", "ease"), {"popularity"}),
    "text of users": (user_text, ("popularity", "ease"), {"text vectors"}),
    "questions": (questions, ("popularity", "ease", "words"), {"settings", "blend"}),
    "the blend": (blend, ("popularity", "ease", "words"), {"blend"}),
    "the lists": (lists, ("popularity", "ease"), {"recommendations"}),
}


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_into_a_run_is_found(tmp_path, name):
    plant, signals, stages = PLANTS[name]
    found = audited(tmp_path, signals, plant)
    assert stages <= set(found["stage"]) <= stages | {"settings", "blend", "recommendations"}
    assert found["id"].str.len().gt(0).all()


def test_a_test_behaviour_that_a_relationship_tells_is_found_in_either_direction(tmp_path):
    tables = two_communities(seed=1)
    liked = tables.edges[LIKED].to_pandas()
    told = liked[liked["split"] == "test"].iloc[[2, 5]]
    data = tables.schema.to_dict()
    data["relationships"]["SEEN_BY"] = {"from": "Item", "to": "User"}
    seen_by = pa.table({"src": told["dst"].tolist(), "dst": told["src"].tolist()})
    edges = {**tables.edges, ("Item", "SEEN_BY", "User"): seen_by}
    found = audited(tmp_path, ("popularity", "ease"), tables=GraphTables(Schema.from_dict(data), tables.nodes, edges))
    assert set(found["stage"]) == {"relationships"}
    assert sorted(found["id"]) == sorted(told["src"] + " " + told["dst"])
    assert set(found["detail"]) == {"a test behaviour that SEEN_BY tells"}


def test_a_behaviour_later_than_what_it_is_to_tell_is_found(tmp_path):
    tables = two_communities(seed=1)
    liked = tables.edges[LIKED]
    time = liked.column("timestamp").to_numpy().copy()
    late = int(np.flatnonzero(np.asarray(liked.column("split")) == "train")[7])
    time[late] = 1e6
    changed = liked.set_column(liked.column_names.index("timestamp"), "timestamp", pa.array(time))
    found = audited(tmp_path, ("popularity", "ease"), tables=replace(tables, edges={**tables.edges, LIKED: changed}))
    assert found["stage"].tolist() == ["times"]
    assert found["id"].tolist() == [f"{liked['src'][late]} {liked['dst'][late]}"]


def test_the_command_names_rows_and_ends_with_1(kgrec, tmp_path):
    assert len(audited(tmp_path, ("popularity", "ease"), rows)) > 0
    graph = tmp_path / "shop.lbug"
    told = kgrec("audit", "leakage", graph)
    assert told.code == 1
    assert "graph" in told.out
    assert "learnt from, but not in train" in told.out
    listed = kgrec("audit", "leakage", graph, "--json")
    assert listed.code == 1
    assert {row["stage"] for row in json.loads(listed.out)} >= {"graph", "ease"}
    assert kgrec("train", graph, "--set", FAST, "--split", "last").code == 0
    clean = kgrec("audit", "leakage", graph)
    assert (clean.code, clean.out.strip()) == (0, "no stage knows what the run was tested on")


def test_findings_are_summed_up_for_people():
    found = pd.DataFrame({"stage": "graph", "kind": "pair", "id": [f"u{i} i" for i in range(7)], "detail": "leaks"})
    assert summary(found).to_dict("records") == [
        {"stage": "graph", "kind": "pair", "rows": 7, "which": "u0 i, u1 i, u2 i, u3 i, u4 i …", "detail": "leaks"}
    ]


def test_a_run_that_cannot_be_audited_says_why(tmp_path, cinema):
    graph, _ = stored(tmp_path, two_communities(seed=1))
    train = partial(train_run, graph, Config(signals=("popularity",), budget="1s"))
    train(split="none")
    with pytest.raises(UsageError, match="holds nothing out"):
        audit_leakage(graph)
    train(split="last")
    with open_store(graph) as store:
        store.cypher("MATCH (u:User {user_id: 'u001'}) DETACH DELETE u", write=True)
    with pytest.raises(UsageError, match="has changed since run"):
        audit_leakage(graph)
    recommender.Recommender.load(find_run(root_of(cinema)).folder).save(root_of(cinema) / "mine")
    with pytest.raises(UsageError, match="does not say how it was cut"):
        audit_leakage(str(cinema), "mine")
