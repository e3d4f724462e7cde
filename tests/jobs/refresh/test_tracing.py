"""Spans of a refresh, as OpenTelemetry's own SDK sends them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import CINEMA, FAST

pytestmark = pytest.mark.slow

pytest.importorskip("opentelemetry.sdk", reason='OpenTelemetry is not installed: pip install "kgrec[otel]"')


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A receiver of OTLP over HTTP; gives the spans that came."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            spans.extend(span for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield spans
    server.shutdown()
    thread.join()
    server.server_close()


def named(spans: list[Any]) -> dict[str, Any]:
    return {span.name: span for span in spans}


def test_every_step_of_a_refresh_is_a_span_inside_the_jobs(kgrec: Any, tmp_path: Path, collector: list[Any]) -> None:
    graph = tmp_path / "shop.lbug"
    done = kgrec("refresh", graph, "--source", CINEMA, "--set", FAST, "--trace")
    assert done.code == 0, done.err
    spans = named(collector)
    assert {"kgrec refresh", "read", "write", "snapshot", "full", "compare", "keep", "publish"} <= spans.keys()
    job = spans.pop("kgrec refresh")
    assert {a.key: a.value.string_value for a in job.attributes}["kgrec.result"] == "published"
    in_order = sorted(spans.values(), key=lambda span: span.start_time_unix_nano)
    assert {span.parent_span_id for span in in_order} == {job.span_id}
    assert in_order[0].start_time_unix_nano == job.start_time_unix_nano
    for span, following in pairwise(in_order):
        assert span.start_time_unix_nano < span.end_time_unix_nano == following.start_time_unix_nano
    assert in_order[-1].end_time_unix_nano <= job.end_time_unix_nano


def test_a_failed_refresh_is_a_failed_span(kgrec: Any, tmp_path: Path, collector: list[Any]) -> None:
    assert kgrec("refresh", tmp_path / "shop.lbug", "--source", tmp_path / "none", "--trace").code == 1
    job = named(collector)["kgrec refresh"]
    assert job.status.code == 2
    assert str(tmp_path / "none") in job.status.message


def test_the_exporter_is_the_one_that_the_environment_names(
    kgrec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("refresh", tmp_path / "shop.lbug", "--source", tmp_path / "none", "--trace")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nowhere")
    refused = kgrec(*words)
    assert refused.code == 2
    assert "OTEL_TRACES_EXPORTER=nowhere; expected one that is installed: console, otlp_proto_http" in refused.err
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    done = subprocess.run([sys.executable, "-m", "kgrec", *words], capture_output=True, text=True, check=False)
    assert '"name": "kgrec refresh"' in done.stdout, done.stderr


def test_a_receiver_that_is_away_costs_the_spans_alone(
    kgrec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    assert kgrec("refresh", tmp_path / "shop.lbug", "--source", CINEMA, "--set", FAST, "--trace").code == 0
