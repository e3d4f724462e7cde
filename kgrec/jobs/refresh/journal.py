"""Journal of a refresh: a file in the runs folder with the current step.

A restarted refresh looks at the graph, the finished run folders and the published run, and does only the missing steps.
The journal itself is informational, except that it shows whether a full retrain was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kgrec._util.files import write_json
from kgrec.jobs.refresh.report import Report

JOURNAL_FILE: Final = "refresh.json"


class Journal:
    """The journal of a refresh: "job", "step", "steps" with their start times, and "request".

    Args:
        root: folder of the graph's runs.
        report: report of the job.
        request: the arguments that identify the request.
    """

    def __init__(self, root: Path, report: Report, request: Mapping[str, Any]) -> None:
        self.path, self.report, self.request = root / JOURNAL_FILE, report, dict(request)
        self.previous = self._read()

    @property
    def resumes(self) -> bool:
        """Whether the previous refresh had the same request and was interrupted."""
        return self.previous.get("step") not in (None, "end") and self.previous.get("request") == self.request

    def step(self, name: str, **facts: Any) -> None:
        """Log the start of a step and write it to the journal."""
        self.report.step(name, **facts)
        entry = {"job": self.report.job, "step": name, "steps": self.report.steps, "request": self.request, **facts}
        write_json(self.path, entry)

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}
