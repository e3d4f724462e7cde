"""Publishing a fitted model from Python and a saved one from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kgrec import NotFittedError, Recommender, RunError, StoreError
from kgrec.jobs.rollback import roll_back
from kgrec.jobs.train import publish_run
from kgrec.runs.folder import Run, list_runs, root_of
from kgrec.runs.publish import check_complete
from kgrec.store import open_graph

pytestmark = pytest.mark.slow

FAST = {"signals": ("popularity", "ease")}
LISTED = "MATCH (u)-[r:RECOMMENDED]->(i) RETURN u.user_id AS user_id, i.item_id AS item_id, r.rank AS rank"


@pytest.fixture(scope="module")
def model(trained_cinema: Path) -> Recommender:
    with open_graph(trained_cinema, read_only=True) as store:
        return Recommender(**FAST).fit(store)


@pytest.mark.parametrize("is_open", [True, False], ids=["open graph", "path"])
def test_publish_writes_the_lists_of_the_model(model: Recommender, cinema: Path, is_open: bool) -> None:
    if is_open:
        with open_graph(cinema, create=True) as store:
            done = model.publish(store, k=3)
            found = store.cypher(LISTED)
    else:
        done = model.publish(cinema, k=3)
        with open_graph(cinema, read_only=True) as store:
            found = store.cypher(LISTED)
    assert done["recommendations"] == len(found) > 0
    wanted = model.recommend(model._model.train.users.ids, k=3)
    assert set(map(tuple, found.to_numpy())) == set(map(tuple, wanted[["user_id", "item_id", "rank"]].to_numpy()))
    assert done["run"] == list_runs(root_of(cinema))[-1].name


def test_published_model_can_be_rolled_back(model: Recommender, cinema: Path) -> None:
    first = publish_run(str(cinema))["run"]
    assert model.publish(cinema)["run"] != first
    assert roll_back(str(cinema))["run"] == first


def test_command_publishes_a_saved_model(model: Recommender, cinema: Path, tmp_path: Path, kgrec) -> None:
    model.save(tmp_path / "my-model")
    done = kgrec("publish", cinema, tmp_path / "my-model", "--k", 3)
    assert done.code == 0
    run = list_runs(root_of(cinema))[-1]
    assert run.has_table("recommendations")
    assert run.name in done.out
    assert kgrec("recommend", cinema, "u1").code == 0


def test_publish_into_another_graph_is_refused(model: Recommender, tmp_path: Path, communities) -> None:
    with open_graph(tmp_path / "other.lbug", create=True) as store:
        store.write(communities.to_tables())
        with pytest.raises(StoreError, match=r"no longer has|has no label"):
            model.publish(store)
        assert store.published() is None
    assert list_runs(tmp_path / "other.runs") == []


@pytest.mark.parametrize("name", ["tuned", "second"])
def test_run_without_weights_of_a_text_model_is_incomplete(trained_cinema: Path, name: str) -> None:
    [run] = list_runs(root_of(trained_cinema))
    check_complete(run)
    with pytest.raises(RunError, match=rf"arrays/{name}\.safetensors of .* is missing"):
        check_complete(Run(run.folder, {**run.info, name: {"weights": {}}}))


def test_publish_before_fit_is_refused(cinema: Path) -> None:
    with pytest.raises(NotFittedError):
        Recommender().publish(cinema)
