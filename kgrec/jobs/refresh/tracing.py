"""Spans of a job for OpenTelemetry: one for the job, one for each step in it; sent as its environment variables say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from kgrec._util.secrets import holds_password
from kgrec.errors import MissingExtra, UsageError
from kgrec.jobs.refresh.report import Report

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


def provider() -> TracerProvider:
    """Return what makes spans: the program's own if it has one, else one for OTEL_TRACES_EXPORTER, by default "otlp".

    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and the others are read by the exporter.

    Raises:
        MissingExtra: the SDK is not installed.
        UsageError: there is no exporter of that name, or the receiver's address holds a password.
    """
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        if holds_password(os.environ.get(name, "")):
            raise UsageError(f"found a user or a password in {name}; give them as OTEL_EXPORTER_OTLP_HEADERS")
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise MissingExtra('OpenTelemetry is not installed; run: pip install "kgrec[otel]"') from None
    there = trace.get_tracer_provider()
    if isinstance(there, TracerProvider):
        return there
    asked = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    known = {entry.name: entry for entry in entry_points(group="opentelemetry_traces_exporter")}
    entry = known.get(asked) or known.get(f"{asked}_proto_http")
    if entry is None:
        raise UsageError(f"OTEL_TRACES_EXPORTER={asked}; expected one that is installed: {', '.join(sorted(known))}")
    made = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "kgrec")}))
    made.add_span_processor(BatchSpanProcessor(entry.load()()))
    return made


def trace_job(provider: TracerProvider, name: str, report: Report, end: int, facts: Mapping[str, Any]) -> None:
    """Make the spans of a job that has ended, and send them; a receiver that is away costs the spans, not the job.

    Args:
        provider: makes them.
        name: of the job.
        report: its steps; the last one, "end", is the end of all.
        end: when it ended, nanoseconds since 1970.
        facts: what to say of the job as a whole; "error" marks the span as failed.
    """
    from opentelemetry import trace

    tracer = provider.get_tracer("kgrec", version("kgrec"))
    begun = [at for _, at, _ in report.told]
    attributes = {"kgrec.job": report.job, **_attributes(facts)}
    job = tracer.start_span(name, start_time=begun[0] if begun else end, attributes=attributes)
    if "error" in facts:
        job.set_status(trace.StatusCode.ERROR, str(facts["error"]))
    inside = trace.set_span_in_context(job)
    for (step, at, told), until in zip(report.told, [*begun[1:], end], strict=True):
        if step != "end":
            tracer.start_span(step, inside, start_time=at, attributes=_attributes(told)).end(until)
    job.end(end)
    provider.force_flush()


def _attributes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts under names of kgrec's own, in types that a span takes."""
    plain = (str, int, float, bool)
    return {f"kgrec.{name}": v if isinstance(v, plain) else str(v) for name, v in facts.items() if v is not None}
