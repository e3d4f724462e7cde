"""Commands that serve a graph over HTTP and manage API keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Graph, Json, Runs
from kgrec.cli.output import show, show_facts, show_text

serve_app = typer.Typer()
keys_app = typer.Typer(help="Manage the API keys of the service.", no_args_is_help=True)
experiment_app = typer.Typer(help="Evaluate A/B tests.", no_args_is_help=True)
serve_app.add_typer(keys_app, name="keys")
serve_app.add_typer(experiment_app, name="experiment")


@serve_app.command()
def serve(
    graph: Graph,
    host: Annotated[str, typer.Option(help="Address to answer on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to answer on.", min=0, max=65_535)] = 8000,
    keys: Annotated[
        Path | None, typer.Option(help="File of API keys; needed if the host is not this machine alone.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of processes.", min=1)] = 1,
    experiment: Annotated[Path | None, typer.Option(help="File of an A/B test.")] = None,
    access_log: Annotated[bool, typer.Option(help="Log each request as a line of JSON on stderr.")] = True,
    runs: Runs = None,
) -> None:
    """Answer HTTP requests from the published run of a graph."""
    from kgrec.serve.server import ServeOptions, serve

    files = (str(file) if file else None for file in (runs, keys, experiment))
    of_runs, of_keys, of_experiment = files
    serve(ServeOptions(graph, host, port, of_runs, of_keys, workers, of_experiment, access_log))


@experiment_app.command("report")
def report(
    graph: Graph,
    file: Annotated[Path, typer.Argument(help="File of the A/B test.", show_default=False)],
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Compare the arms of an A/B test: events per user, with 95 % intervals against the first arm."""
    from kgrec.events.log import events_folder
    from kgrec.jobs.experiment_report import report as experiment_report
    from kgrec.runs.folder import runs_folder
    from kgrec.serve.experiment import Experiment

    test = Experiment.read(file)
    shares = {name: arm.share for name, arm in test.arms.items()}
    rows, ratio = experiment_report(events_folder(runs_folder(graph, runs)), test.name, shares)
    if as_json:
        return show_facts("", {"arms": rows.to_dict("records"), "sample_ratio": ratio}, as_json)
    show(rows, as_json)
    fault = "; FAULTY: the assignment or the logging loses users of an arm" if ratio["is_faulty"] else ""
    show_text(f"sample ratio: users {ratio['users']}, p = {ratio['p_value']:.3g}{fault}")


@keys_app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="File of keys; created if missing.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Name of the key, for logs.", show_default=False)],
    scope: Annotated[list[str], typer.Option(help="read, write, query or admin; repeatable.")],
    rate: Annotated[float, typer.Option(help="Requests per second.", min=0.01)] = 1000.0,
    as_json: Json = False,
) -> None:
    """Add a named key to a file and print the key, which is not stored."""
    from kgrec.serve.keys import add_key

    key = add_key(file, name, scope, rate)
    if as_json:
        return show_facts("", {"name": name, "key": key}, as_json)
    show_text(key)
