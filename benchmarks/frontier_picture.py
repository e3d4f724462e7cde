"""The picture of benchmarks/frontier.py, and which systems are on the frontier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRIC = "NDCG@20"
COLORS = {
    "kgrec": "#d62728",
    "implicit": "#1f77b4",
    "rectools": "#2ca02c",
    "recbole": "#9467bd",
    "cornac": "#8c564b",
}


def finished(of_data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the systems of a data set that have metrics, the cheapest first."""
    systems = {name: entry for name, entry in of_data["systems"].items() if "metrics" in entry}
    return dict(sorted(systems.items(), key=lambda pair: (pair[1]["cpu_s"], -pair[1]["metrics"][METRIC])))


def frontier(of_data: Mapping[str, Any]) -> list[str]:
    """Return the systems that are better than every cheaper one, the cheapest first."""
    best, names = float("-inf"), []
    for name, entry in finished(of_data).items():
        if entry["metrics"][METRIC] > best:
            best = entry["metrics"][METRIC]
            names.append(name)
    return names


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw a panel for each data set; the same result gives the same file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "frontier", "font.size": 9})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(result["data"]), figsize=(4.2 * len(result["data"]), 4.4), squeeze=False, layout="constrained"
    )
    for axes, (name, of_data) in zip(panels[0], result["data"].items(), strict=True):
        panel(axes, name, of_data)
    figure.supxlabel("CPU seconds of the whole job, one thread", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def panel(axes: Any, name: str, of_data: Mapping[str, Any]) -> None:
    """Draw the systems of one data set, and the frontier as a step line."""
    systems, on = finished(of_data), frontier(of_data)
    line = [(systems[system]["cpu_s"], systems[system]["metrics"][METRIC]) for system in on]
    end = 4 * max(entry["cpu_s"] for entry in systems.values())
    axes.step(*zip(*line, (end, line[-1][1]), strict=True), where="post", color="#999999", linewidth=1, zorder=1)
    for number, (system, entry) in enumerate(systems.items()):
        x, y, color = entry["cpu_s"], entry["metrics"][METRIC], COLORS[entry["package"]]
        below = -9 if number % 2 else 3
        axes.scatter(x, y, s=28, color=color, zorder=2, facecolors=color if system in on else "white")
        axes.annotate(system, (x, y), xytext=(5, below), textcoords="offset points", fontsize=7, color=color)
    axes.set(xscale="log", title=f"{name}: {METRIC}", xlim=(None, end))
    axes.grid(alpha=0.25)
