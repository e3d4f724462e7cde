"""Summaries of runs for display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from kgrec.config import Config
from kgrec.hybrid.model import HYBRID
from kgrec.runs.folder import Run, list_runs


def runs_table(root: Path) -> pd.DataFrame:
    """Return the runs in a folder, oldest first: run, created, split, and the hybrid's metrics."""
    rows = []
    for run in list_runs(root):
        measured = (run.info.get("metrics") or {}).get("models", {}).get(HYBRID, {})
        shown = {name: value for name, value in measured.items() if name.startswith(("NDCG", "Recall"))}
        rows.append({"run": run.name, "created": run.info["created"], "split": run.info.get("split"), **shown})
    return pd.DataFrame(rows, columns=None if rows else ["run", "created", "split"])


def run_facts(run: Run) -> dict[str, Any]:
    """Return the main facts of a run; run.json in its folder has all of them."""
    info = run.info
    defaults = Config().model_dump(mode="json")
    config = {name: value for name, value in info["config"].items() if value != defaults.get(name)}
    return {
        "created": info["created"],
        "kgrec": info["kgrec"],
        "config": config or "defaults",
        **info.get("summary", {}),
        **{
            name: info[name]
            for name in ("split", "data_digest", "refresh", "gate", "forgotten", "learned_with")
            if name in info
        },
        **({"text model": run.choices["text_model"]["reason"]} if run.choices.get("text_model") else {}),
        **({"skipped": run.choices["skipped"]} if run.choices.get("skipped") else {}),
        "seconds of each step": info["seconds"],
        "everything": str(run.folder / "run.json"),
    }
