"""The jobs behind the commands: train a graph into a run, measure a run, publish one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from kgrec.alone import split_alone
from kgrec.config import Config
from kgrec.errors import StoreError, UsageError
from kgrec.measure import HYBRID, Measured, measure, metrics
from kgrec.persist import save_model
from kgrec.progress import say
from kgrec.protocols import cut_for
from kgrec.publish import publish
from kgrec.recommender import Recommender, as_split
from kgrec.runs import Run, find_run, list_runs, new_name, prepare_root, root_of
from kgrec.same import as_one
from kgrec.snapshot import GraphSnapshot
from kgrec.split import Split, split_by
from kgrec.store import exists, open_store
from kgrec.training import FitOn

KS = (10, 20)
"""List lengths that runs are measured at."""

ALONE = "hybrid, target alone"
"""What a hybrid is called that learnt from the domain that is asked for, and from no other."""


def train_run(
    graph: str, config: Config, *, split: str | None = None, k: int = 100, runs: str | Path | None = None
) -> Run:
    """Train on a graph, measure on its held-out behaviours, recommend to every user, and keep it all as a run.

    Args:
        graph: URI of the graph; it is only read.
        config: settings.
        split: name of a split; the marks in the data if there are any, else "random".
        k: length of the recommendation lists that the run keeps.
        runs: folder of runs; beside the graph if not given.

    Raises:
        UsageError, StoreError, RunError: as the steps do; no run is left behind.
    """
    if k < 1:
        raise UsageError(f"k={k}; expected at least 1")
    start = time.perf_counter()
    snapshot = read_graph(graph)
    cut, name = _cut(snapshot, split)
    root = prepare_root(runs_folder(graph, runs))
    model = Recommender(config).fit(cut)
    say("recommending to every user")
    listed = model.recommend(snapshot.users.ids, k=k)
    info: dict[str, Any] = {"split": name, "protocol": cut.protocol, "metrics": None}
    if cut.is_test.any():
        say("measuring on the held-out behaviours")
        info["metrics"] = metrics(measure(model.model, cut, KS), cut.protocol, config.seed)
    info["summary"] = summary_of(cut, model.trained.choices, listed, time.perf_counter() - start)
    info |= {"data_digest": snapshot.digest, "encoded": model.cache.encoded}
    tables = {"recommendations": pa.Table.from_pandas(listed, preserve_index=False)}
    return save_model(root / new_name(), model.trained, config, info, tables)


def evaluate_run(graph: str, run: str | None = None, runs: str | Path | None = None) -> dict[str, Any]:
    """Measure a run again on the behaviours of the graph that its split holds out.

    Raises:
        UsageError: the run held nothing out, or the graph has changed since.
    """
    found = find_run(runs_folder(graph, runs), run)
    snapshot = read_graph(graph)
    if snapshot.digest != found.info["data_digest"]:
        raise UsageError(f"{graph} has changed since run {found.name} was trained; train again: kgrec train {graph}")
    model = Recommender.load(found.folder)
    cut, _ = _cut(snapshot, found.info["split"])
    return metrics(measure(model.model, cut, KS), cut.protocol, model.config.seed)


def evaluate_protocol(graph: str, protocol: str, config: Config) -> dict[str, Any]:
    """Train with some settings on a graph cut for a protocol, measure, and keep nothing.

    Under cross-domain, what learnt from the target alone is measured beside it.

    Raises:
        UsageError: an unknown protocol, or nothing to ask by it.
    """
    snapshot = read_graph(graph)
    cut = cut_for(snapshot, protocol)
    measured = measure(Recommender(config).fit(cut).model, cut, KS)
    if protocol == "cross-domain":
        measured = beside_alone(measured, cut, config)
    return metrics(measured, cut.protocol, config.seed)


def beside_alone(
    measured: Mapping[str, Measured], split: Split, config: Config, fit_on: FitOn = "train+valid"
) -> dict[str, Measured]:
    """Measure, for each domain, what learns from that domain alone, beside what was measured of the whole graph.

    Args:
        measured: domain → what `measure` found.
        split: that it was measured on.
        config, fit_on: as for the whole graph.
    """
    found = {}
    for domain, of in measured.items():
        say(f"training on {domain} alone")
        only = split_alone(split, domain)
        ks = sorted({int(metric.partition("@")[2]) for metric in of.evaluations[HYBRID].per_user})
        own = measure(Recommender(config).fit(only, fit_on).model, only, ks)[domain]
        found[domain] = replace(of, evaluations={ALONE: own.evaluations[HYBRID], **of.evaluations})
    return found


def publish_run(graph: str, run: str | None = None, runs: str | Path | None = None, k: int = 20) -> dict[str, Any]:
    """Write a run's text vectors and its lists, to length k, into the graph, and note that it was done.

    Raises:
        RunError: there is no such run, or files of it are gone.
        StoreError: the graph cannot be written.
    """
    if k < 1:
        raise UsageError(f"k={k}; expected at least 1")
    root = runs_folder(graph, runs)
    found = find_run(root, run)
    with open_store(graph) as store:
        return publish(store, root, found, k, "publish")


def runs_table(graph: str, runs: str | Path | None = None) -> pd.DataFrame:
    """Return the runs of a graph, oldest first: run, created, split, and the hybrid's metrics."""
    rows = []
    for run in list_runs(runs_folder(graph, runs)):
        measured = (run.info.get("metrics") or {}).get("models", {}).get(HYBRID, {})
        shown = {name: value for name, value in measured.items() if name.startswith(("NDCG", "Recall"))}
        rows.append({"run": run.name, "created": run.info["created"], "split": run.info.get("split"), **shown})
    return pd.DataFrame(rows, columns=None if rows else ["run", "created", "split"])


