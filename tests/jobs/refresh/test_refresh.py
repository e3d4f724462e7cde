"""Refresh on the cinema data: ingest, retraining policy, refusals, and re-runs."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import CINEMA, FAST, with_little_room

from kgrec._util.notices import DataNotice
from kgrec.config import Config
from kgrec.errors import DataError, GateRefused, StoreError, StoreLocked, UsageError
from kgrec.events.event import DISMISSED, Event
from kgrec.events.log import EventLog
from kgrec.jobs.refresh.changes import ingest_delta
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest
from kgrec.jobs.rollback import roll_back
from kgrec.runs.folder import find_run, list_runs
from kgrec.runs.publications import publications
from kgrec.store import open_graph
from kgrec.store.job_lock import lease_file, leased
from kgrec.store.load import load

CONFIG = Config.read(overrides=[FAST])
pytestmark = [pytest.mark.filterwarnings(r"ignore:\d+ items? (is|are) not in:UserWarning"), pytest.mark.slow]


@pytest.fixture(scope="session")
def first_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph and its source after the first refresh; tests only read it."""
    place = tmp_path_factory.mktemp("nightly")
    shutil.copytree(CINEMA, place / "source", copy_function=shutil.copyfile)
    refresh(RefreshRequest(str(place / "shop.lbug"), place / "source", config=CONFIG))
    return place


@pytest.fixture
def place(first_night: Path, tmp_path: Path) -> Path:
    """A copy of `first_night` that a test may change."""
    shutil.copytree(first_night, tmp_path / "nightly")
    return tmp_path / "nightly"


def append(place: Path, file: str, *rows: str) -> None:
    path = place / "source" / file
    path.write_text(path.read_text() + "".join(f"{row}\n" for row in rows))


def night(place: Path, **options: object) -> dict:
    return refresh(RefreshRequest(str(place / "shop.lbug"), place / "source", **options))


def log_events(place: Path, *events: Event) -> None:
    EventLog(place / "shop.events").append(events)


def published(place: Path) -> tuple[str | None, set[str]]:
    with open_graph(place / "shop.lbug", read_only=True) as store:
        runs = store.cypher("MATCH ()-[r:RECOMMENDED]->() RETURN DISTINCT r.run AS run")["run"]
        return store.published(), set(runs)


def test_first_refresh_trains_fully(first_night: Path) -> None:
    [run] = list_runs(first_night / "shop.runs")
    assert published(first_night) == (run.name, {run.name})
    assert run.info["refresh"]["why"] == "no live run"
    assert run.info["metrics"]["models"]["hybrid"]["NDCG@20"] > 0
    assert run.info["protocol"] == "latest 5% of every user's behaviors"
    assert [entry.action for entry in publications(first_night / "shop.runs")] == ["refresh"]


def test_refresh_without_new_data_publishes_nothing(place: Path) -> None:
    before = published(place)
    again = night(place)
    assert (again["result"], again["new"], again["changed"]) == ("nothing new", {}, {})
    assert published(place) == before
    assert len(list_runs(place / "shop.runs")) == 1


def test_refresh_keeps_rollback_until_new_data(place: Path) -> None:
    [first] = list_runs(place / "shop.runs")
    append(place, "cinema.inter", "u1\tf70\t5\t1700000000")
    night(place)
    roll_back(str(place / "shop.lbug"))
    assert night(place)["result"] == "nothing new"
    assert published(place) == (first.name, {first.name})
    append(place, "cinema.inter", "u2\tf70\t5\t1700000000")
    assert night(place)["instead_of"] == first.name


def test_refresh_folds_in_new_users_and_items(place: Path) -> None:
    append(place, "cinema.inter", "new\tf1\t5\t1700000000", "new\tf2\t4\t1700000060", "u1\tf99\t5\t1700000000")
    append(place, "cinema.item", "f99\tThe Last Galaxy\t2024\tScience-Fiction")
    result = night(place)
    assert result["new"] == {"User": 1, "Item": 1, "HAS_GENRE": 1, "INTERACTED": 3} | {
        name: n for name, n in result["new"].items() if name not in ("User", "Item", "INTERACTED")
    }
    assert (result["result"], result["mode"]) == ("published", "fold-in")
    assert published(place) == (result["run"], {result["run"]})
    with open_graph(place / "shop.lbug", read_only=True) as store:
        listed = store.cypher("MATCH (u:User {user_id: 'new'})-[r:RECOMMENDED]->(i) RETURN i.item_id AS id")["id"]
        assert len(listed) == 20
        assert not set(listed) & {"f1", "f2"}
        assert store.vector("Item", "f99") is not None


