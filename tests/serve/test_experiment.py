"""A/B tests: assignment, what each arm answers, the log of exposures, the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from kgrec.config import Config
from kgrec.errors import RunError, UsageError
from kgrec.events.erase import erase
from kgrec.events.event import Event
from kgrec.events.exposures import Exposure, ExposureLog, exposures
from kgrec.events.log import EventLog
from kgrec.jobs.experiment_report import report
from kgrec.jobs.train import train_run
from kgrec.runs.folder import list_runs
from kgrec.serve.app import create_app
from kgrec.serve.experiment import Experiment

TEST = "name: t\narms:\n  a: {share: 0.5}\n  b: {share: 0.3, release: RUN}\n  c: {share: 0.2, popular: true}\n"


def experiment(text: str, tmp_path: Path) -> Path:
    (tmp_path / "test.yaml").write_text(text)
    return tmp_path / "test.yaml"


def test_users_are_assigned_by_the_shares(tmp_path: Path) -> None:
    test = Experiment.read(experiment(TEST, tmp_path))
    arms = [test.arm_of(f"u{number}") for number in range(5_000)]
    found = [arms.count(arm) / len(arms) for arm in "abc"]
    assert found == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert arms == [Experiment.read(tmp_path / "test.yaml").arm_of(f"u{number}") for number in range(5_000)]


def test_each_arm_answers_from_its_release(published: str, tmp_path: Path) -> None:
    train_run(published, Config.read(overrides=["signals=popularity"]))
    first, second = (run.name for run in list_runs(Path(published).with_suffix(".runs")))
    file = experiment(TEST.replace("RUN", second), tmp_path)
    with TestClient(create_app(published, experiment=file)) as client:
        answers = {u: client.get(f"/v1/users/{u}/recommendations").json() for u in (f"u{n}" for n in range(1, 30))}
    found = {(answer["arm"], answer["release"], answer["source"] == "popular") for answer in answers.values()}
    assert found == {("a", first, False), ("b", second, False), ("c", first, True)}
    logged = {shown.user_id: shown for shown in exposures(Path(published).with_suffix(".events"), "t")}
    assert {user: answer["arm"] for user, answer in answers.items()} == {u: shown.arm for u, shown in logged.items()}
    assert logged["u1"].items == tuple(item["item_id"] for item in answers["u1"]["items"])
    assert erase(Path(published).with_suffix(".events"), "user", "u1") == 1
    assert "u1" not in {shown.user_id for shown in exposures(Path(published).with_suffix(".events"), "t")}


def test_report_finds_a_real_difference_and_no_other(tmp_path: Path) -> None:
    rng, log, events = np.random.default_rng(0), ExposureLog(tmp_path), []
    for number in range(2_000):
        arm, user = "ab"[number % 2], f"u{number}"
        log.add(Exposure("t", arm, user, ("i1",), "r", "published", 10.0))
        n_bought, n_viewed = rng.poisson(0.4 if arm == "b" else 0.2), rng.poisson(1.0)
        kinds = ["BOUGHT"] * n_bought + ["VIEWED"] * n_viewed
        events += [Event(f"{user}-{i}", user, "i1", kind, 11.0) for i, kind in enumerate(kinds)]
        events.append(Event(f"{user}-early", user, "i1", "BOUGHT", 9.0))
    log.flush()
    EventLog(tmp_path).append(events)
    rows, ratio = report(tmp_path, "t", {"a": 0.5, "b": 0.5})
    bought, viewed = (rows[(rows["arm"] == "b") & (rows["behavior"] == kind)].iloc[0] for kind in ("BOUGHT", "VIEWED"))
    assert 0 < bought["low"] < 0.2 < bought["high"]
    assert viewed["low"] < 0 < viewed["high"]
    assert not ratio["is_faulty"]
    assert report(tmp_path, "t", {"a": 0.6, "b": 0.4})[1]["is_faulty"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: t\narms: {a: {share: 0.5}, b: {share: 0.6}}", "the shares of the arms sum to 1.1. Expected 1"),
        ("name: t\narms: {a: {share: 0.5}}", "arms: Dictionary should have at least 2 items"),
        ("name: t\narms: {a: {share: 0.5, weight: 1}, b: {share: 0.5}}", "arms.a.weight: Extra inputs"),
        ("name: [", "is not an experiment"),
    ],
)
def test_faulty_experiment_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"test\.yaml is not an experiment") as refused:
        Experiment.read(experiment(text, tmp_path))
    assert message in str(refused.value)


def test_run_that_is_missing_keeps_the_service_from_starting(published: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="RUN"):
        create_app(published, experiment=experiment(TEST, tmp_path))
