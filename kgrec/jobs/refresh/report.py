"""Reporting of a job's steps: text or JSON lines on stderr, and OpenTelemetry spans."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

from opentelemetry import trace

from kgrec._util.notices import to_stderr
from kgrec._util.streams import write_stderr

logger = logging.getLogger(__name__)

Log = Literal["text", "json"]

TRACER: Final = trace.get_tracer("kgrec")
"""Tracer of the OpenTelemetry API; spans are exported only if the program configures an exporter."""


class Report:
    """Logs the steps of a job and opens a span for each.

    Attributes:
        job: id of the job, written in each line.
        steps: step → start time, ISO 8601 in UTC.
    """

    def __init__(self, log: Log = "text") -> None:
        self.job, self.steps, self._log = uuid.uuid4().hex[:12], dict[str, str](), log
        self._step = ExitStack()

    @contextmanager
    def span(self, name: str, **facts: Any) -> Iterator[trace.Span]:
        """Open the span of the job, the parent of its steps' spans. An error marks the job and the step as failed."""
        with TRACER.start_as_current_span(name, attributes=attributes({"job": self.job, **facts})) as job, self._step:
            yield job

    def step(self, name: str, **facts: Any) -> None:
        """Log the start of a step to stderr, as JSON or, if stderr is a terminal, as text; open its span."""
        self._step.close()
        if name != "end":
            self._step.enter_context(TRACER.start_as_current_span(name, attributes=attributes(facts)))
        now = self._write(name, facts)
        self.steps[name] = now

    def notice(self, text: str) -> None:
        """Log a notice to stderr."""
        if self._log == "json":
            self._write("notice", {"text": text})
        else:
            to_stderr(text)

    def _write(self, name: str, facts: dict[str, Any]) -> str:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self._log == "json":
            write_stderr(json.dumps({"time": now, "job": self.job, "step": name, **facts}))
        else:
            logger.info(" ".join([name, *(f"{key}={value}" for key, value in facts.items())]))
        return now


def attributes(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts as span attributes, named kgrec.NAME; None values are skipped."""
    plain = (str, int, float, bool)
    return {f"kgrec.{name}": v if isinstance(v, plain) else str(v) for name, v in facts.items() if v is not None}
