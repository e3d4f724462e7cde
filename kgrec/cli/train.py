"""Commands that train and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import (
    Graph,
    Json,
    RunName,
    Runs,
)
from kgrec.cli.output import show, show_facts, show_metrics, show_text
from kgrec.config import Config
from kgrec.errors import UsageError

train_app = typer.Typer()


@train_app.command()
def train(
    graph: Graph,
    split: Annotated[
        str | None, typer.Option(help="none, random, time, last or given. Default: given if marked, else random.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting as key=value; repeatable.")] = None,
    k: Annotated[
        int | None, typer.Option("--k", help="Length of each list. Default: 100, or as few as 20 with very many users.")
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Train on a graph, evaluate on the held-out behaviors, and save the result as a run."""
    from kgrec.jobs.train import train_run

    run = train_run(graph, Config.read(config, settings or ()), split=split, k=k, runs=runs)
    summary, measured = run.info["summary"], run.info["metrics"]
    if as_json:
        return show_facts("", {"run": run.name, **summary, "metrics": measured}, as_json)
    show_facts(f"run {run.name}", summary, as_json)
    if measured:
        show_metrics(measured, as_json)


@train_app.command()
def evaluate(
    graph: Graph,
    protocol: Annotated[
        str | None,
        typer.Option(help="warm, cold-user, cold-item, cold-target or cross-domain: train on such a split."),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting as key=value; repeatable.")] = None,
    run: RunName = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Evaluate a run, or settings under a protocol, on held-out behaviors; compare the hybrid with each signal."""
    from kgrec.jobs.evaluate import evaluate_protocol, evaluate_run

    if protocol is None and settings:
        raise UsageError(
            "found --set without --protocol: the settings of a trained run are fixed. Expected --protocol, or no --set"
        )
    if protocol and run:
        raise UsageError("found --run and --protocol. Expected one of them: a protocol trains its own model")
    if protocol:
        measured = evaluate_protocol(graph, protocol, Config.read(None, settings or ()))
    else:
        measured = evaluate_run(graph, run, runs)
    if not as_json:
        show_text(f"{measured['protocol']}; {measured['users']:,} test cases, one per user and domain")
    show_metrics(measured, as_json)


@train_app.command()
def benchmark(
    folder: Annotated[
        Path, typer.Argument(help="Folder of atomic benchmark files: NAME.train.inter, NAME.test.inter …")
    ],
    fit_on: Annotated[str, typer.Option(help="train, or train+valid.")] = "train",
    k: Annotated[str, typer.Option("--k", help="Cut-offs, comma-separated.")] = "10,20",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for recommendations.parquet and metrics.json.")] = Path("benchmark"),
    as_json: Json = False,
) -> None:
    """Train with defaults on benchmark files; write recommendations and metrics that others can verify."""
    from kgrec.jobs.benchmark import run_benchmark, seeds_table

    result = run_benchmark(folder, fit_on=fit_on, ks=_whole_numbers(k), seeds=seeds, out=out)
    if as_json:
        return show_facts("", result, as_json)
    show_metrics(result["metrics"], as_json)
    if seeds > 1:
        show_text(f"\nmean ± standard deviation of {seeds} seeds")
        show(seeds_table(result), as_json)
    show_text(f"\nwritten: {out / 'recommendations.parquet'}, {out / 'metrics.json'}")


@train_app.command()
def encoders(
    measure: Annotated[bool, typer.Option("--measure", help="Measure the speed of each: texts per second.")] = False,
    as_json: Json = False,
) -> None:
    """List the installed text models, packaged or in the Hugging Face cache, with size and cost."""
    from kgrec.text.list_models import encoders_table

    show(encoders_table(measure), as_json)


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"invalid --k: {text!r}. Expected integers, such as 10,20") from None
