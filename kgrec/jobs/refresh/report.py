"""What a job tells those who run it: steps as lines for people or as JSON, and figures for Prometheus."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from kgrec._util.files import write_atomic
from kgrec._util.progress import say
from kgrec._util.streams import tell

Log = Literal["text", "json"]

RESULTS: Final = ("published", "nothing new", "refused", "busy", "failed")
_SUCCESS: Final = "kgrec_refresh_last_success_timestamp_seconds"


class Report:
    """The steps of a job as they happen.

    Attributes:
        job: id of the job, in every line.
        steps: step → when it began, ISO 8601 in UTC.
        told: each step, when it began in nanoseconds since 1970, and what was told of it.
    """

    def __init__(self, log: Log = "text") -> None:
        self.job, self.steps, self._log = uuid.uuid4().hex[:12], dict[str, str](), log
        self.told: list[tuple[str, int, dict[str, Any]]] = []

    def step(self, name: str, **facts: Any) -> None:
        """Tell that a step begins: a line on stderr, of JSON on request, else only while somebody watches."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.steps[name] = now
        self.told.append((name, time.time_ns(), facts))
        if self._log == "json":
            tell(json.dumps({"time": now, "job": self.job, "step": name, **facts}))
        else:
            say(" ".join([name, *(f"{key}={value}" for key, value in facts.items())]))


def write_metrics(path: Path, graph: str, result: str, figures: Mapping[str, Any], now: float) -> None:
    """Write figures of a refresh for the textfile collector of Prometheus' node exporter; whole or not at all.

    Args:
        path: a file that ends in .prom.
        graph: URI of the graph, a label of every figure.
        result: one of `RESULTS`.
        figures: name → number; kgrec_refresh_ is put before it.
        now: epoch seconds.

    Raises:
        RunError: the disk refuses.
    """
    label = '{graph="' + graph.replace("\\", r"\\").replace('"', r"\"") + '"'
    success = now if result in ("published", "nothing new") else _earlier(path)
    values = {f"kgrec_refresh_{name}": float(value) for name, value in figures.items() if value is not None}
    values |= {"kgrec_refresh_last_run_timestamp_seconds": now}
    values |= {} if success is None else {_SUCCESS: success}
    lines = [f"# TYPE {name} gauge\n{name}{label}}} {value!r}\n" for name, value in values.items()]
    lines.append("# TYPE kgrec_refresh_result gauge\n")
    lines += [f'kgrec_refresh_result{label},result="{known}"}} {int(known == result)}\n' for known in RESULTS]
    write_atomic(path, "".join(lines))


def _earlier(path: Path) -> float | None:
    """Return when the last success was, by the file that is to be replaced."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    last_success = re.search(rf"^{_SUCCESS}\{{.*\}} (\d+(?:\.\d+)?(?:e[+-]?\d+)?)$", text, re.M)
    return float(last_success[1]) if last_success else None
