"""Where a refresh is: one small file in the runs folder, so that the next one knows what an interrupted one has done.

What decides is what is there: rows in the graph, whole run folders, the run that the graph has published. So a refresh
that starts again does only what is missing, whatever the moment the last one was killed at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kgrec._util.files import write_json
from kgrec.jobs.refresh.report import Report

FILE: Final = "refresh.json"


class Journal:
    """The journal of a refresh: "job", "step", "steps" with their times, and what was asked for.

    Args:
        root: folder of the graph's runs.
        report: of the job.
        request: what identifies the request.
    """

    def __init__(self, root: Path, report: Report, request: Mapping[str, Any]) -> None:
        self.path, self.report, self.request = root / FILE, report, dict(request)
        self.previous = self._read()

    @property
    def resumes(self) -> bool:
        """Whether an earlier refresh of the same request was cut off."""
        return self.previous.get("step") not in (None, "end") and self.previous.get("request") == self.request

    def step(self, name: str, **facts: Any) -> None:
        """Note that a step begins."""
        self.report.step(name, **facts)
        entry = {"job": self.report.job, "step": name, "steps": self.report.steps, "request": self.request, **facts}
        write_json(self.path, entry)

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}
