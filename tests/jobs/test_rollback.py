"""Rollback to an earlier run, and pruning of runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import FAST

from kgrec.config import Config
from kgrec.errors import RunError, UsageError
from kgrec.jobs.rollback import prune_runs, roll_back
from kgrec.jobs.train import publish_run, train_run
from kgrec.runs.folder import list_runs
from kgrec.runs.publications import HISTORY_FILE, publications, reconcile
from kgrec.store import open_graph

pytestmark = pytest.mark.slow


@pytest.fixture
def three(cinema: Path) -> tuple[str, list[str]]:
    """The cinema graph with three runs, each published after the other, and the runs' names."""
    graph = str(cinema)
    [first] = list_runs(cinema.with_suffix(".runs"))
    names = [first.name, *(train_run(graph, Config.read(overrides=[FAST, f"seed={s}"])).name for s in (1, 2))]
    for name in names:
        publish_run(graph, name, k=3)
    return graph, names


def lists(graph: str) -> tuple[str | None, list[str], int]:
    """Return the published run, the runs that the relationships are of, and how many vectors of items there are."""
    with open_graph(graph, read_only=True) as store:
        runs = store.cypher("MATCH (:User)-[r:RECOMMENDED]->(:Item) RETURN DISTINCT r.run AS run")["run"].tolist()
        vectors = store.cypher("MATCH (v:ItemVector) RETURN count(*) AS n")["n"][0]
        return store.published(), runs, int(vectors)


def test_rollback_twice_goes_further_back(three: tuple[str, list[str]]) -> None:
    graph, names = three
    assert roll_back(graph, k=3)["instead_of"] == names[2]
    assert lists(graph) == (names[1], [names[1]], 72)
    roll_back(graph, k=3)
    assert lists(graph) == (names[0], [names[0]], 72)
    with pytest.raises(UsageError, match="no earlier run to roll back to"):
        roll_back(graph)
    roll_back(graph, names[2])
    assert lists(graph)[0] == names[2]
    entries = publications(Path(graph).with_suffix(".runs"))
    assert [entry.run for entry in entries] == [*names, names[1], names[0], names[2]]
    assert [entry.action for entry in entries] == ["publish"] * 3 + ["rollback"] * 3


def test_rollback_excludes_items_seen_since(three: tuple[str, list[str]], kgrec, tmp_path) -> None:
    graph, names = three
    with open_graph(graph, read_only=True) as store:
        listed = store.cypher("MATCH (u:User)-[r:RECOMMENDED]->(i:Item) WHERE r.rank = 1 RETURN u.user_id, i.item_id")
    (tmp_path / "more").mkdir()
    rows = "".join(f"{user}\t{item}\t5\t1600000000\n" for user, item in listed.itertuples(index=False))
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (tmp_path / "more" / "more.inter").write_text(header + rows)
    assert kgrec("load", "atomic", tmp_path / "more", "--into", graph).code == 0
    roll_back(graph, names[2])
    with open_graph(graph, read_only=True) as store:
        again = store.cypher("MATCH (u:User)-[:RECOMMENDED]->(i:Item)<-[:INTERACTED]-(u) RETURN count(*) AS n")
        assert again["n"][0] == 0


def test_reconcile_adds_missing_publication(three: tuple[str, list[str]]) -> None:
    graph, names = three
    path = Path(graph).with_suffix(".runs") / HISTORY_FILE
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert roll_back(graph)["run"] == names[1]
    assert [entry.action for entry in publications(path.parent)][-2:] == ["reconciled", "rollback"]


def test_reconcile_recognizes_a_killed_rollback(three: tuple[str, list[str]]) -> None:
    graph, names = three
    path = Path(graph).with_suffix(".runs") / HISTORY_FILE
    roll_back(graph)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    reconcile(path.parent, names[1])
    assert [(entry.run, entry.action) for entry in publications(path.parent)][-1] == (names[1], "rollback")


def test_recommend_uses_the_live_run(three: tuple[str, list[str]], kgrec) -> None:
    graph, names = three
    newest = kgrec("recommend", graph, "u1", "--json").out
    roll_back(graph)
    assert (
        kgrec("recommend", graph, "u1", "--json").out
        == kgrec("recommend", graph, "u1", "--run", names[1], "--json").out
    )
    assert kgrec("unpublish", graph).code == 0
    assert kgrec("recommend", graph, "u1", "--json").out == newest


def test_rollback_to_incomplete_run_changes_nothing(three: tuple[str, list[str]]) -> None:
    graph, names = three
    root = Path(graph).with_suffix(".runs")
    (root / names[1] / "arrays" / "signal-ease.safetensors").unlink()
    with pytest.raises(RunError, match=r"arrays/signal-ease.safetensors of .* is missing\. Restore the folder"):
        roll_back(graph)
    shutil.rmtree(root / names[1])
    with pytest.raises(RunError, match=rf"no run '{names[1]}' in .*\. Expected one of: {names[0]}, {names[2]}"):
        roll_back(graph)
    assert lists(graph)[0] == names[2]


def test_prune_keeps_newest_live_and_previous_run(three: tuple[str, list[str]]) -> None:
    graph, names = three
    unpublished = train_run(graph, Config.read(overrides=[FAST, "seed=3"])).name
    assert prune_runs(graph, 1) == {"removed": [names[0]], "kept": [names[1], names[2], unpublished]}
    assert [run.name for run in list_runs(Path(graph).with_suffix(".runs"))] == [names[1], names[2], unpublished]
    with pytest.raises(UsageError, match=r"--keep is too small: 0\. Expected at least 1"):
        prune_runs(graph, 0)


def test_rollback_and_prune_commands(three: tuple[str, list[str]], kgrec) -> None:
    graph, names = three
    assert names[1] in kgrec("rollback", graph).out
    assert kgrec("rollback", graph, "gone").code == 1
    assert names[0] in kgrec("runs", "prune", graph, "--keep", 1, "--json").out