def test_refresh_refits_and_retunes_as_data_grow(place: Path) -> None:
    append(place, "cinema.inter", *[f"u{i % 90 + 1}\tf{i % 72 + 1}\t4\t{1700000000 + i}" for i in range(100)])
    result = night(place)
    assert (result["mode"], result["why"][:20]) == ("refit", "data changed by 8.1%")
    append(place, "cinema.inter", *[f"u{i % 90 + 1}\tf{i % 71 + 1}\t4\t{1710000000 + i}" for i in range(200)])
    assert night(place, force=True)["mode"] == "full", "forced: the new rows are chance, and so is what the gate finds"
    fitted, chosen = zip(*((r.info["fitted"], r.info["chosen"]) for r in list_runs(place / "shop.runs")), strict=True)
    assert [size["behaviors"] for size in fitted] == [1230, 1330, 1530]
    assert [size["behaviors"] for size in chosen] == [1230, 1230, 1530]


def test_refresh_retunes_on_drift(place: Path) -> None:
    append(place, "cinema.inter", *[f"u{i % 90 + 1}\tf{i % 72 + 1}\t4\t{1700000000 + i}" for i in range(100)])
    result = night(place)
    run = list_runs(place / "shop.runs")[-1]
    assert result["users_compared"] >= 30
    assert run.info["reached"] == {"then": result["metric_value"], "now": result["metric_value"]}
    fallen = {"then": result["metric_value"], "now": 0.7 * result["metric_value"]}
    (run.folder / "run.json").write_text(json.dumps({**run.info, "reached": fallen}))
    append(place, "cinema.inter", "u1\tf70\t5\t1720000000")
    result = night(place, dry_run=True)
    assert (result["mode"], result["why"]) == ("full", "drift: NDCG on the newest behaviors fell by 30.0%, above 20%")


def test_refresh_updates_values_and_keeps_missing_ones(place: Path) -> None:
    (place / "source" / "cinema.item").write_text(
        "item_id:token\ttitle:token_seq\trelease_year:token\tgenre:token_seq\nf1\tAnother Title\t\tScience-Fiction\n"
    )
    with open_graph(place / "shop.lbug", read_only=True) as store:
        delta = ingest_delta(store, "atomic", place / "source")
    assert (delta.new, delta.changed) == ({}, {"Item": 1})
    [row] = delta.tables.nodes["Item"].to_pylist()
    assert (row["title"], row["release_year"]) == ("Another Title", "2012")


def test_dry_run_reports_plan_and_changes_nothing(place: Path, kgrec) -> None:
    append(place, "cinema.inter", "u1\tf99\t5\t1700000000")
    before = sorted(str(path) for path in place.rglob("*"))
    result = night(place, dry_run=True)
    assert (result["result"], result["mode"], result["new"]["INTERACTED"]) == ("would learn", "fold-in", 1)
    assert result["expected_seconds"] is None, "nothing was folded in yet"
    assert night(place, dry_run=True, full=True)["expected_seconds"] > 0
    command = ("refresh", place / "shop.lbug", "--source", place / "source", "--dry-run")
    assert "duration unknown: no earlier run" in kgrec(*command).out
    assert re.search(r"takes about \d+ s", kgrec(*command, "--full").out)
    assert sorted(str(path) for path in place.rglob("*")) == before


def test_refresh_with_closed_stderr_publishes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(place, "cinema.inter", "u1\tf70\t5\t1700000000")
    monkeypatch.setattr(sys, "stderr", None)
    assert night(place)["result"] == "published"


def test_refresh_damaged_live_run_is_reported(place: Path) -> None:
    [run] = list_runs(place / "shop.runs")
    (run.folder / "run.json").write_text("{")
    with pytest.warns(DataNotice, match=r"the live run is not used, nor are its settings: .*run\.json"):
        assert night(place, dry_run=True)["mode"] == "full"


def test_refresh_since_takes_later_interactions_only(place: Path) -> None:
    append(place, "cinema.inter", "u1\tf99\t5\t1700000000", "u2\tf99\t5\t1720000000")
    assert night(place, since="2024-01-01", dry_run=True)["new"]["INTERACTED"] == 1
    assert night(place, since="1690000000", dry_run=True)["new"]["INTERACTED"] == 2


