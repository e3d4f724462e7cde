"""What a fit learned from, what it chose and why, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pandas as pd

from kgrec._util import html

LEAST_SHARE: Final = 0.005
"""Smaller shares of a signal are not shown."""


@dataclass(frozen=True, repr=False)
class FitReport:
    """What a fit learned from, what it chose and why, and how long it took.

    Attributes:
        n_users, n_items, n_interactions: what the final model learned from.
        metric: what everything was chosen by on the validation cut, such as "NDCG@20".
        choices: all that was tried and chosen; `choices.json` of a run holds the same.
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
        """How the validation interactions were held out, in words."""
        return str(self.choices.get("validation", {}).get("protocol", "nothing was held out"))

    @cached_property
    def scores(self) -> dict[str, float]:
        """Blend, such as a domain → its metric on the validation cut, of weights learned without the measured user."""
        reports = self.choices.get("blends", {})
        return {name: r["options"][r["kind"]] for name, r in reports.items() if r.get("kind") in r.get("options", {})}

    @cached_property
    def shares(self) -> dict[str, dict[str, float]]:
        """Blend, such as a domain → signal → its share of the scores; shares sum to 1."""
        return {name: r["shares"] for name, r in self.choices.get("blends", {}).items() if "shares" in r}

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Signal → the settings that were chosen."""
        return {name: dict(choice["settings"]) for name, choice in self.choices.get("signals", {}).items()}

    @property
    def tried(self) -> pd.DataFrame:
        """Everything that was tried; see `tried_table`."""
        return tried_table(self.choices)

    def summary(self) -> dict[str, Any]:
        """Return the facts that are shown first."""
        facts: dict[str, Any] = {"users": self.n_users, "items": self.n_items, "interactions": self.n_interactions}
        facts |= {f"{self.metric}, {name}": round(value, 4) for name, value in self.scores.items()}
        facts |= {"chosen on": self.protocol}
        facts |= {f"shares, {name}": _in_words(shares) for name, shares in self.shares.items()}
        return facts | {"seconds": round(sum(self.seconds.values()), 1)}

    def sentence(self) -> str:
        """Return in one sentence what was learned from and how good it is."""
        learned = f"{self.n_interactions:,} interactions of {self.n_users:,} users with {self.n_items:,} items"
        scores = ", ".join(f"{value:.4f} ({name})" for name, value in self.scores.items())
        return f"learned from {learned}" + (f"; {self.metric} on validation {scores}" if scores else "")

    def __repr__(self) -> str:
        return f"FitReport({self.sentence()})"

    def _repr_html_(self) -> str:
        return html.title("Fit report") + html.facts(self.summary())


def metric_of(choices: Mapping[str, Any]) -> str:
    """Return the metric on the validation cut that choices were made by."""
    return str(choices.get("metric", "NDCG@20"))


def tried_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return what a fit tried: choice (a signal, or a domain's blend), the metric on the cut, seconds, what, chosen.

    For a signal `what` names the settings that differ from its defaults.
    """
    rows: list[tuple[str, float, float | None, str, bool]] = []
    for part, of in (("signals", ""), ("cold_start", " for cold-start users")):
        for name, found in choices.get(part, {}).items():
            for tried in found["tried"]:
                what = _differences(tried["settings"], found["tried"][0]["settings"])
                chosen = tried["settings"] == found["settings"] and not tried.get("low_fidelity")
                rows.append((name + of, tried["ndcg"], tried["seconds"], what, chosen))
    for domain, report in choices.get("blends", {}).items():
        options = report.get("options", {})
        rows += [
            (f"blend of {domain}", ndcg, None, option, option == report["kind"]) for option, ndcg in options.items()
        ]
    frame = pd.DataFrame(rows, columns=["choice", metric_of(choices), "seconds", "what", "chosen"])
    return frame.assign(chosen=frame["chosen"].map({True: "yes", False: ""}))


def blends_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return what each blend is made of: blend, kind, gain in the metric over the best signal with its 95 %, shares.

    The gain of a blend for strangers to a domain is not known: nobody can be asked.
    """
    rows = []
    for domain, report in choices.get("blends", {}).items():
        if "shares" in report:
            gain = "{:+.4f} ({:+.4f} … {:+.4f})".format(*report["gain"]) if "gain" in report else "nobody to ask"
            rows.append((domain, report["kind"], gain, _in_words(report["shares"])))
    return pd.DataFrame(rows, columns=["blend", "kind", "gain over the best signal", "shares"])


def domains_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return whether other domains harm one: domain, the metric by what it could learn from, and what was chosen."""
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
    """Return how much the second stage counts: domain, weight, users of the choice, the metric by weight, and gain."""
    rows = []
    for domain, found in choices.get("rerank", {}).get("domains", {}).items():
        gain = "{:+.4f} ({:+.4f} … {:+.4f})".format(*found["gain"]) if "gain" in found else "too few users to tell"
        rows.append({"re-ranking of": domain, "weight": found["weight"], **found["tried"], "best weight's gain": gain})
    return pd.DataFrame(rows)


def classification_table(choices: Mapping[str, Any]) -> pd.DataFrame:
    """Return how well the second stage tells what held-out users took from drawn items: precision, recall, F1."""
    report = choices.get("rerank", {}).get("report", {})
    return pd.DataFrame(report).T.rename_axis("re-ranking").reset_index()


def _in_words(shares: Mapping[str, float]) -> str:
    largest = sorted(shares.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in largest if share >= LEAST_SHARE)


def _differences(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    changed = [f"{name}={value}" for name, value in settings.items() if value != defaults[name]]
    return ", ".join(changed) or "defaults"
