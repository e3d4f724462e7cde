"""What a run measured, for the tools that draw it: TensorBoard and MLflow. All of it is read from the run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kgrec._util.secrets import holds_password
from kgrec.errors import MissingExtra, RunError, UsageError
from kgrec.runs.folder import Run
from kgrec.training.report import metric_of


class Figure(NamedTuple):
    """One figure: a name with its group before a slash, its value, and where it stands in a series."""

    name: str
    value: float
    step: int = 0


def figures(run: Run) -> Iterator[Figure]:
    """Yield what a run measured.

    "seconds": of each stage; "validation": the metric of every setting of a signal that was tried, in turn; "test":
    metrics of every model; "fine-tuning": loss on held-out users by step; "refresh": NDCG@20 of the run and of the one
    before.

    Raises:
        RunError: the choices are missing or damaged.
    """
    yield from (Figure(f"seconds/{stage}", seconds) for stage, seconds in run.info["seconds"].items())
    for signal, choice in run.choices.get("signals", {}).items():
        for step, tried in enumerate(choice["tried"]):
            yield Figure(f"validation/{metric_of(run.choices)} of {signal}", tried["ndcg"], step)
    for model, metrics in ((run.info.get("metrics") or {}).get("models") or {}).items():
        yield from (Figure(f"test/{name} of {model}", value) for name, value in metrics.items())
    for step, loss in (run.info.get("tuned") or {}).get("losses", ()):
        yield Figure("fine-tuning/loss on held-out users", loss, step)
    compared = run.info.get("gate", {}).get("measured", {})
    for what, name in (("candidate", "NDCG@20"), ("current", "NDCG@20 of the run before")):
        if what in compared:
            yield Figure(f"refresh/{name}", compared[what])


def to_tensorboard(run: Run, folder: Path) -> bool:
    """Write a run's figures and settings for TensorBoard; False if they are there already.

    Args:
        run: the run.
        folder: of all runs, `tensorboard --logdir FOLDER`; it gets a subfolder of the run's name.

    Raises:
        MissingExtra: tensorboard is not installed.
        RunError: the folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra('TensorBoard is not installed; run: pip install "kgrec[tensorboard]"') from None
    if (folder / run.name).exists():
        return False
    try:
        with SummaryWriter(str(folder / run.name)) as writer:
            writer.add_text("settings", _as_markdown(run.info["config"]))
            for figure in figures(run):
                writer.add_scalar(*figure)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error}; name another folder with --tensorboard") from error
    return True


def to_mlflow(run: Run, uri: str, graph: str) -> bool:
    """Log a run's figures and settings in MLflow; False if they are there already.

    Args:
        run: the run.
        uri: of the tracking server, or what else MLflow takes.
        graph: URI of the graph, which names the experiment.

    Raises:
        MissingExtra: mlflow is not installed.
        RunError: the server does not answer or refuses.
        UsageError: the URI holds a password.
    """
    if holds_password(uri):
        raise UsageError(
            "found a user or a password in the URI of MLflow; give them as MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, those of a database as its driver reads them, such as PGPASSFILE"
        )
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise MissingExtra('MLflow is not installed; run: pip install "kgrec[mlflow]"') from None
    try:
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(graph)
        experiment = found.experiment_id if found else client.create_experiment(graph)
        if client.search_runs([experiment], f"attributes.run_name = '{run.name}' AND attributes.status = 'FINISHED'"):
            return False
        logged = client.create_run(experiment, run_name=run.name).info
        values = [Metric(_for_mlflow(f.name), f.value, logged.start_time, f.step) for f in figures(run)]
        settings = [Param(name, str(value)) for name, value in run.info["config"].items()]
        client.log_batch(logged.run_id, metrics=values, params=settings)
        client.set_terminated(logged.run_id)
    except MlflowException as error:
        raise RunError(f"MLflow at {uri} does not take run {run.name}: {error}") from error
    return True


def _for_mlflow(name: str) -> str:
    return name.replace("@", " at ")  # which MLflow does not allow in a name


def _as_markdown(config: dict[str, Any]) -> str:
    return "".join(f"- {name}: `{value}`\n" for name, value in config.items())
