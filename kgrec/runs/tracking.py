"""Experiment tracking: log the metrics and settings of a run folder to TensorBoard or MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kgrec._util.secrets import holds_password
from kgrec.errors import MissingExtra, RunError, UsageError
from kgrec.runs.folder import Run
from kgrec.training.report import metric_of


class Figure(NamedTuple):
    """A scalar: "group/name", value, and step in its series."""

    name: str
    value: float
    step: int = 0


def figures(run: Run) -> Iterator[Figure]:
    """Yield the scalars of a run, by group.

    "seconds": duration of each stage; "validation": metric of each tried setting of a signal, in order; "test": metrics
    of each model; "fine-tuning": loss on held-out users by step; "refresh": metric of the run and of the previous one.

    Raises:
        RunError: choices.json is missing or damaged.
    """
    yield from (Figure(f"seconds/{stage}", seconds) for stage, seconds in run.info["seconds"].items())
    for signal, choice in run.choices.get("signals", {}).items():
        for step, tried in enumerate(choice["tried"]):
            yield Figure(f"validation/{metric_of(run.choices)} of {signal}", tried["metric_value"], step)
    for model, metrics in ((run.info.get("metrics") or {}).get("models") or {}).items():
        yield from (Figure(f"test/{name} of {model}", value) for name, value in metrics.items())
    for step, loss in (run.info.get("tuned") or {}).get("losses", ()):
        yield Figure("fine-tuning/loss on held-out users", loss, step)
    compared = run.info.get("gate", {}).get("measured", {})
    metric = metric_of(compared)
    for what, name in (("candidate", metric), ("current", f"{metric} of the previous run")):
        if what in compared:
            yield Figure(f"refresh/{name}", compared[what])


def to_tensorboard(run: Run, folder: Path) -> bool:
    """Write a run's scalars and settings for TensorBoard; return False if the run is already logged.

    Args:
        run: the run.
        folder: log folder of all runs (`tensorboard --logdir FOLDER`); the run gets a subfolder of its name.

    Raises:
        MissingExtra: tensorboard is not installed.
        RunError: the folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra('TensorBoard is not installed. Run: pip install "kgrec[tensorboard]"') from None
    if (folder / run.name).exists():
        return False
    try:
        with SummaryWriter(str(folder / run.name)) as writer:
            writer.add_text("settings", _as_markdown(run.info["config"]))
            for figure in figures(run):
                writer.add_scalar(*figure)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error}. Choose another folder with --tensorboard") from error
    return True


def to_mlflow(run: Run, uri: str, graph: str) -> bool:
    """Log a run's scalars and settings to MLflow; return False if the run is already logged.

    Args:
        run: the run.
        uri: tracking URI of MLflow.
        graph: URI of the graph, used as the experiment's name.

    Raises:
        MissingExtra: mlflow is not installed.
        RunError: the server does not respond, or rejects the run.
        UsageError: the URI contains a password.
    """
    if holds_password(uri):
        raise UsageError(
            "found a user or a password in the URI of MLflow. Expected them in MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or for a database where its driver reads them, such as PGPASSFILE"
        )
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise MissingExtra('MLflow is not installed. Run: pip install "kgrec[mlflow]"') from None
    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(graph)
        experiment = known.experiment_id if known else client.create_experiment(graph)
        if client.search_runs([experiment], f"attributes.run_name = '{run.name}' AND attributes.status = 'FINISHED'"):
            return False
        logged = client.create_run(experiment, run_name=run.name).info
        values = [Metric(_for_mlflow(f.name), f.value, logged.start_time, f.step) for f in figures(run)]
        settings = [Param(name, str(value)) for name, value in run.info["config"].items()]
        client.log_batch(logged.run_id, metrics=values, params=settings)
        client.set_terminated(logged.run_id)
    except MlflowException as error:
        raise RunError(f"MLflow at {uri} rejected run {run.name}: {error}") from error
    return True


def _for_mlflow(name: str) -> str:
    return name.replace("@", " at ")  # MLflow does not allow @ in names


def _as_markdown(config: dict[str, Any]) -> str:
    return "".join(f"- {name}: `{value}`\n" for name, value in config.items())
