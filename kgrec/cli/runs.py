"""Commands that list, show, track and prune runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import (
    Graph,
    Json,
    Runs,
)
from kgrec.cli.output import show, show_facts, show_metrics, show_text
from kgrec.errors import RunError, UsageError

runs_app = typer.Typer(help="List, show, track and remove runs.", no_args_is_help=True)


@runs_app.command("list")
def runs_list(graph: Graph, runs: Runs = None, as_json: Json = False) -> None:
    """List the runs of a graph, oldest first; exit with an error if a run is unreadable."""
    from kgrec.runs.folder import runs_folder, unreadable_runs
    from kgrec.runs.tables import runs_table

    root = runs_folder(graph, runs)
    table, unreadable = runs_table(root), unreadable_runs(root)
    if not table.empty or as_json:
        show(table, as_json)
    elif not unreadable:
        return show_text(f"no run in {root}. Run: kgrec train {graph}")
    if unreadable:
        raise RunError("\n".join(map(str, unreadable.values())))


@runs_app.command("show")
def runs_show(
    graph: Graph,
    run: Annotated[str | None, typer.Argument(help="Name of a run. Default: the newest.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Show the settings, tuning results and metrics of a run; --json prints all of its facts."""
    from kgrec.runs.folder import find_run, runs_folder
    from kgrec.runs.tables import run_facts
    from kgrec.training.report import (
        blends_table,
        classification_table,
        domains_table,
        rerank_table,
        tried_table,
        worth_table,
    )

    selected = find_run(runs_folder(graph, runs), run)
    if as_json:
        return show_facts(selected.name, {"run": selected.name, **selected.info, "choices": selected.choices}, as_json)
    show_facts(f"run {selected.name}", run_facts(selected), as_json)
    if selected.info.get("metrics"):
        show_metrics(selected.info["metrics"], as_json)
    choices = selected.choices
    if choices.get("race"):
        show(worth_table(choices), as_json)
    show(tried_table(choices), as_json)
    show(blends_table(choices), as_json)
    if choices.get("domains"):
        show(domains_table(choices), as_json)
    if choices.get("rerank"):
        show(rerank_table(choices), as_json)
        show(classification_table(choices), as_json)


@runs_app.command("track")
def runs_track(
    graph: Graph,
    run: Annotated[str | None, typer.Argument(help="Name of a run. Default: the newest.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="TensorBoard's log folder.")] = None,
    mlflow: Annotated[str | None, typer.Option(help="URI of an MLflow server.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Log the metrics of a run to TensorBoard or MLflow. Safe to re-run: a run is logged once."""
    from kgrec.runs.folder import find_run, runs_folder
    from kgrec.runs.tracking import to_mlflow, to_tensorboard

    if tensorboard is None and mlflow is None:
        raise UsageError("no target to log to. Expected --tensorboard FOLDER, --mlflow URI or both")
    selected = find_run(runs_folder(graph, runs), run)
    logged = {
        **({"TensorBoard": to_tensorboard(selected, tensorboard)} if tensorboard else {}),
        **({"MLflow": to_mlflow(selected, mlflow, graph)} if mlflow else {}),
    }
    states = {target: "logged" if new else "already logged" for target, new in logged.items()}
    show_facts(f"run {selected.name}", states, as_json)


@runs_app.command("prune")
def runs_prune(
    graph: Graph,
    keep: Annotated[int, typer.Option("--keep", help="Number of newest runs to keep.")],
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Remove all runs except the newest, the live run and the one published before it."""
    from kgrec.jobs.rollback import prune_runs

    show_facts(f"runs of {graph}", prune_runs(graph, keep, runs), as_json)
