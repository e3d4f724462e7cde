"""Reports of a fit: data, choices and duration, as objects and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pandas as pd

from kgrec._util import html

MIN_SHOWN_SHARE: Final = 0.005
"""Minimum share of a signal to be shown."""


@dataclass(frozen=True, repr=False)
class FitReport:
    """Report of a fit: the size of the data, the chosen settings with all tried ones, and the duration.

    Attributes:
        n_users, n_items, n_interactions: size of the training data of the final model.
        metric: metric on the validation split that all choices were made by, such as "NDCG@20".
        choices: all results tried and chosen, as in `choices.json` of a run.
        seconds: stage of the fit → wall seconds.
    """

    n_users: int
    n_items: int
    n_interactions: int
    metric: str
    choices: Mapping[str, Any]
    seconds: Mapping[str, float]

    @property
    def protocol(self) -> str:
        """Description of how the validation interactions were held out."""
        return str(self.choices.get("validation", {}).get("protocol", "nothing was held out"))

    @cached_property
    def scores(self) -> dict[str, float]:
        """Blend (of a domain, or of its cold-start users) → its cross-fitted validation metric."""
        reports = self.choices.get("blends", {})
        return {name: r["options"][r["kind"]] for name, r in reports.items() if r.get("kind") in r.get("options", {})}

    @cached_property
    def shares(self) -> dict[str, dict[str, float]]:
        """Blend (of a domain, or of its cold-start users) → signal → its share of the scores; shares sum to 1."""
        return {name: r["shares"] for name, r in self.choices.get("blends", {}).items() if "shares" in r}

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Signal → its chosen settings."""
        return {name: dict(choice["settings"]) for name, choice in self.choices.get("signals", {}).items()}

    @cached_property
    def notes(self) -> dict[str, str]:
        """Signal → what was unusual in its fit, such as a simpler model that ranked better."""
        results = self.choices.get("signals", {}).items()
        return {
            name: tried["note"]
            for name, result in results
            for tried in result["tried"]
            if "note" in tried and tried["settings"] == result["settings"]
        }

    @property
    def tried(self) -> pd.DataFrame:
        """Table of all settings and blends tried; see `tried_table`."""
        return tried_table(self.choices)

    def summary(self) -> dict[str, Any]:
        """Return the main facts, name → value, in the order in which they are shown."""
        facts: dict[str, Any] = {"users": self.n_users, "items": self.n_items, "interactions": self.n_interactions}
        facts |= {f"{self.metric}, {name}": round(value, 4) for name, value in self.scores.items()}
        facts |= {"validation": self.protocol}
        facts |= {f"shares, {name}": _in_words(shares) for name, shares in self.shares.items()}
        facts |= {f"note, {name}": note for name, note in self.notes.items()}
        return facts | {"seconds": round(sum(self.seconds.values()), 1)}

    def sentence(self) -> str:
        """Return the size of the training data and the validation metrics in one sentence."""
        learned = f"{self.n_interactions:,} interactions of {self.n_users:,} users with {self.n_items:,} items"
        scores = ", ".join(f"{value:.4f} ({name})" for name, value in self.scores.items())
        return f"learned from {learned}" + (f"; {self.metric} on validation {scores}" if scores else "")

    def __repr__(self) -> str:
        return f"FitReport({self.sentence()})"

    def _repr_html_(self) -> str:
        return html.title("Fit report") + html.facts(self.summary())


def metric_of(choices: Mapping[str, Any]) -> str:
    """Return the metric that choices or a comparison of runs were made by."""
    return str(choices.get("metric", "NDCG@20"))


def tried_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return all settings and blends tried: columns choice, the validation metric, seconds, what, chosen.

    `choice` is a signal or a blend; `what` is the kind of blend, or the settings of a signal that differ from defaults.
    """
    rows: list[tuple[str, float, float | None, str, bool]] = []
    for part, of in (("signals", ""), ("cold_start", " for cold-start users")):
        for name, result in choices.get(part, {}).items():
            for tried in result["tried"]:
                what = _differences(tried["settings"], result["tried"][0]["settings"])
                chosen = tried["settings"] == result["settings"] and not tried.get("low_fidelity")
                rows.append((name + of, tried["metric_value"], tried["seconds"], what, chosen))
    for domain, report in choices.get("blends", {}).items():
        options = report.get("options", {})
        rows += [
            (f"blend of {domain}", value, None, option, option == report["kind"]) for option, value in options.items()
        ]
    frame = pd.DataFrame(rows, columns=["choice", metric_of(choices), "seconds", "what", "chosen"])
    return frame.assign(chosen=frame["chosen"].map({True: "yes", False: ""}))


def worth_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return what each signal brings to the blend: one row per group of users and signal.

    Columns: users, signal, the gain in the validation metric with default settings over the other signals (None if the
    blend does not need the signal), and the CPU seconds of its fits.
    """
    metric, rows = metric_of(choices), []
    results = choices.get("signals", {})
    for group, report in choices.get("race", {}).get("groups", {}).items():
        for name, result in results.items():
            seconds = sum(tried.get("cpu_seconds", 0.0) for tried in result["tried"])
            rows.append((group, name, report["worth"].get(name), round(seconds, 1)))
    columns = ["users", "signal", f"gain in {metric}", "CPU seconds"]
    return pd.DataFrame(rows, columns=columns).sort_values(columns[0::2], ascending=[True, False], kind="stable")


def blends_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return the blends: blend, kind, gain in the metric over the best signal with its 95 % interval, shares.

    The gain of a blend for users of non-overlapping domains is unknown: there are no such validation users.
    """
    rows = []
    for domain, report in choices.get("blends", {}).items():
        if "shares" in report:
            gain = "{:+.4f} ({:+.4f} … {:+.4f})".format(*report["gain"]) if "gain" in report else "no validation users"
            rows.append((domain, report["kind"], gain, _in_words(report["shares"])))
    return pd.DataFrame(rows, columns=["blend", "kind", "gain over the best signal", "shares"])


def domains_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return the negative-transfer checks: domain, the metric of each option, the gain of all domains, the choice."""
    rows = []
    for domain, report in choices.get("domains", {}).items():
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


def rerank_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return the weights of the second stage: domain, chosen weight, the metric of each weight tried, and gain."""
    rows = []
    for domain, choice in choices.get("rerank", {}).get("domains", {}).items():
        gain = "{:+.4f} ({:+.4f} … {:+.4f})".format(*choice["gain"]) if "gain" in choice else "too few validation users"
        rows.append(
            {"re-ranking of": domain, "weight": choice["weight"], **choice["tried"], "best weight's gain": gain}
        )
    return pd.DataFrame(rows)


def classification_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return precision, recall and F1 of the second stage as a classifier of chosen items against drawn negatives."""
    report = choices.get("rerank", {}).get("report", {})
    return pd.DataFrame(report).T.rename_axis("re-ranking").reset_index()


def _in_words(shares: Mapping[str, float]) -> str:
    largest = sorted(shares.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in largest if share >= MIN_SHOWN_SHARE)


def _differences(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    changed = [f"{name}={value}" for name, value in settings.items() if value != defaults[name]]
    return ", ".join(changed) or "defaults"