def test_refresh_refuses_worse_run_unless_forced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = published(place)
    append(place, "cinema.inter", "u1\tf70\t5\t1700000000", "u2\tf70\t5\t1700000000")
    monkeypatch.setattr("kgrec.jobs.refresh.gate.MIN_COVERAGE_SHARE", 2.0)
    with pytest.raises(
        GateRefused, match=r"the lists cover \d+\.\d% of the items, before .* run this again with --force"
    ):
        night(place)
    assert published(place) == before
    with pytest.raises(GateRefused):
        night(place)
    assert len(list_runs(place / "shop.runs")) == 2, "the run that was refused is not made twice"
    result = night(place, force=True)
    assert published(place)[0] == result["run"]
    assert find_run(place / "shop.runs", result["run"]).info["gate"]["forced"]


def test_refresh_refuses_shrunk_source_unless_allowed(place: Path) -> None:
    night(place)
    path = place / "source" / "cinema.inter"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:100]))
    with pytest.raises(DataError, match=r"found 99 rows of INTERACTED, 1230 at the last ingest.* pass --allow-shrink"):
        night(place)
    assert night(place, allow_shrink=True)["result"] == "nothing new"


def test_dry_run_refuses_shrunk_dated_folder(place: Path) -> None:
    night(place)
    dated = shutil.copytree(place / "source", place / "2026-11-28")
    path = dated / "cinema.inter"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:100]))
    for options in ({}, {"dry_run": True}):
        with pytest.raises(
            DataError, match=r"found 99 rows of INTERACTED, 1230 at the last ingest.* pass --allow-shrink"
        ):
            refresh(RefreshRequest(str(place / "shop.lbug"), dated, **options))


def test_dry_run_changed_rows_are_not_growth(place: Path) -> None:
    path = place / "source" / "cinema.inter"
    head, *rows = path.read_text().splitlines()
    user, item, _, at = rows[0].split("\t")
    changed = [
        f"{user}\t{item}\t1\t{at}",
        *("\t".join([*r.split("\t")[:2], "2", r.split("\t")[3]]) for r in rows[1:120]),
    ]
    path.write_text("\n".join([head, *changed, *rows[120:], "u1\tf70\t5\t1700000000"]) + "\n")
    result = night(place, dry_run=True)
    assert result["changed"]["INTERACTED"] > 60
    assert (result["mode"], result["why"]) == ("fold-in", "data changed by 0.1% since the fit, up to 5%")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u1\tf1\tgood\t1700000000", "good"),
        ("u1\tf1\t5\t4100000000", "a time in the future"),
        ("u1\tf1", "found 2 values|2 fields|2 columns|found"),
    ],
)
def test_refresh_with_bad_rows_changes_nothing(place: Path, row: str, message: str) -> None:
    append(place, "cinema.inter", row)
    before = published(place), (place / "shop.lbug").stat().st_ino
    with pytest.raises(DataError, match=message):
        night(place)
    assert (published(place), (place / "shop.lbug").stat().st_ino) == before


def test_refresh_waits_for_live_job_and_replaces_dead_one(place: Path) -> None:
    graph = str(place / "shop.lbug")
    with leased(graph), pytest.raises(StoreLocked, match=r"is working on .*shop.lbug; try again when it has finished"):
        night(place)
    assert night(place)["result"] == "nothing new"
    lease_file(graph).write_text(json.dumps({"pid": 1, "host": "elsewhere"}))  # left by a job that is gone
    with leased(graph) as check:
        check()
        lease_file(graph).unlink()
        with pytest.raises(StoreError, match="was removed, so another job may have started"):
            check()


