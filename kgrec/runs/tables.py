"""What a run is made of, as facts and tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kgrec.config import Config
from kgrec.evaluation.evaluate import HYBRID
from kgrec.runs.folder import Run, list_runs


def runs_table(root: Path) -> pd.DataFrame:
    """Return the runs of a folder, oldest first: run, created, split, and the hybrid's metrics."""
    rows = []
    for run in list_runs(root):
        measured = (run.info.get("metrics") or {}).get("models", {}).get(HYBRID, {})
        shown = {name: value for name, value in measured.items() if name.startswith(("NDCG", "Recall"))}
        rows.append({"run": run.name, "created": run.info["created"], "split": run.info.get("split"), **shown})
    return pd.DataFrame(rows, columns=None if rows else ["run", "created", "split"])


def run_facts(run: Run) -> dict[str, Any]:
    """Return what there is to know of a run in a few lines; run.json in its folder has everything."""
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
        "seconds of each step": info["seconds"],
        "everything": str(run.folder / "run.json"),
    }


def choices_table(run: Run) -> pd.DataFrame:
    """Return what training tried: choice (a signal, or a domain's blend), NDCG@20 on the cut, seconds, what, chosen.

    For a signal `what` names the settings that differ from its defaults.

    Raises:
        RunError: the choices are missing or damaged.
    """
    rows: list[tuple[str, float, float | None, str, bool]] = []
    for part, of in (("signals", ""), ("cold_start", " for cold-start users")):
        for name, found in run.choices.get(part, {}).items():
            for tried in found["tried"]:
                what = _differences(tried["settings"], found["tried"][0]["settings"])
                chosen = tried["settings"] == found["settings"] and not tried.get("low_fidelity")
                rows.append((name + of, tried["ndcg"], tried["seconds"], what, chosen))
    for domain, report in run.choices.get("blends", {}).items():
        options = report.get("options", {})
        rows += [
            (f"blend of {domain}", ndcg, None, option, option == report["kind"]) for option, ndcg in options.items()
        ]
    frame = pd.DataFrame(rows, columns=["choice", "NDCG@20", "seconds", "what", "chosen"])
    return frame.assign(chosen=frame["chosen"].map({True: "yes", False: ""}))


def blends_table(run: Run) -> pd.DataFrame:
    """Return what each blend is made of: blend, kind, gain in NDCG@20 over the best signal with its 95 %, shares.

    The gain of a blend for strangers to a domain is not known: nobody can be asked.

    Raises:
        RunError: the choices are missing or damaged.
    """
    rows = []
    for domain, report in run.choices.get("blends", {}).items():
        if "shares" in report:
            gain = "{:+.4f} ({:+.4f} … {:+.4f})".format(*report["gain"]) if "gain" in report else "nobody to ask"
            largest = sorted(report["shares"].items(), key=lambda pair: -pair[1])
            shares = ", ".join(f"{name} {share:.0%}" for name, share in largest if share >= 0.005)
            rows.append((domain, report["kind"], gain, shares))
    return pd.DataFrame(rows, columns=["blend", "kind", "gain over the best signal", "shares"])


def domains_table(run: Run) -> pd.DataFrame:
    """Return whether other domains harm one: domain, NDCG@20 by what it could be learned from, and what was chosen.

    Raises:
        RunError: the choices are missing or damaged.
    """
    rows = []
    for domain, report in run.choices.get("domains", {}).items():
        gain = "not checked: " + report["unchecked"] if "unchecked" in report else "{:+.4f} ({:+.4f} … {:+.4f})"
        rows.append(
            {
                "domain": domain,
                **report.get("options", {}),
                "all against single domain": gain.format(*report.get("gain", ())),
                "learned from": report["learned from"],
                "single_domain": ", ".join(report.get("single_domain", ())),
            }
        )
    return pd.DataFrame(rows)


def rerank_table(run: Run) -> pd.DataFrame:
    """Return how much the second stage counts: domain, weight, users it was chosen on, NDCG@20 by weight, and gain.

    Raises:
        RunError: the choices are missing or damaged.
    """
    rows = []
    for domain, found in run.choices.get("rerank", {}).get("domains", {}).items():
        gain = "{:+.4f} ({:+.4f} … {:+.4f})".format(*found["gain"]) if "gain" in found else "too few users to tell"
        rows.append({"re-ranking of": domain, "weight": found["weight"], **found["tried"], "best weight's gain": gain})
    return pd.DataFrame(rows)


def classification_table(run: Run) -> pd.DataFrame:
    """Return how well the second stage tells what held-out users took from drawn items: precision, recall, F1.

    Raises:
        RunError: the choices are missing or damaged.
    """
    report = run.choices.get("rerank", {}).get("report", {})
    return pd.DataFrame(report).T.rename_axis("re-ranking").reset_index()


def _differences(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    changed = [f"{name}={value}" for name, value in settings.items() if value != defaults[name]]
    return ", ".join(changed) or "defaults"
