"""Metrics of a refresh, in a file for the textfile collector of Prometheus' node exporter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kgrec._util.files import write_atomic
from kgrec.errors import MissingExtra

RESULTS: Final = ("published", "nothing new", "refused", "busy", "failed")
_SUCCESS: Final = "kgrec_refresh_last_success_timestamp_seconds"
_HELP: Final = {
    "new_rows": "New rows in the source.",
    "changed_rows": "Changed rows in the source.",
    "recommendations": "Published recommendations.",
    "metric_value": "NDCG@20, or the configured metric, of the new run on the newest interactions.",
    "duration_seconds": "Duration of the refresh in seconds.",
    "last_run_timestamp_seconds": "End of the last refresh, Unix time in seconds.",
    "last_success_timestamp_seconds": "End of the last successful refresh, Unix time in seconds.",
}


def check_installed() -> None:
    """Check that prometheus-client is installed.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise MissingExtra('prometheus-client is not installed. Run: pip install "kgrec[prometheus]"') from None


def write_metrics(path: Path, graph: str, result: str, figures: Mapping[str, Any], now: float) -> None:
    """Write the metrics of a refresh atomically.

    Args:
        path: a file that ends in .prom.
        graph: URI of the graph, written as a label of each metric.
        result: one of `RESULTS`.
        figures: metric name (a key of `_HELP`) → value; None values are skipped.
        now: Unix time in seconds.

    Raises:
        RunError: the file cannot be written.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    success = now if result in ("published", "nothing new") else _earlier_success(path)
    times = {"last_run_timestamp_seconds": now, "last_success_timestamp_seconds": success}
    for name, value in {**figures, **times}.items():
        if value is not None:
            Gauge(f"kgrec_refresh_{name}", _HELP[name], ["graph"], registry=registry).labels(graph).set(value)
    results = Gauge("kgrec_refresh_result", "1 for the last result, else 0.", ["graph", "result"], registry=registry)
    for known in RESULTS:
        results.labels(graph, known).set(known == result)
    write_atomic(path, generate_latest(registry).decode())


def _earlier_success(path: Path) -> float | None:
    """Return the time of the last success from the existing metrics file; None if it has none."""
    from prometheus_client.parser import text_string_to_metric_families

    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    try:
        families = [family for family in text_string_to_metric_families(text) if family.name == _SUCCESS]
        return next((sample.value for family in families for sample in family.samples), None)
    except ValueError:
        return None
