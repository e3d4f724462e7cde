"""Commands that learn and measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import (
    Graph,
    Json,
    K,
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
        str | None, typer.Option(help="none, random, time, last or given; given if marked, else random.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting as key=value; repeatable.")] = None,
    k: K = 100,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Train on a graph, measure on what was held out, and keep the result as a run."""
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
        typer.Option(help="warm, cold-user, cold-item, cold-target or cross-domain: train anew on such a cut."),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting as key=value; repeatable.")] = None,
    run: RunName = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Measure a run on its held-out behaviors, or how well a protocol is met; the hybrid beside each single signal."""
    from kgrec.jobs.evaluate import evaluate_protocol, evaluate_run

    if protocol is None and settings:
        raise UsageError("--set needs --protocol: a run keeps the settings that it was trained with")
    if protocol and run:
        raise UsageError("--run and --protocol: found both; a protocol trains anew, so leave out one of them")
    if protocol:
        measured = evaluate_protocol(graph, protocol, Config.read(None, settings or ()))
    else:
        measured = evaluate_run(graph, run, runs)
    if not as_json:
        show_text(f"{measured['protocol']}; {measured['users']:,} questions, one for a user and domain")
    show_metrics(measured, as_json)


@train_app.command()
def benchmark(
    folder: Annotated[Path, typer.Argument(help="Atomic benchmark files: NAME.train.inter, NAME.test.inter …")],
    fit_on: Annotated[str, typer.Option(help="train, or train+valid.")] = "train",
    k: Annotated[str, typer.Option("--k", help="Cut-offs, comma-separated.")] = "10,20",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for recommendations.parquet and metrics.json.")] = Path("benchmark"),
    as_json: Json = False,
) -> None:
    """Measure kgrec with its defaults on benchmark files, ready to be scored by others."""
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
    measure: Annotated[bool, typer.Option("--measure", help="Encode a few texts with each: texts a second.")] = False,
    as_json: Json = False,
) -> None:
    """List the text models that are here, packaged or in the Hugging Face cache, and what each costs."""
    from kgrec.text.list_models import encoders_table

    show(encoders_table(measure), as_json)


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--k {text!r}; expected whole numbers, such as 10,20") from None
