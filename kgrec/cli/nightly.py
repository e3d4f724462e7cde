"""A refresh as an unattended job runs it: one summary line; on request a log, figures for Prometheus, and spans."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgrec._util.files import check_target
from kgrec._util.logs import no_lines
from kgrec._util.notices import notices, to_stderr
from kgrec.errors import GateRefused, KgrecError, StoreLocked, UsageError
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.report import Report, write_metrics
from kgrec.jobs.refresh.tracing import provider, trace_job
from kgrec.store.load import check_address
from kgrec.store.uri import check_uri


def run_scheduled(metrics: Path | None, log: str, trace: bool = False, *, graph: str, **options: Any) -> dict[str, Any]:
    """Refresh a graph and tell how it went, also where it went wrong.

    Args:
        metrics: file of figures; none if not given.
        log: "text" or "json".
        trace: whether to send spans to OpenTelemetry.
        graph: URI of the graph.
        options: of `refresh`.

    Returns:
        What `refresh` returns, and "job", the id in the log.

    Raises:
        MissingExtra: spans were asked for, and OpenTelemetry is not installed.
        KgrecError: as `refresh`, after the figures were written.
    """
    if log not in ("text", "json"):
        raise UsageError(f"--log {log!r}; expected text or json")
    if metrics and not metrics.parent.is_dir():
        raise UsageError(f"--metrics {metrics}: there is no folder {metrics.parent}; expected one that is there")
    check_uri(graph)
    check_address(options.get("source"))
    if metrics:
        check_target(metrics)
    spans = provider() if trace else None
    if log == "json":
        no_lines()
    report, start = Report("json" if log == "json" else "text"), time.perf_counter()
    result: dict[str, Any] = {"result": "failed"}
    tell = (lambda text: report.step("notice", text=text)) if log == "json" else to_stderr
    try:
        with notices(tell):
            result = refresh(graph, report=report, **options)
    except KgrecError as error:
        result = {"result": _kind(error), "error": str(error)}
        report.step("end", **result)
        raise
    finally:
        if spans:
            trace_job(spans, "kgrec refresh", report, time.time_ns(), {"graph": graph, **result})
        if metrics and not options.get("dry_run"):
            seconds = round(time.perf_counter() - start, 1)
            write_metrics(
                metrics, graph, result["result"], {**_figures(result), "duration_seconds": seconds}, time.time()
            )
    return {"job": report.job, **result}


def summary_line(graph: str, result: Mapping[str, Any]) -> str:
    """Return what happened in one line."""
    parts = [f"{graph}: {result['result']}"]
    if "run" in result:
        parts.append(
            f"run {result['run']}" + (f" instead of {result['instead_of']}" if result.get("instead_of") else "")
        )
    parts += [f"{n} {name} {what}" for what in ("new", "changed") for name, n in result.get(what, {}).items()]
    if "mode" in result:
        parts.append(f"{result['mode']} ({result['why']})")
    if result.get("ndcg") is not None:
        parts.append(
            f"NDCG@20 {result['ndcg']:.4f}, was {result['ndcg_before']:.4f} (users: {result['users_compared']})"
        )
    if "expected_seconds" in result:
        known = result["expected_seconds"]
        parts.append("no run yet to tell how long" if known is None else f"takes about {known:.0f} s")
    return ", ".join([*parts, f"{result['seconds']} s"])


def _kind(error: KgrecError) -> str:
    kinds: dict[type[KgrecError], str] = {GateRefused: "refused", StoreLocked: "busy"}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "failed")


def _figures(result: Mapping[str, Any]) -> dict[str, Any]:
    rows = {f"{what}_rows": sum(result[what].values()) for what in ("new", "changed") if what in result}
    return {**rows, "recommendations": result.get("recommendations"), "ndcg": result.get("ndcg")}
