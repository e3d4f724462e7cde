"""Figures of a run, read back from TensorBoard and MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kgrec.runs.folder import Run, find_run, root_of
from kgrec.runs.tracking import figures

pytestmark = pytest.mark.slow


@pytest.fixture
def run(trained_cinema: Path) -> Run:
    return find_run(root_of(trained_cinema))


def test_figures_equal_those_of_the_run(run: Run) -> None:
    found = list(figures(run))
    values = {figure.name: figure.value for figure in found}
    assert values["test/NDCG@20 of hybrid"] == run.info["metrics"]["models"]["hybrid"]["NDCG@20"]
    assert values["seconds/blend"] == run.info["seconds"]["blend"]
    tried = [(f.step, f.value) for f in found if f.name == "validation/NDCG@20 of ease"]
    assert tried == list(enumerate(t["metric_value"] for t in run.choices["signals"]["ease"]["tried"]))
    assert len(tried) > 3


def test_figures_include_losses_and_gate_metrics(run: Run) -> None:
    gate = {"measured": {"candidate": 0.2, "current": 0.1}}
    info = {**run.info, "tuned": {"losses": [[0, 2.0], [20, 1.5]]}, "gate": gate}
    found = list(figures(Run(run.folder, info)))
    assert [f[1:] for f in found if f.name.startswith("fine-tuning")] == [(2.0, 0), (1.5, 20)]
    assert [f.value for f in found if f.name.startswith("refresh")] == [0.2, 0.1]


def test_tensorboard_gets_figures_once(kgrec: Any, trained_cinema: Path, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason='TensorBoard is not installed: pip install "kgrec[tensorboard]"')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = [kgrec("runs", "track", trained_cinema, "--tensorboard", tmp_path / "board").out for _ in range(2)]
    assert ["logged" in text and "already" not in text for text in told] == [True, False]
    board = EventAccumulator(str(tmp_path / "board" / run.name)).Reload()
    kept = [(name, event.step) for name in board.Tags()["scalars"] for event in board.Scalars(name)]
    assert sorted(kept) == sorted((figure.name, figure.step) for figure in figures(run))
    [event] = board.Scalars("test/NDCG@20 of hybrid")
    assert event.value == pytest.approx(run.info["metrics"]["models"]["hybrid"]["NDCG@20"])


def test_mlflow_gets_figures_once(
    kgrec: Any, trained_cinema: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason='MLflow is not installed: pip install "kgrec[mlflow]"')
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file:{tmp_path / 'mlruns'}"
    told = [kgrec("runs", "track", trained_cinema, "--mlflow", uri) for _ in range(2)]
    assert ["logged" in done.out and "already" not in done.out for done in told] == [True, False], told
    client = mlflow.MlflowClient(uri)
    [logged] = client.search_runs([client.get_experiment_by_name(str(trained_cinema)).experiment_id])
    hybrid = run.info["metrics"]["models"]["hybrid"]["NDCG@20"]
    assert logged.data.metrics["test/NDCG at 20 of hybrid"] == pytest.approx(hybrid)
    assert logged.data.params["seed"] == "0"
    steps = [m.step for m in client.get_metric_history(logged.info.run_id, "validation/NDCG at 20 of ease")]
    assert len(steps) == len(run.choices["signals"]["ease"]["tried"])


def test_unreachable_mlflow_server_is_reported(
    kgrec: Any, trained_cinema: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason='MLflow is not installed: pip install "kgrec[mlflow]"')
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = kgrec("runs", "track", trained_cinema, "--mlflow", "http://127.0.0.1:9")
    assert done.code == 1
    assert "MLflow at http://127.0.0.1:9 rejected run" in done.err


@pytest.mark.parametrize("where", ["--tensorboard", "--mlflow"])
def test_missing_tracker_package_is_named(
    kgrec: Any, trained_cinema: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    for name in ("mlflow", "torch.utils.tensorboard"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    done = kgrec("runs", "track", trained_cinema, where, "board")
    assert done.code == 2
    assert f'pip install "kgrec[{where.removeprefix("--")}]"' in done.err
    assert "no target to log to" in kgrec("runs", "track", trained_cinema).err