@pytest.mark.parametrize(
    ("room", "loaded", "full"),
    [
        (20, False, ".shop.lbug.lease"),
        (200, False, "shop.runs/refresh.json"),
        (1_000_000, False, "shop.lbug"),  # as the new rows are written
        (170_000, True, "shop.runs/"),  # as the new run is
        (1_000_000, True, "shop.lbug"),  # as it is published
    ],
)
def test_full_disk_keeps_live_run_and_next_refresh_resumes(place: Path, room: int, loaded: bool, full: str) -> None:
    append(place, "cinema.inter", "u1\tf99\t5\t1700000000")
    append(place, "cinema.item", "f99\tThe Last Galaxy\t2024\t")
    if loaded:
        with open_graph(place / "shop.lbug", create=True) as store:
            load("atomic", place / "source", into=store)
    before = published(place)
    message = with_little_room(room, "refresh", place / "shop.lbug", "--source", place / "source")
    assert re.match(
        rf"error: (cannot write |the lock file of the graph cannot be written: )?{place}/{full}", message
    ), message
    assert published(place) == before
    made = len(list_runs(place / "shop.runs"))
    result = night(place)
    assert (result["result"], published(place)) == ("published", (result["run"], {result["run"]}))
    assert len(list_runs(place / "shop.runs")) == 2, f"there were {made} before: what is made is not made twice"
    assert {path.name for path in place.rglob(".*")} == {".shop.lbug.lease", ".keeping"}
    assert night(place)["result"] == "nothing new"


def test_missing_metrics_folder_fails_before_the_work(kgrec, place: Path) -> None:
    append(place, "cinema.inter", "u1\tf9\t5\t1700000000")
    nowhere = place / "nowhere" / "kgrec.prom"
    failed = kgrec("refresh", place / "shop.lbug", "--source", place / "source", "--metrics", nowhere)
    assert (failed.code, failed.out) == (2, "")
    assert f"no folder for --metrics: {nowhere.parent}" in failed.err
    assert len(list_runs(place / "shop.runs")) == 1


def test_refresh_command(place: Path, kgrec) -> None:
    graph, source, metrics = place / "shop.lbug", place / "source", place / "kgrec.prom"
    append(place, "cinema.inter", "u1\tf99\t5\t1700000000")
    append(place, "cinema.item", "f99\tThe Last Galaxy\t2024\t")
    done = kgrec("refresh", graph, "--source", source, "--log", "json", "--metrics", metrics)
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert "published, run " in done.out
    steps = [json.loads(line) for line in done.err.splitlines()]
    assert len({step["job"] for step in steps}) == 1
    assert [step["step"] for step in steps][:3] == ["read", "write", "snapshot"]
    text = metrics.read_text()
    assert f'kgrec_refresh_result{{graph="{graph}",result="published"}} 1' in text
    assert f'kgrec_refresh_new_rows{{graph="{graph}"}} 2.0' in text
    with leased(str(graph)):
        assert kgrec("refresh", graph, "--source", source, "--metrics", metrics).code == 4
    later = metrics.read_text()
    assert 'result="busy"} 1' in later
    success = [line for line in text.splitlines() if line.startswith("kgrec_refresh_last_success")]
    assert success[0] in later, "when it last went well is not forgotten"


def test_refresh_takes_each_event_once(place: Path) -> None:
    log_events(
        place,
        Event("a", "u1", "f1", "INTERACTED", 1_700_000_000.0, 5.0),
        Event("b", "new", "f2", "INTERACTED", 1_700_000_001.0, 4.0),
        Event("c", "u1", "f3", DISMISSED, 1_700_000_002.0),
        Event("d", "u1", "gone", "INTERACTED", 1_700_000_003.0, 4.0),
    )
    done = refresh(RefreshRequest(str(place / "shop.lbug")))
    assert (done["result"], done["new"]) == ("published", {"User": 1, "INTERACTED": 2})
    with open_graph(place / "shop.lbug", read_only=True) as store:
        query = "MATCH (u:User {user_id: 'new'})-[r:INTERACTED]->(i) RETURN i.item_id AS item, r.rating AS rating"
        assert store.cypher(query).to_dict("records") == [{"item": "f2", "rating": 4.0}]
    assert refresh(RefreshRequest(str(place / "shop.lbug")))["result"] == "nothing new"


def test_refresh_takes_a_source_and_events_together(place: Path) -> None:
    append(place, "cinema.inter", "u1\tf99\t5\t1700000000")
    append(place, "cinema.item", "f99\tThe Last Galaxy\t2024\t")
    log_events(place, Event("a", "u2", "f99", "INTERACTED", 1_700_000_001.0, 5.0))
    assert night(place, dry_run=True)["new"] == {"Item": 1, "INTERACTED": 1}
    assert night(place)["new"] == {"Item": 1, "INTERACTED": 2}


def test_refresh_without_source_and_events_is_refused(place: Path) -> None:
    with pytest.raises(UsageError, match="no source, and no events in"):
        RefreshRequest(str(place / "shop.lbug"))
