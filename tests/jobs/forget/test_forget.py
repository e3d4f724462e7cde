"""An erased user or item is in no file of the workspace, and all other lists stay."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.tables import GraphTables
from kgrec.errors import StoreLocked, UnknownItem, UnknownUser
from kgrec.jobs.forget.job import forget, matches
from kgrec.jobs.forget.rewrite_run import GONE, RETRAINED, ROWS_REMOVED, TUNED_STAYS, without
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.jobs.train import publish_run, train_run
from kgrec.recommender import Recommender
from kgrec.runs.folder import find_run, list_runs, root_of
from kgrec.signals.cf.ease import EASE
from kgrec.store import open_graph
from kgrec.store.job_lock import leased
from kgrec.testing.encoder import WordEncoder
from kgrec.testing.graphs import HAS_TAG, LIKED, two_communities
from kgrec.text import encoder_pair
from kgrec.text.cache import _text_keys
from kgrec.text.finetune.checkpoint import Progress, save_checkpoint

pytestmark = pytest.mark.slow

GRAPHS = ("shop.lbug", "oxigraph:market")
USER, ITEM = "canary-user-0123456789", "canary-item-0123456789"


def with_canaries():
    """The communities with one user and one item whose ids no other bytes are like."""
    tables = two_communities(seed=1)

    def renamed(table, column, old, new):
        ids = pa.array([new if id_ == old else id_ for id_ in table.column(column).to_pylist()])
        return table.set_column(table.column_names.index(column), column, ids)

    nodes = {
        **tables.nodes,
        "User": renamed(tables.nodes["User"], "user_id", "u003", USER),
        "Item": renamed(tables.nodes["Item"], "item_id", "i005", ITEM),
    }
    liked = renamed(renamed(tables.edges[LIKED], "src", "u003", USER), "dst", "i005", ITEM)
    tagged = renamed(tables.edges[HAS_TAG], "src", "i005", ITEM)
    return GraphTables(tables.schema, nodes, {LIKED: liked, HAS_TAG: tagged})


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """One graph in two engines with two runs each, of which the newer is published, and a cache; only to be copied."""
    place = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("KGREC_CACHE", "cache")
        patch.setattr(encoder_pair, "encoder_of", lambda *_, **__: WordEncoder(encodes_behaviors=True))
        for graph in GRAPHS:
            with open_graph(graph, create=True) as store:
                store.write(with_canaries())
            for last in ("tfidf", "embeddings"):
                train_run(graph, Config(signals=("popularity", "ease", last), budget="1s"), split="given", k=10)
            publish_run(graph)
    return place


@pytest.fixture(params=GRAPHS)
def graph(request, tmp_path, monkeypatch, workspace):
    """A graph in a copy of the workspace, where a test is."""
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KGREC_CACHE", "cache")
    monkeypatch.setattr(encoder_pair, "encoder_of", lambda *_, **__: WordEncoder(encodes_behaviors=True))
    other = GRAPHS[1 - GRAPHS.index(request.param)]
    shutil.rmtree(root_of(other))
    path = Path(other.removeprefix("oxigraph:"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return request.param


def holding(folder, id_):
    """The files that hold an id, in their bytes or in a column."""
    found = []
    for file in (path for path in folder.rglob("*") if path.is_file()):
        in_column = file.suffix == ".parquet" and id_ in pq.read_table(file).to_pandas().to_csv()
        if in_column or id_.encode() in file.read_bytes():
            found.append(file)
    return found


def test_forget_user_leaves_no_file_with_the_id(graph, tmp_path):
    assert len(holding(tmp_path, USER)) > 4
    receipt = forget(graph, "user", USER)
    assert holding(tmp_path, USER) == []
    assert receipt["searched"]["found"] == receipt["searched"]["ambiguous"] == []
    assert receipt["searched"]["files"] > 10
    assert json.loads(Path(receipt["receipt"]).read_text()).items() <= receipt.items()
    assert matches(receipt, USER)
    assert not matches(receipt, ITEM)


def test_receipt_counts_removed_rows(graph):
    receipt = forget(graph, "user", USER)
    liked = with_canaries().edges[LIKED]
    n = liked.column("src").to_pylist().count(USER)
    # Of ten items listed one was held out.
    assert receipt["removed"]["graph"] == {"nodes": 1, "relationships": n, "recommendations": 9, "vectors": 1}
    assert receipt["removed"]["cache"]["vectors"] >= 1
    assert len(receipt["removed"]["runs"]) == 2
    for of_run in receipt["removed"]["runs"].values():
        assert (of_run["relationships"], of_run["recommendations"]) == (n - 1, 10)
        assert set(of_run["signals"].values()) == {RETRAINED}
    with open_graph(graph, read_only=True) as store:
        assert store.snapshot().digest == receipt["graph_digest"]["after"]


def test_forget_item_removes_it_from_lists(graph, tmp_path):
    with open_graph(graph, read_only=True) as store:
        others = store.ids("User").to_pylist()
    receipt = forget(graph, "item", ITEM)
    assert holding(tmp_path, ITEM) == []
    assert receipt["removed"]["graph"]["recommendations"] > 0
    model = Recommender.load(find_run(root_of(graph)).folder)
    listed = model.recommend(others, k=50)
    assert ITEM not in set(listed["item_id"])
    assert set(listed["user_id"]) == set(others)


def test_forget_refit_equals_fit_without_the_user(graph):
    forget(graph, "user", USER)
    model = Recommender.load(find_run(root_of(graph)).folder)
    train = model._model.train
    rest = without(GraphSnapshot.from_tables(with_canaries()), [("User", USER)])
    assert train.digest == rest.with_behaviors(rest.behaviors.split == "train").digest
    ease = model._model.signals["ease"]
    fresh = EASE(ease.settings).fit(train, model._trained.vectors, model.config.seed)
    np.testing.assert_array_equal(ease.scores(np.arange(train.n_users)), fresh.scores(np.arange(train.n_users)))


def test_forget_slow_signal_drops_rows_and_reports_it(graph, monkeypatch, tmp_path):
    monkeypatch.setattr(EASE, "cost", classmethod(lambda cls, settings, train: 1e6))
    receipt = forget(graph, "user", USER)
    for of_run in receipt["removed"]["runs"].values():
        assert of_run["signals"]["ease"] == ROWS_REMOVED
        assert of_run["signals"]["popularity"] == RETRAINED
    assert holding(tmp_path, USER) == []


def test_forget_keeps_vectors_of_shared_texts(graph, tmp_path):
    def cached():
        files = (tmp_path / "cache").rglob("*.safetensors")
        return {bytes(key) for file in files for key in load_file(file)["keys"]}

    before = cached()
    receipt = forget(graph, "user", USER)
    assert len(before) - len(cached()) == receipt["removed"]["cache"]["vectors"]
    titles = _text_keys(with_canaries().nodes["Item"]["title"].to_pylist())
    assert {bytes(key) for key in titles} <= cached()


def test_forget_last_user_removes_the_run(kgrec, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "small.inter").write_text("user_id:token\titem_id:token\nu-last\ti1\nu-last\ti2\n")
    (tmp_path / "small" / "small.user").write_text("user_id:token\tage:float\nu-last\t30\nu-idle\t40\n")
    graph = str(tmp_path / "small.lbug")
    assert kgrec("load", "atomic", tmp_path / "small", "--into", graph).code == 0
    run = train_run(graph, Config(), split="none")
    publish_run(graph)
    (tmp_path / "small" / "small.inter").write_text("user_id:token\titem_id:token\nu-next\ti1\n")
    (tmp_path / "small" / "small.user").write_text("user_id:token\tage:float\nu-idle\t40\n")
    receipt = forget(graph, "user", "u-last")
    assert receipt["removed"]["runs"][run.name]["run"] == GONE
    assert (holding(tmp_path, "u-last"), list_runs(root_of(graph))) == ([], [])
    with open_graph(graph, read_only=True) as store:
        assert store.published() is None, "what was listed for others was learned from nobody else"
        assert store.cypher("MATCH (:User)-[r:RECOMMENDED]->(:Item) RETURN count(*) AS n")["n"][0] == 0
    assert kgrec("refresh", graph, "--source", tmp_path / "small").code == 0
    assert [again.name for again in list_runs(root_of(graph))] != [run.name]


def test_forget_unknown_id_changes_nothing(graph):
    with pytest.raises(UnknownUser, match=r"unknown user: 'canary-user'\. It is neither"):
        forget(graph, "user", "canary-user")
    with pytest.raises(UnknownItem, match="neither in the graph nor in a run"):
        forget(graph, "item", USER)


def test_interrupted_forget_resumes(graph, tmp_path):
    with open_graph(graph, create=True) as store:
        store.remove("User", USER)
    receipt = forget(graph, "user", USER)
    assert receipt["removed"]["graph"] == {"nodes": 0, "relationships": 0}
    assert len(receipt["removed"]["runs"]) == 2
    assert holding(tmp_path, USER) == []


def test_search_finds_residue(graph, tmp_path):
    left = root_of(graph) / "notes.txt"
    left.write_text(f"ask {USER} why")
    table = root_of(graph) / "export.parquet"
    pq.write_table(pa.table({"who": [[USER, "b"]] * 100}), table, compression="zstd")
    found = forget(graph, "user", USER)["searched"]["found"]
    assert sorted(map(str, found)) == sorted(str(path) for path in (left, table))


def test_search_for_short_id_is_ambiguous(graph):
    receipt = forget(graph, "user", "u001")
    assert receipt["searched"]["found"] == []
    (root_of(graph) / "notes.txt").write_text("u002")
    receipt = forget(graph, "user", "u002")
    assert receipt["searched"]["found"] == []
    assert str(root_of(graph) / "notes.txt") in receipt["searched"]["ambiguous"]


def test_without_renumbers_like_a_fresh_graph():
    tables = two_communities(seed=1)
    graph = without(GraphSnapshot.from_tables(tables), [("Item", "i005"), ("User", "u001"), ("Item", "none")])
    frames = {name: table.to_pandas() for name, table in tables.nodes.items()}
    nodes = {
        "User": tables.nodes["User"].filter(pa.array(frames["User"]["user_id"] != "u001")),
        "Item": tables.nodes["Item"].filter(pa.array(frames["Item"]["item_id"] != "i005")),
        "Tag": tables.nodes["Tag"],
    }
    liked, tags = tables.edges[LIKED].to_pandas(), tables.edges[HAS_TAG].to_pandas()
    edges = {
        LIKED: tables.edges[LIKED].filter(pa.array((liked["src"] != "u001") & (liked["dst"] != "i005"))),
        HAS_TAG: tables.edges[HAS_TAG].filter(pa.array(tags["src"] != "i005")),
    }
    assert graph.digest == GraphSnapshot.from_tables(GraphTables(tables.schema, nodes, edges)).digest


def test_forget_command_exit_codes(kgrec, graph):
    (root_of(graph) / "notes.txt").write_text(USER)
    told = kgrec("forget", graph, "user", USER)
    assert told.code == 1
    assert "residue found in: " in told.out
    again = kgrec("forget", graph, "user", USER)
    assert again.code == 2
    assert "neither in the graph nor in a run" in again.err
    done = kgrec("forget", graph, "item", ITEM, "--json")
    assert done.code == 0
    assert json.loads(done.out)["removed"]["graph"]["nodes"] == 1
    assert kgrec("forget", graph, "shop", ITEM).code == 2


def test_forget_removes_leftovers_of_killed_jobs(graph, tmp_path):
    root = root_of(graph)
    run = find_run(root)
    left = root / f".{run.name}.{socket.gethostname().replace('.', '_')}-999999999-0123abcd"
    shutil.copytree(run.folder, left)
    half = tmp_path / "cache" / "vectors" / "0123" / "left.part"
    half.parent.mkdir(parents=True)
    half.write_text(USER)
    assert forget(graph, "user", USER)["searched"]["found"] == []
    assert holding(tmp_path, USER) == []
    assert not left.exists()


def test_forget_needs_the_job_lock(graph, tmp_path):
    with leased(graph), pytest.raises(StoreLocked, match="is working on"):
        forget(graph, "user", USER)
    assert holding(tmp_path, USER) != []


def test_forget_reports_tuned_text_model_and_refresh_retunes(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KGREC_CACHE", "cache")
    tune = {"method": "lora", "rank": 2, "steps": 1, "batch": 8}
    config = Config(signals=("popularity", "embeddings"), budget="1s", encoder=str(model("bert")), tune=tune)
    refresh(RefreshRequest("shop.lbug", with_canaries(), config=config))
    checkpoints = list((tmp_path / "cache" / "tuning").iterdir())
    assert len(checkpoints) == 2  # of the head and of the model
    other = tmp_path / "cache" / "tuning" / "other.safetensors"
    save_checkpoint(other, Progress(), {}, "digest of another schema")
    receipt = forget("shop.lbug", "user", USER)
    [of_run] = receipt["removed"]["runs"].values()
    assert of_run["text model"] == TUNED_STAYS
    assert receipt["removed"]["cache"]["checkpoints"] == 2
    assert list((tmp_path / "cache" / "tuning").iterdir()) == [other]
    assert holding(tmp_path, USER) == []
    with open_graph("shop.lbug", read_only=True) as store:
        rest = store.read()
    anew = refresh(RefreshRequest("shop.lbug", rest, force=True))
    assert (anew["mode"], anew["why"]) == ("full", "trained on data erased since: text model")
    assert refresh(RefreshRequest("shop.lbug", rest))["result"] == "nothing new"


def test_refresh_after_forget_refits_reduced_signal(graph, monkeypatch):
    monkeypatch.setattr(EASE, "cost", classmethod(lambda cls, settings, train: 1e6))
    forget(graph, "user", USER)
    with open_graph(graph, read_only=True) as store:
        rest = store.read()
    foreseen = refresh(RefreshRequest(graph, rest, dry_run=True))
    assert (foreseen["mode"], foreseen["why"]) == ("refit", "trained on data erased since: ease")
