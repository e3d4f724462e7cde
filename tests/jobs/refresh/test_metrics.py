"""Prometheus metrics of a refresh."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from kgrec.jobs.refresh.metrics import write_metrics

prometheus = pytest.importorskip("prometheus_client.parser", reason='prometheus: pip install "kgrec[prometheus]"')


def figures(file: Path) -> dict[tuple[str, ...], float]:
    """Read a file by the parser of Prometheus: name and labels → value."""
    families = list(prometheus.text_string_to_metric_families(file.read_text()))
    assert all(family.documentation for family in families)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_write_metrics_escapes_graph_names(tmp_path: Path) -> None:
    file, graph = tmp_path / "kgrec.prom", 'a "quoted" \\ graph\nof two lines'
    write_metrics(file, graph, "published", {"new_rows": 3, "metric_value": None}, 100.5)
    found = figures(file)
    assert found["kgrec_refresh_new_rows", graph] == 3
    assert found["kgrec_refresh_result", graph, "published"] == 1
    assert found["kgrec_refresh_result", graph, "failed"] == 0
    assert not any("metric_value" in name for name, *_ in found)


def test_write_metrics_of_failure_keeps_last_success(tmp_path: Path) -> None:
    file = tmp_path / "kgrec.prom"
    write_metrics(file, "g", "failed", {}, 1.0)
    assert "last_success" not in file.read_text()
    write_metrics(file, "g", "nothing new", {}, 2.0)
    write_metrics(file, "g", "busy", {}, 3.0)
    found = figures(file)
    assert found["kgrec_refresh_last_success_timestamp_seconds", "g"] == 2
    assert found["kgrec_refresh_last_run_timestamp_seconds", "g"] == 3


def test_write_metrics_without_library_names_extra(kgrec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    words = ("refresh", tmp_path / "g.lbug", "--source", tmp_path, "--metrics", tmp_path / "kgrec.prom")
    done = kgrec(*words)
    assert 'pip install "kgrec[prometheus]"' in done.err
    assert not (tmp_path / "g.lbug").exists()
