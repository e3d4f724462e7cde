"""Commands on the live run and its graph: publish, refresh, roll back, unpublish, forget and audit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import kgrec
from kgrec._util.files import check_target
from kgrec._util.logs import no_lines
from kgrec._util.notices import notices
from kgrec._util.terminal import escaped
from kgrec.cli.options import Graph, Json, K, Runs
from kgrec.cli.output import show, show_facts, show_text
from kgrec.config import Config
from kgrec.errors import GateRefused, KgrecError, StoreLocked, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from kgrec.jobs.refresh.request import RefreshRequest

jobs_app = typer.Typer()
audit_app = typer.Typer(
    help="Find leakage in a run, or anomalies in a graph; exit code 1 if there are any.", no_args_is_help=True
)
jobs_app.add_typer(audit_app, name="audit")


class Role(StrEnum):
    """Kind of node to forget."""

    user = "user"
    item = "item"


@jobs_app.command()
def publish(
    graph: Graph,
    run: Annotated[
        str | None, typer.Argument(help="Name of a run, or folder of a saved model. Default: the newest run.")
    ] = None,
    runs: Runs = None,
    k: K = 20,
    as_json: Json = False,
) -> None:
    """Write a run's text vectors and recommendations into the graph, replacing those of the live run."""
    from kgrec.jobs.train import publish_run

    show_facts("published", publish_run(graph, run, runs, k), as_json)


@jobs_app.command()
def refresh(
    graph: Graph,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Folder, file or URL with new or all data. Default: events of a service only."),
    ] = None,
    loader: Annotated[
        str, typer.Option("--format", help="atomic, tables, movielens, rdf, or one of yours.")
    ] = "atomic",
    schema: Annotated[
        str | None, typer.Option("--schema", help="Schema file or name. Default: the graph's schema.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Ingest only behaviors from this date or number on.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Setting as key=value; repeatable.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Retrain fully, regardless of the policy.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Publish even a run that the gate refuses.")] = False,
    allow_shrink: Annotated[
        bool, typer.Option("--allow-shrink", help="Accept a source with a tenth of its earlier rows, or fewer.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print the planned update.")] = False,
    log: Annotated[str, typer.Option(help="text, or json: one JSON line per step on stderr.")] = "text",
    metrics: Annotated[Path | None, typer.Option(help="Metrics file for Prometheus' textfile collector.")] = None,
    k: K = 20,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Ingest new data, update the model (fold-in, refit or full retrain), compare it with the live run, and publish.

    Safe to re-run: an interrupted refresh continues where it stopped.
    """
    from kgrec.jobs.refresh.request import RefreshRequest

    request = RefreshRequest(
        graph,
        source,
        loader=loader,
        schema=schema,
        since=since,
        config=Config.read(None, settings) if settings else None,
        full=full,
        force=force,
        allow_shrink=allow_shrink,
        dry_run=dry_run,
        k=k,
        runs=runs,
    )
    result = _refreshed(request, log, metrics)
    if as_json:
        return show_facts("", result, as_json)
    print(escaped(_summary_line(graph, result)))


@jobs_app.command()
def rollback(
    graph: Graph,
    run: Annotated[
        str | None, typer.Argument(help="Name of a run. Default: the one published before the live run.")
    ] = None,
    runs: Runs = None,
    k: K = 20,
    as_json: Json = False,
) -> None:
    """Publish an earlier run again: its text vectors, recommendations and model."""
    from kgrec.jobs.rollback import roll_back

    show_facts("published again", roll_back(graph, run, runs, k), as_json)


@jobs_app.command()
def unpublish(graph: Graph, as_json: Json = False) -> None:
    """Remove published recommendations and text vectors from a graph; the loaded data stay."""
    from kgrec.runs.folder import root_of
    from kgrec.runs.publications import append
    from kgrec.store.job_lock import leased

    with leased(graph), kgrec.open(graph) as store:
        run = store.published()
        store.unpublish()
        if run and root_of(graph).exists():
            append(root_of(graph), None, "unpublish")
    show_facts(f"nothing is published in {graph}", {"removed": run}, as_json)


@jobs_app.command()
def forget(
    graph: Graph,
    role: Annotated[Role, typer.Argument(help="user or item.", show_default=False)],
    id_: Annotated[str, typer.Argument(metavar="ID", help="Key of the node.", show_default=False)],
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Erase a user or an item from graph, runs and cache, search for residue, and write a receipt.

    Exit code 1 if residue was found, or if a file could not be searched.
    """
    from kgrec.jobs.forget.job import forget as forget_it

    receipt = forget_it(graph, role.value, id_, runs)
    show_facts(f"forgotten; receipt: {receipt['receipt']}", receipt if as_json else receipt["removed"], as_json)
    left, unread = receipt["searched"]["found"], receipt["searched"]["unread"]
    if left and not as_json:
        show_text(f"residue found in: {', '.join(left)}")
    if unread and not as_json:
        show_text(f"not searched, may hold residue: {', '.join(unread)}")
    if left or unread:
        raise typer.Exit(1)