def choices_table(run: Run) -> pd.DataFrame:
    """Return what training tried: choice (a signal, or a domain's blend), NDCG@20 on the cut, seconds, what, chosen.

    For a signal `what` names the settings that differ from its defaults.

    Raises:
        RunError: the choices are missing or damaged.
    """
    rows: list[tuple[str, float, float | None, str, bool]] = []
    for part, of in (("signals", ""), ("newcomers", " for newcomers")):
        for name, found in run.choices.get(part, {}).items():
            for tried in found["tried"]:
                what = _differences(tried["settings"], found["tried"][0]["settings"])
                chosen = tried["settings"] == found["settings"] and not tried.get("half")
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
    """Return whether other domains harm one: domain, NDCG@20 by what it could be learnt from, and what was chosen.

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
                "all against alone": gain.format(*report.get("gain", ())),
                "learnt from": report["learnt from"],
                "alone": ", ".join(report.get("alone", ())),
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


def runs_folder(graph: str, runs: str | Path | None = None) -> Path:
    """Return the folder of a graph's runs: `runs`, or the one beside the graph.

    Raises:
        StoreError: neither that folder nor the graph is there, so the graph's name is most likely wrong.
    """
    root = Path(runs or root_of(graph))
    if not root.exists() and not exists(graph):
        raise StoreError(f"no graph at {graph}; load data first: kgrec load LOADER SOURCE --into {graph}")
    return root


def read_graph(graph: str) -> GraphSnapshot:
    """Read a graph to learn from; linked users are one."""
    with open_store(graph, read_only=True) as store:
        return as_one(store.snapshot())


def _cut(snapshot: GraphSnapshot, split: str | None) -> tuple[Split, str]:
    """Cut by name; without one by the marks in the data, or at random where there are none."""
    if split is None:
        split = "given" if as_split(snapshot).is_test.any() else "random"
    return split_by(snapshot, split), split


def summary_of(cut: Split, choices: Mapping[str, Any], listed: pd.DataFrame, seconds: float) -> dict[str, Any]:
    """Return the facts of a run that are shown first."""
    return {
        "users": cut.whole.n_users,
        "items": cut.whole.n_items,
        "behaviours learnt from": len(cut.train_and_valid.behaviours),
        **_told(choices),
        "recommendations": len(listed),
        "protocol": cut.protocol,
        "seconds": round(seconds, 1),
    }


def _told(choices: Mapping[str, Any]) -> dict[str, str]:
    """Return from what each of several domains is learnt, and that nothing could be chosen where that is so."""
    told = {
        f"{domain} is learnt from": report["learnt from"]
        + (f", not checked for harm: {report['unchecked']}" if "unchecked" in report else "")
        for domain, report in choices.get("domains", {}).items()
    }
    if not any(choice["tried"] for choice in choices["signals"].values()):
        told["settings"] = "defaults, and an equal blend: too few behaviours for a validation cut"
    return told
