"""What the benchmarks that run two sides beside one another share: alternating rounds, medians, the result's file."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Seconds = dict[str, list[tuple[float, float]]]
"""Side → wall and CPU seconds of each round."""


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Time every side in each round; which is first alternates too."""
    seconds: Seconds = {name: [] for name in sides}
    for turn in range(rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            wall, cpu = time.perf_counter(), time.process_time()
            sides[name]()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds


def medians(seconds: Seconds) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU seconds of each side."""
    return {
        name: (statistics.median(wall for wall, _ in rows), statistics.median(cpu for _, cpu in rows))
        for name, rows in seconds.items()
    }


def rounds_of(seconds: Seconds) -> dict[str, dict[str, str]]:
    """Return the seconds of every round, for the result."""
    return {
        "wall_rounds": {name: " ".join(f"{wall:.3f}" for wall, _ in rows) for name, rows in seconds.items()},
        "cpu_rounds": {name: " ".join(f"{cpu:.3f}" for _, cpu in rows) for name, rows in seconds.items()},
    }


def write(result: Mapping[str, Any], out: Path) -> None:
    """Write a result as JSON, and print it."""
    text = json.dumps(result, indent=1)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n", encoding="utf-8")
    print(text)
