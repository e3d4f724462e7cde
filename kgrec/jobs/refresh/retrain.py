"""The run of a graph that has changed: learnt as much anew as the rule says, and compared with the run that serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kgrec.config import Config
from kgrec.data.snapshot import GraphSnapshot
from kgrec.data.split import Split, by_given, by_random, latest_of_users
from kgrec.evaluation.evaluate import measure, metrics
from kgrec.jobs.refresh.gate import ENOUGH, compare, figures_of, reasons
from kgrec.jobs.refresh.policy import Decision, How, Size, chosen, fitted, size_of
from kgrec.jobs.train import KS, summary_of
from kgrec.recommender import Recommender, as_split
from kgrec.runs.erasure_guard import keeping
from kgrec.runs.folder import Run, new_name
from kgrec.runs.publish import lists_table
from kgrec.runs.save_load import save_model

LISTED: Final = 100
"""Length of the lists that a run keeps."""

SLICE: Final = 0.05
"""Share of every user's behaviours, the latest, that the comparison holds out where the data mark none as test."""


def slice_of(snapshot: GraphSnapshot, seed: int) -> tuple[Split, bool]:
    """Hold out what the data mark as test, else the latest of every user's behaviours; random ones without times.

    Returns:
        The cut, and whether it is the data's own, so that the rest of them may not be learnt from.
    """
    if as_split(snapshot).is_test.any():
        return by_given(snapshot), True
    if np.isnan(snapshot.behaviours.time).any():
        return by_random(snapshot, SLICE, seed), False
    return latest_of_users(snapshot, SLICE), False


def renew(
    root: Path,
    graph: str,
    snapshot: GraphSnapshot,
    serving: Run | None,
    decision: Decision,
    config: Config,
    facts: Mapping[str, Any],
    step: Callable[..., None],
) -> Run:
    """Make a run of a graph, compare it with the one that serves, and keep it, whatever the comparison says.

    What is compared has not seen the held-out slice. What is kept has it folded in, unless the data mark it as test.

    Args:
        root: folder of the graph's runs.
        graph: its URI.
        snapshot: the graph.
        serving: the run that is published; None if there is none.
        decision: how much to learn anew.
        config: settings.
        facts: what else to note in run.json, under "refresh".
        step: is told each step.

    Returns:
        The run; its info has "gate": what was compared, and the reasons to refuse it.
    """
    start, (cut, given) = time.perf_counter(), slice_of(snapshot, config.seed)
    before = Recommender.load(serving.folder) if serving else None
    step(decision.how, why=decision.why)
    asked = _learnt(decision.how, before, config, cut)
    step("compare")
    measured = compare(before.model, asked.model, cut, config.seed) if before and cut.is_test.any() else {"users": 0}
    final = asked if given else (before if before and decision.how == "fold-in" else asked).fold_in(snapshot)
    step("recommend")
    listed = final.recommend(snapshot.users.ids, k=LISTED)
    lists = lists_table(listed)
    info: dict[str, Any] = {
        "split": "given" if given else "none",
        "protocol": cut.protocol,
        "metrics": _metrics(asked, cut) if decision.how == "full" else None,
        "data_digest": snapshot.digest,
        "encoded": final.cache.encoded,
        "gate": _gate(serving, measured, lists, snapshot),
        "reached": _reached(decision.how, serving, measured),
        **_sizes(decision.how, serving, size_of(snapshot)),
    }
    seconds = time.perf_counter() - start
    info["summary"] = summary_of(cut, final.trained.choices, listed, seconds)
    info["refresh"] = {"how": decision.how, "why": decision.why, "seconds": round(seconds, 1), **facts}
    step("keep")
    with keeping(root, graph, snapshot):
        return save_model(root / new_name(), final.trained, config, info, {"recommendations": lists})


def _learnt(how: How, before: Recommender | None, config: Config, cut: Split) -> Recommender:
    if how == "full" or before is None:
        # Settings that come from a run may not have a text model fetched.
        return Recommender(config, fetch=before is None or config != before.config).fit(cut)
    return before.refit(cut) if how == "refit" else before.fold_in(cut)


def _metrics(model: Recommender, cut: Split) -> dict[str, Any] | None:
    return metrics(measure(model.model, cut, KS), cut.protocol, model.config.seed) if cut.is_test.any() else None


def _gate(serving: Run | None, measured: Mapping[str, Any], lists: pa.Table, snapshot: GraphSnapshot) -> dict[str, Any]:
    """Return what the gate looks at, and why it refuses; it lets the first run pass."""
    new = figures_of(lists, snapshot.n_users, snapshot.n_items, snapshot.schema.digest)
    found: dict[str, Any] = {"measured": dict(measured), "lists": new, "reasons": [], "forced": False}
    if serving:
        summary, schema = serving.info["summary"], serving.info["digests"]["schema"]
        old = figures_of(serving.table("recommendations"), summary["users"], summary["items"], schema)
        found["reasons"] = reasons(measured, old, new)
    return found


def _sizes(how: How, serving: Run | None, now: Size) -> dict[str, Any]:
    """Return the sizes of the graph when the run's signals were fitted, and when its settings were chosen."""
    then_fitted = asdict(now) if how != "fold-in" or not serving else fitted(serving.info)
    then_chosen = asdict(now) if how == "full" or not serving else chosen(serving.info)
    return {"fitted": dict(then_fitted), "chosen": dict(then_chosen)}


def _reached(how: How, serving: Run | None, measured: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the NDCG on the newest behaviours by this run, and by the first compared since settings were chosen."""
    now = measured["candidate"] if measured["users"] >= ENOUGH else None
    then = serving.info.get("reached", {}).get("then") if serving and how != "full" else None
    return {"then": now if then is None else then, "now": now}
