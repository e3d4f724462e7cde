"""OpenTelemetry spans of a refresh."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import CINEMA, FAST

from kgrec.config import Config
from kgrec.errors import KgrecError
from kgrec.jobs.refresh import report
from kgrec.jobs.refresh.job import refresh
from kgrec.jobs.refresh.request import RefreshRequest

pytestmark = pytest.mark.slow

trace = pytest.importorskip("opentelemetry.sdk.trace", reason='OpenTelemetry: pip install "kgrec[otel]"')


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Finished spans, in the order of their ends."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(report, "TRACER", provider.get_tracer("kgrec"))
    return exporter.get_finished_spans


def test_refresh_steps_are_child_spans(tmp_path: Path, spans: Any) -> None:
    refresh(RefreshRequest(str(tmp_path / "shop.lbug"), CINEMA, config=Config.read(overrides=[FAST])))
    *steps, job = spans()
    assert [step.name for step in steps] == [
        *("read", "write", "snapshot", "full", "compare", "recommend", "keep", "publish")
    ]
    assert (job.name, job.attributes["kgrec.result"]) == ("kgrec refresh", "published")
    assert {step.parent.span_id for step in steps} == {job.context.span_id}
    for step, following in pairwise(steps):
        assert job.start_time <= step.start_time < step.end_time <= following.start_time
    assert steps[-1].end_time <= job.end_time


def test_failed_refresh_gives_failed_span(tmp_path: Path, spans: Any) -> None:
    with pytest.raises(KgrecError):
        refresh(RefreshRequest(str(tmp_path / "shop.lbug"), tmp_path / "none"))
    *_, step, job = spans()
    for span in (step, job):
        assert (span.status.status_code.name, str(tmp_path / "none") in span.status.description) == ("ERROR", True)
    assert step.name == "read"


def test_spans_use_the_configured_provider(tmp_path: Path) -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
from kgrec.__main__ import main
main()
"""
    words = ("refresh", str(tmp_path / "shop.lbug"), "--source", str(tmp_path / "none"))
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert '"name": "kgrec refresh"' in done.stdout, done.stderr
