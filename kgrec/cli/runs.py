"""Commands on runs: list, show, track and prune them."""

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

runs_app = typer.Typer(help="List, show and remove runs.", no_args_is_help=True)


@runs_app.command("list")
def runs_list(graph: Graph, runs: Runs = None, as_json: Json = False) -> None:
    """List the runs of a graph, oldest first; fails if one cannot be read."""
    from kgrec.runs.folder import runs_folder, unreadable_runs
    from kgrec.runs.tables import runs_table

    root = runs_folder(graph, runs)
    table, unreadable = runs_table(root), unreadable_runs(root)
    if not table.empty or as_json:
        show(table, as_json)
    elif not unreadable:
        return show_text(f"no run in {root}; train one: kgrec train {graph}")
    if unreadable:
        raise RunError("\n".join(map(str, unreadable.values())))


@runs_app.command("show")
def runs_show(
    graph: Graph,
    run: Annotated[str | None, typer.Argument(help="Name of a run; the newest if not given.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Show what a run is made of: settings, choices, metrics; --json shows all that it keeps."""
    from kgrec.runs.folder import find_run, runs_folder
    from kgrec.runs.tables import run_facts
    from kgrec.training.report import blends_table, classification_table, domains_table, rerank_table, tried_table

    found = find_run(runs_folder(graph, runs), run)
    if as_json:
        return show_facts(found.name, {"run": found.name, **found.info, "choices": found.choices}, as_json)
    show_facts(f"run {found.name}", run_facts(found), as_json)
    if found.info.get("metrics"):
        show_metrics(found.info["metrics"], as_json)
    choices = found.choices
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
    run: Annotated[str | None, typer.Argument(help="Name of a run; the newest if not given.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder that TensorBoard reads.")] = None,
    mlflow: Annotated[str | None, typer.Option(help="URI of an MLflow server.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Log what a run measured in TensorBoard or MLflow, once however often this is called."""
    from kgrec.runs.folder import find_run, runs_folder
    from kgrec.runs.tracking import to_mlflow, to_tensorboard

    if tensorboard is None and mlflow is None:
        raise UsageError("nowhere to log to; expected --tensorboard FOLDER, --mlflow URI or both")
    found = find_run(runs_folder(graph, runs), run)
    logged = {
        **({"TensorBoard": to_tensorboard(found, tensorboard)} if tensorboard else {}),
        **({"MLflow": to_mlflow(found, mlflow, graph)} if mlflow else {}),
    }
    told = {where: "logged" if new else "was there already" for where, new in logged.items()}
    show_facts(f"run {found.name}", told, as_json)


@runs_app.command("prune")
def runs_prune(
    graph: Graph,
    keep: Annotated[int, typer.Option("--keep", help="How many of the newest runs stay.")],
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Remove all runs but the newest, the published one and the one published before it."""
    from kgrec.jobs.rollback import prune_runs

    show_facts(f"runs of {graph}", prune_runs(graph, keep, runs), as_json)