@audit_app.command("leakage")
def audit_leakage(
    graph: Graph,
    run: Annotated[str | None, typer.Argument(help="Name of a run. Default: the newest.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Find the stages of a run that used test behaviors or later ones; exit code 1 if there are any."""
    from kgrec.jobs.audit import audit_leakage as find

    _show_findings(find(graph, run, runs), "no leakage: no stage used the test behaviors", as_json)


@audit_app.command("data")
def audit_data(graph: Graph, as_json: Json = False) -> None:
    """Find duplicates, bot-like users, future timestamps, orphans, hubs and volume spikes; exit code 1 on errors."""
    from kgrec.jobs.audit import audit_data as find

    _show_findings(find(graph), "no anomalies in the data", as_json)


def _show_findings(findings: pd.DataFrame, none: str, as_json: bool) -> None:
    """Print an audit's findings: every row as JSON, or one line per kind as text; exit with 1 if any is an error."""
    from kgrec.jobs.audit import summary

    if findings.empty and not as_json:
        return show_text(none)
    show(findings if as_json else summary(findings), as_json)
    if len(findings) and ("level" not in findings.columns or (findings["level"] == "error").any()):
        raise typer.Exit(1)


def _refreshed(request: RefreshRequest, log: str, metrics: Path | None) -> dict[str, Any]:
    """Refresh a graph; write the metrics file even if the refresh fails.

    Raises:
        MissingExtra: `metrics` is given, and prometheus-client is not installed.
        KgrecError: as `refresh` raises.
    """
    from kgrec.jobs.refresh.job import refresh
    from kgrec.jobs.refresh.report import Report

    if log not in ("text", "json"):
        raise UsageError(f"unknown --log: {log!r}. Expected text or json")
    if metrics:
        _check_metrics_file(metrics)
    if log == "json":
        no_lines()
    report, start = Report("json" if log == "json" else "text"), time.perf_counter()
    result: dict[str, Any] = {"result": "failed"}
    try:
        with notices(report.notice):
            result = refresh(request, report)
    except KgrecError as error:
        result = {"result": _kind(error), "error": str(error)}
        report.step("end", **result)
        raise
    finally:
        if metrics and not request.dry_run:
            _write_figures(metrics, request.graph, result, time.perf_counter() - start)
    return {"job": report.job, **result}


def _check_metrics_file(metrics: Path) -> None:
    from kgrec.jobs.refresh.metrics import check_installed

    check_installed()
    if not metrics.parent.is_dir():
        raise UsageError(f"no folder for --metrics: {metrics.parent}. Expected an existing folder")
    check_target(metrics)


def _write_figures(metrics: Path, graph: str, result: Mapping[str, Any], seconds: float) -> None:
    from kgrec.jobs.refresh.metrics import write_metrics

    rows = {f"{what}_rows": sum(result[what].values()) for what in ("new", "changed") if what in result}
    figures = {**rows, "recommendations": result.get("recommendations"), "metric_value": result.get("metric_value")}
    write_metrics(metrics, graph, result["result"], {**figures, "duration_seconds": round(seconds, 1)}, time.time())


def _summary_line(graph: str, result: Mapping[str, Any]) -> str:
    """Return a refresh's result as one line."""
    parts = [f"{graph}: {result['result']}"]
    if "run" in result:
        parts.append(
            f"run {result['run']}" + (f" instead of {result['instead_of']}" if result.get("instead_of") else "")
        )
    parts += [f"{n} {name} {what}" for what in ("new", "changed") for name, n in result.get(what, {}).items()]
    if "mode" in result:
        parts.append(f"{result['mode']} ({result['why']})")
    if result.get("metric_value") is not None:
        was = f"was {result['metric_value_before']:.4f} ({result['users_compared']} test cases)"
        parts.append(f"{result['metric']} {result['metric_value']:.4f}, {was}")
    if "expected_seconds" in result:
        known = result["expected_seconds"]
        parts.append("duration unknown: no earlier run" if known is None else f"takes about {known:.0f} s")
    return ", ".join([*parts, f"{result['seconds']} s"])


def _kind(error: KgrecError) -> str:
    kinds: dict[type[KgrecError], str] = {GateRefused: "refused", StoreLocked: "busy"}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "failed")
